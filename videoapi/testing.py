"""Helpers for tests that mock the responses of the Video API with aioresponses.

The fixtures of the pytest plugin use them. For more than one canned response, prefer `videoapi.sandbox`.
"""

from __future__ import annotations

import contextlib
import inspect
import random
from collections.abc import Generator, Mapping
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

from videoapi.protocol.codes import TEXTS

__all__ = ["ROOM_ID", "aioresponses_shim", "canned_error", "canned_room", "canned_token", "fixed_references"]

ROOM_ID: Final = "6571f3c2a1b2c3d4e5f60718"
"""The default `room_id` of `canned_room`."""


@contextlib.contextmanager
def aioresponses_shim() -> Generator[None]:
    """Make aioresponses work with aiohttp 3.14 and later. Enter this context before `aioresponses()`.

    Since 3.14, aiohttp's `ClientResponse` requires a `stream_writer`, which aioresponses 0.7.9 does not
    pass. This context adds one; with older or fixed versions it has no visible effect.

    Raises:
        ImportError: If aioresponses is not installed; the extra `testing` installs it.
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


@contextlib.contextmanager
def fixed_references(seed: int = 0) -> Generator[None]:
    """Generate the same references in every run, so that recorded traffic (VCR.py and the like) replays creates.

    Args:
        seed: Start of the sequence.
    """
    source = random.Random(seed)  # noqa: S311 - repeatable on purpose
    with patch("videoapi.creation.create_request._random_bytes", source.randbytes):
        yield


def canned_room(room_id: str = ROOM_ID, *, name: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return the response body of a room create or get, for `payload=`.

    Args:
        room_id: The room's ID.
        name: The room's name; omitted by default. In the response to a create it must be the requested
            name: with another name, the client treats it as the response to another request.
        fields: Other fields of the room by their API field names; `settings` are merged into those of
            a permanent room.

    A canned response does not echo the client's reference, and is still accepted as a success.
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
    """Return the response body of a token create, for `payload=`.

    Args:
        text: The token.

    Source: docs/contract.md 5.1.
    """
    return {"result": 0, "token": text}


def canned_error(code: int, *, error: str | None = None, desc: str = "") -> dict[str, Any]:
    """Return the response body of a failure, for `payload=` together with `status=`.

    Args:
        code: The result code, such as 40001.
        error: The error text; by default the service's text for the code.
        desc: The description, usually empty.

    Source: docs/contract.md 3, 8.1.
    """
    words = TEXTS.get(code, "Unknown") if error is None else error
    return {"result": code, "error": f"[Reason] {words}", "desc": desc}
