"""Clients for fault tests, with canary credentials that must not leak."""

from __future__ import annotations

import asyncio
from typing import Any

from videoapi import RetryPolicy, SessionManager, VideoClient
from videoapi.pipeline.clock import Clock

APP_ID = "canary0app0id0000000000a"
APP_KEY = "Canary7AppKey7MustNeverBeSeen7Anywhere"
ONCE = RetryPolicy(attempts=1)
EAGER = RetryPolicy(base=0)


def client_for(base_url: str, **options: Any) -> VideoClient:
    """Return a client that by default does not wait between attempts."""
    return VideoClient(APP_ID, APP_KEY, base_url, **{"retry": EAGER, **options})


class Skipped:
    """A clock that skips every wait, and the recorded waits, in seconds."""

    def __init__(self, dice: float = 0.5) -> None:
        self.waits: list[float] = []
        self._skew = 0.0
        self._dice = dice

    def clock(self) -> Clock:
        return Clock(now=self._clock, sleep=self._sleep, random=lambda: self._dice)

    def manager(self, **options: Any) -> SessionManager:
        return SessionManager(clock=self.clock(), **options)

    def _clock(self) -> float:
        return asyncio.get_running_loop().time() + self._skew

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._skew += seconds
        await asyncio.sleep(0)


OPERATIONS = ("get", "list", "update", "delete", "token", "create")
"""One call of each sort: a buffered and a streamed read, two idempotent writes, the token and the create."""


async def call(
    client: VideoClient, operation: str, room_id: str = "6571f3c2a1b2c3d4e5f60718", **options: Any
) -> object:
    """Make one call of the given sort."""
    match operation:
        case "get":
            return await client.rooms.get(room_id)
        case "list":
            return await client.rooms.list().to_list()
        case "update":
            return await client.rooms.update(room_id, name="Retro")
        case "delete":
            return await client.rooms.delete(room_id)
        case "token":
            return await client.tokens.create(room_id, name="Ann", role="moderator", user_ref="u-1")
        case "create":
            return await client.rooms.create(name="Stand-up", **{"on_unknown": "strict", **options})
        case _:
            raise ValueError(operation)
