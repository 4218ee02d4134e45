"""One harmless read, which shows whether an account works."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from videoapi.client import VideoClient
from videoapi.errors import ProtocolError, VideoAPIError
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import DIALIN, LIST_ROOMS, Request, Route

AccountRead = Callable[[VideoClient], Awaitable[bool]]


class LastOutcome:
    """A middleware that keeps the outcome of the latest call, and when it arrived.

    Args:
        now: A clock in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.outcome: Outcome | None = None
        self.sent: float = 0.0
        self.arrived: float = 0.0

    async def __call__(self, request: Request, send: Callable[[Request], Awaitable[Outcome]]) -> Outcome:
        self.outcome, self.sent = None, self._now()
        self.outcome = await send(request)
        self.arrived = self._now()
        return self.outcome


@attrs.frozen(kw_only=True)
class Trial:
    """A read, and what became of it.

    Args:
        route: Method and path template of the read.
        read: The read, to repeat; returns whether its response can only be of the Video API.
        proves: What it returned.
        error: The error, or None if the account works.
    """

    route: str
    read: AccountRead
    proves: bool
    error: VideoAPIError | None


async def _dialin(client: VideoClient) -> bool:
    found = await client.dialin.get()
    return bool(found.numbers or found.sip)


async def _first_room(client: VideoClient) -> bool:
    async with client.rooms.list() as found:
        async for _ in found:
            break
    return True


_READS: Final = ((DIALIN, _dialin), (LIST_ROOMS, _first_room))


async def try_account(client: VideoClient) -> Trial:
    """AccountRead the dial-in numbers; if the service lacks that route, the first room of the list.

    Source: docs/contract.md 2; older services have no dial-in route.
    """
    (first, read), (second, read_instead) = _READS
    trial = await _try(client, first, read)
    missing = isinstance(trial.error, ProtocolError) and trial.error.status == 404
    if missing or (trial.error is None and not trial.proves):
        return await _try(client, second, read_instead)
    return trial


async def _try(client: VideoClient, route: Route, read: AccountRead) -> Trial:
    error, proves = None, False
    try:
        proves = await read(client)
    except VideoAPIError as failed:
        error = failed
    return Trial(route=f"{route.method} {route.template}", read=read, proves=proves, error=error)
