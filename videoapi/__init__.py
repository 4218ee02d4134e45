"""Async client for the Video API: rooms, join tokens, call detail records and recordings."""

from __future__ import annotations
