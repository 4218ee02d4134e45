"""Specs and their keys as JSON text, which a queue can carry. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from videoapi.errors import ValidationError
from videoapi.models.codec import encode
from videoapi.models.redaction import secret_in
from videoapi.models.rooms import RoomSpec

_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "Decimal": Decimal,
    "UUID": UUID,
    "bytes": bytes.fromhex,
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "float": float,
}


def check_no_secret(spec: RoomSpec) -> None:
    """Check that a spec has no secret, as everyone who can read the queue can read the spec.

    Raises:
        ValidationError: If `sip`, or `settings`, has a PIN or a password.
    """
    body = spec.to_wire()
    found = next((found for part in ("sip", "settings") if (found := secret_in(body.get(part), part))), None)
    if found is not None:
        raise ValidationError(
            f"{found} is a secret, which anyone who can read the queue could read. Not sent. Create this room in one "
            "process, without a queue.",
            field=found,
        )


def specs_to_json(specs: Iterable[RoomSpec]) -> str:
    """Return specs as JSON text.

    Raises:
        ValidationError: If a value cannot be represented in JSON.
    """
    # Each body as it is sent, so that a change of it is recognized wherever it was written.
    items = (
        f'{{"key":{json.dumps(_key_to_json(spec.key))},"body":{encode(spec.to_wire()).decode()}}}' for spec in specs
    )
    return f"[{','.join(items)}]"


def specs_from_json(text: str) -> list[RoomSpec]:
    """Return the specs in a text that `specs_to_json` has made."""
    return [
        RoomSpec(
            name=body["name"],
            owner_ref=body.get("owner_ref"),
            settings=body.get("settings"),
            sip=body.get("sip"),
            data=body.get("data"),
            key=_key_from_json(item["key"]),
        )
        for item in json.loads(text)
        for body in [item["body"]]
    ]


def _key_to_json(key: Any) -> Any:
    """Return a key as a JSON value that has its type; text, whole numbers and truth values are their own."""
    if key is None or type(key) in (str, int, bool):
        return key
    if type(key) is tuple:
        return {"tuple": [_key_to_json(part) for part in key]}
    if type(key) is bytes:
        return {"bytes": key.hex()}
    text = key.isoformat() if type(key) in (date, datetime) else repr(key) if type(key) is float else str(key)
    return {type(key).__name__: text}


def _key_from_json(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, written),) = value.items()
    if kind == "tuple":
        return tuple(map(_key_from_json, written))
    return _READERS[kind](written)
