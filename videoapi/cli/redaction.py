"""Redaction of secrets in JSON output, unless `--show-secrets` is given. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from videoapi.models.redaction import room_without_secrets
from videoapi.models.redaction import without_secrets as redact

__all__ = ["record_fields", "redact", "room_fields"]


def record_fields(fields: Mapping[str, Any], *, show_secrets: bool) -> dict[str, Any]:
    """Return a call record's fields, with join token and telephone secrets redacted unless `show_secrets` is set."""
    shown = dict(fields)
    if show_secrets:
        return shown
    if isinstance(user := shown.get("user"), Mapping) and user.get("token"):
        shown["user"] = {**user, "token": "***"}
    if isinstance(room := shown.get("room"), Mapping) and isinstance(details := room.get("room_details"), Mapping):
        shown["room"] = {**room, "room_details": room_fields(details, show_secrets=False)}
    return shown


def room_fields(fields: Mapping[str, Any], *, show_secrets: bool) -> dict[str, Any]:
    """Return a room's fields, with its telephone secrets redacted unless `show_secrets` is set."""
    return dict(fields) if show_secrets else room_without_secrets(fields)
