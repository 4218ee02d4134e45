"""Whether the room that carries a reference is the one that a spec asks for now."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final

from videoapi.creation.references import DATA_KEY, is_reference, variants
from videoapi.protocol.envelope import parse

_FLAGS: Final = {"true": "1", "false": "0"}


class Change(enum.Enum):
    """How a spec differs from the room that was created under its key."""

    NONE = "none"
    CONTENT = "content"
    """Settings, telephone access or data differ."""
    IDENTITY = "identity"
    """The name or the `owner_ref` differs: the key means another room."""


def change_of(body: Mapping[str, Any], room: Mapping[str, Any]) -> Change:
    """Compare the body of a create with a room as the service returns it.

    The service adds defaults, so only what the body names is compared, and values by their text, because the
    service returns numbers and flags in several forms.
    """
    # A room without a name, or without its owner_ref, contradicts nothing.
    name, owner_ref = room.get("name"), room.get("owner_ref")
    if name is not None and _name(name) != _name(body.get("name")):
        return Change.IDENTITY
    if owner_ref is not None and not _is_same_owner(owner_ref, body.get("owner_ref")):
        return Change.IDENTITY
    given, kept = _without_mark(body.get("data")), _without_mark(room.get("data"))
    if not _contains(room.get("settings"), body.get("settings")) or not _contains(room.get("sip"), body.get("sip")):
        return Change.CONTENT
    # Keys that the spec no longer has are a change, too.
    return Change.NONE if _contains(kept, given) and len(kept) == len(given) else Change.CONTENT


def change_in_json(body: bytes | None, room: bytes | None) -> Change:
    """Compare the body of a create with the text of a room, as `change_of` does; unreadable, it has not changed."""
    try:
        return change_of(parse(body or b""), parse(room or b""))
    except (ValueError, RecursionError):
        # Such as a number of thousands of digits.
        return Change.NONE


def identity_of(name: object, owner_ref: object) -> bytes:
    """Return what identifies the room of a spec to its caller, for a hash."""
    parts = [_name(name)] if owner_ref is None else [_name(name), _name(owner_ref).casefold()]
    return "".join(f"{len(part)}:{part}" for part in parts).encode("utf-8", "surrogatepass")


def _is_same_owner(one: object, other: object) -> bool:
    # A create with a reference of the caller's own may carry the form for `data` in both locations.
    if is_reference(one):
        return other in variants(one)
    return _name(one).casefold() == _name(other).casefold()


def _without_mark(data: Any) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != DATA_KEY} if isinstance(data, Mapping) else {}


def _contains(whole: Any, part: Any) -> bool:
    """Return whether everything in `part` is in `whole`; what either of them omits contradicts nothing."""
    if part is None:
        return True
    if isinstance(part, Mapping):
        if not isinstance(whole, Mapping):
            return whole is None or not part
        return all(key not in whole or _contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) == len(part) and all(map(_contains, whole, part))
    return _text(whole) == _text(part)


def _name(value: object) -> str:
    return str(value).strip()


def _text(value: Any) -> str:
    text = str(value).strip().casefold()
    return _FLAGS.get(text, text)
