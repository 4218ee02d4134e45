"""Redaction of secrets in JSON output, unless `--show-secrets` is given. Pure."""

from __future__ import annotations

from typing import Any

from videoapi.models.base import Model
from videoapi.models.redaction import without_secrets
from videoapi.models.rooms import Room


def shown_fields(model: Model, *, show_secrets: bool) -> dict[str, Any]:
    """Return the fields of a model, with its secrets redacted unless `show_secrets` is set."""
    fields = model.to_dict()
    return fields if show_secrets else without_secrets(fields, is_room=isinstance(model, Room))
