"""What tests of programs that use the client need where they answer requests themselves.

The fixtures of the pytest plugin are built from these. `videoapi.sandbox` is the better stand-in for
anything that goes beyond one canned answer.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Generator, Mapping
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

from videoapi.protocol.codes import TEXTS

__all__ = ["ROOM_ID", "aioresponses_shim", "canned_error", "canned_room", "canned_token"]

ROOM_ID: Final = "6571f3c2a1b2c3d4e5f60718"
"""The id of `canned_room` where none is given."""


@contextlib.contextmanager
def aioresponses_shim() -> Generator[None]:
    """Let aioresponses build its answers on aiohttp 3.14 and later.

    aiohttp's `ClientResponse` requires a `stream_writer` since 3.14, which aioresponses 0.7.9 does not
    give it. Inside this context it gets one; with older or mended versions the context changes
    nothing that could be seen. Enter it before `aioresponses()`.

    Raises:
        ImportError: aioresponses is not installed; the extra `testing` brings it.
    """
    import aiohttp
    import aioresponses.core

    class Answer(aiohttp.ClientResponse):
        def __init__(self, *args: Any, **facts: Any) -> None:
            facts.setdefault("stream_writer", SimpleNamespace(output_size=0))
            super().__init__(*args, **facts)

    required = "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters
    with patch.object(aioresponses.core, "ClientResponse", Answer) if required else contextlib.nullcontext():
        yield


def canned_room(room_id: str = ROOM_ID, *, name: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return the body that answers a create or a get of a room, for `payload=`.

    Args:
        room_id: The room's id.
        name: The room's name; left out by default. Where it answers a create it must be the name that
            was asked for: the client takes another name for the answer to somebody else.
        fields: Any other fields of the room under their names on the wire; `settings` are added to
            those of a permanent room.

    A canned answer echoes no reference of the client's, and is a success all the same.
    Source: docs/contract.md 4.3.
    """
    settings: Mapping[str, Any] = fields.pop("settings", {})
    room: dict[str, Any] = {
        "room_id": room_id,
        "owner_ref": "canned",
        "settings": {"mode": "group", "scheduled": False, "adhoc": False, "moderators": 1, **settings},
        "sip": {"enabled": False},
        "created": "2026-01-01T00:00:00.000Z",
    }
    if name is not None:
        room["name"] = name
    return {"result": 0, "room": room | fields}


def canned_token(text: str = "canned-token") -> dict[str, Any]:
    """Return the body that answers the create of a token, for `payload=`. Source: docs/contract.md 5.1."""
    return {"result": 0, "token": text}


def canned_error(code: int, *, error: str | None = None, desc: str = "") -> dict[str, Any]:
    """Return the body of a failure, for `payload=` beside a `status=`.

    Args:
        code: The result code, such as 40001.
        error: The service's text; by default its own for the code.
        desc: A second text; mostly empty.

    Source: docs/contract.md 3, 8.1.
    """
    words = TEXTS.get(code, "Unknown") if error is None else error
    return {"result": code, "error": f"[Reason] {words}", "desc": desc}
