"""A clock that advances only when all tasks sleep, and a transport that responds from a script."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

import attrs

from videoapi.pipeline.accounts import AccountRegistry, AccountState
from videoapi.pipeline.clock import Clock
from videoapi.protocol import routes
from videoapi.protocol.backoff import RetryPolicy
from videoapi.protocol.outcome import Outcome, answered, no_response
from videoapi.protocol.routes import Options, Request, Route
from videoapi.protocol.types import ErrorKind, Phase

T = TypeVar("T")


class Time:
    """Virtual time: `run` lets tasks run until all of them sleep, then wakes the earliest."""

    def __init__(self, throw: float = 1.0) -> None:
        self.now = 1000.0
        self.throw = throw
        self.naps: list[float] = []
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, sleep=self.sleep, random=lambda: self.throw)

    def account(self) -> AccountState:
        return AccountRegistry(self.clock()).of("https://api.example.com", "id")

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        waking = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), waking))
        await waking

    async def run(self, *jobs: Awaitable[T]) -> list[T]:
        running = asyncio.gather(*jobs)
        try:
            while not running.done():
                await self.settle()
                if not running.done():
                    self.wake_next()
        finally:
            running.cancel()
        return await running

    async def settle(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)

    def wake_next(self) -> None:
        assert self._sleepers, "deadlock: no task is sleeping"
        at, _, waking = heapq.heappop(self._sleepers)
        self.now = max(self.now, at)
        if not waking.done():
            waking.set_result(None)


def ask(route: Route = routes.GET_ROOM, timeout: float | None = None, **policy: Any) -> Request:
    return Request(route=route, path="/rooms/1", options=Options(timeout=timeout, retry=RetryPolicy(**policy)))


def say(word: str, request: Request) -> Outcome:
    """Return the outcome of a word of a script.

    Words: `ok`, `refused`, `lost`, `late`, `untrusted`, a status such as `502`, a status with a code
    such as `200/10105`, or with a Retry-After such as `429@7`.
    """
    match word:
        case "ok":
            return answered(request, 200, {}, b'{"result":0}')
        case "refused":
            return no_response(request, Phase.NOT_SENT, ErrorKind.CONNECTION, "refused")
        case "untrusted":
            return no_response(request, Phase.NOT_SENT, ErrorKind.CERTIFICATE, "not trusted")
        case "lost":
            return no_response(request, Phase.SENT, ErrorKind.CONNECTION, "lost")
        case "late":
            return no_response(request, Phase.SENT, ErrorKind.TIMEOUT, "late")
    answer, _, seconds = word.partition("@")
    status, _, code = answer.partition("/")
    headers = {"Retry-After": seconds} if seconds else {}
    return answered(request, int(status), headers, b'{"result":%b}' % code.encode() if code else b"")


@attrs.define
class Wire:
    """A transport that uses one word of the script per attempt, and repeats the last one.

    A word may be preceded by the duration of the attempt in seconds, such as `5:late`.
    """

    time: Time
    script: list[str]
    sent: list[tuple[float, Request]] = attrs.field(factory=list)
    deadlines: list[float] = attrs.field(factory=list)

    async def __call__(self, request: Request, deadline: float) -> Outcome:
        word = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.sent.append((self.time.now, request))
        self.deadlines.append(deadline)
        takes, _, word = word.rpartition(":")
        if takes:
            await self.time.sleep(float(takes))
        return say(word, request)

    @property
    def count(self) -> int:
        return len(self.sent)


def wire(time: Time, script: str | Iterable[str]) -> Wire:
    return Wire(time, script.split() if isinstance(script, str) else list(script))
