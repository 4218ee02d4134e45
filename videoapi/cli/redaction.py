"""What a JSON output leaves out unless it is asked for by name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_SECRETS: Final = frozenset({"app_key", "username", "password", "pin", "auth", "secret"})


def redact(value: Any) -> Any:
    """Return JSON's values with `***` in place of keys, passwords and pins, however deep."""
    if isinstance(value, Mapping):
        return {
            name: "***" if name in _SECRETS and inner not in (None, "") else redact(inner)
            for name, inner in value.items()
        }
    return [redact(item) for item in value] if isinstance(value, list | tuple) else value


def room_fields(fields: Mapping[str, Any], *, show_secrets: bool) -> dict[str, Any]:
    """Return a room's fields; what opens its telephone access only where that is asked for."""
    sip = fields.get("sip")
    if show_secrets or not isinstance(sip, Mapping):
        return dict(fields)
    return {**fields, "sip": redact(sip)}
