"""The scripted service of the stream tests."""

from __future__ import annotations

from streaming.conftest import refused, service

__all__ = ["refused", "service"]
