"""Rooms of a list that cannot be read: what a service may do to one of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from videoapi import VideoClient
from videoapi.sandbox import Sandbox

Damage = Callable[[dict[str, Any]], bytes]


def _text(room: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**room, **changes}, separators=(",", ":")).encode()


def _without(room: dict[str, Any], field: str) -> bytes:
    return _text({name: value for name, value in room.items() if name != field})


def _inserted(room: dict[str, Any], text: bytes) -> bytes:
    """Return the room with bytes within its name."""
    return _text(room, name="HERE").replace(b"HERE", b"A" + text)


def _spelled(reference: str) -> bytes:
    return b"".join(b"\\u%04x" % ord(letter) for letter in reference)


DAMAGES: dict[str, Damage] = {
    "raw control character": lambda room: _inserted(room, b"\x01"),
    "bad escape": lambda room: _inserted(room, rb"\q"),
    "cut off escape": lambda room: _inserted(room, rb"\u00"),
    "NaN": lambda room: _text(room, more=float("nan")),
    "trailing comma": lambda room: _text(room)[:-1] + b",}",
    "room_id missing": lambda room: _without(room, "room_id"),
    "room_id invalid": lambda room: _text(room, room_id="../x y"),
    "room_id null": lambda room: _text(room, room_id=None),
}
"""Damage to any room, which leaves the text of its reference."""

OF_A_REFERENCE: dict[str, Damage] = {
    "owner_ref a list": lambda room: _text(room, owner_ref=[room["owner_ref"]]),
    "owner_ref an object": lambda room: _text(room, owner_ref={"value": room["owner_ref"]}),
    "owner_ref padded": lambda room: _text(room, owner_ref=f" {room['owner_ref']} "),
    "owner_ref NaN": lambda room: _text(room, owner_ref=float("nan")),
    "owner_ref with a control character": lambda room: _text(room, owner_ref="HERE").replace(
        b"HERE", b"%b\x02%b" % (room["owner_ref"][:5].encode(), room["owner_ref"][6:].encode())
    ),
    "owner_ref with a byte that is not UTF-8": lambda room: _text(room, owner_ref="HERE").replace(
        b"HERE", b"\xff" + room["owner_ref"][1:].encode()
    ),
    "owner_ref with a control character and another one": lambda room: _text(room, owner_ref="HERE").replace(
        b"HERE", b"%b\x01@%b" % (room["owner_ref"][:12].encode(), room["owner_ref"][14:].encode())
    ),
    "a printable character for the first, and a bad escape": lambda room: _inserted(
        {**room, "owner_ref": "@" + room["owner_ref"][1:]}, rb"\q"
    ),
    "owner_ref with a replacement character": lambda room: _text(room, owner_ref="\ufffd" + room["owner_ref"][1:]),
    "owner_ref with a replacement character, and no room_id": lambda room: _without(
        {**room, "owner_ref": room["owner_ref"][:9] + "\ufffd" + room["owner_ref"][10:]}, "room_id"
    ),
    "reference in escapes, and NaN": lambda room: _text(room, owner_ref="HERE", more=float("nan")).replace(
        b"HERE", _spelled(room["owner_ref"])
    ),
    "reference in escapes, and no room_id": lambda room: _without({**room, "owner_ref": "HERE"}, "room_id").replace(
        b"HERE", _spelled(room["owner_ref"])
    ),
    "nothing left": lambda room: b'{"name":"\x01"}',
}
"""Damage to the part of a room that carries its reference."""


def deepen(room: dict[str, Any]) -> bytes:
    """Return a room with a field nested more deeply than any parser follows, which costs only that field."""
    return _text(room, more=0).replace(b'"more":0', b'"more":' + b"[" * 20_000 + b"]" * 20_000)


async def damage_room(sandbox: Sandbox, name: str, damage: Damage) -> str:
    """Replace a room of the list by a damaged one; return its ID."""
    (room_id,) = [room_id for room_id, room in sandbox.ledger.rooms.items() if room["name"] == name]
    room = dict(sandbox.ledger.rooms[room_id])
    async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as client:
        await client.rooms.delete(room_id)
    sandbox.add_room(damage({**room, "room_id": room_id}))
    return room_id
