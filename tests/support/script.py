"""A clock that advances only when all tasks sleep, and a transport that responds from a script."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import attrs

from videoapi.config import Credentials
from videoapi.events import Listener
from videoapi.pipeline.accounts import AccountRegistry, AccountState, ClientAccounts
from videoapi.pipeline.call import Call
from videoapi.pipeline.clock import Clock
from videoapi.pipeline.credentials import CredentialsProvider
from videoapi.pipeline.middleware import Send
from videoapi.pipeline.reporting import Reporter
from videoapi.pipeline.retry import Retries
from videoapi.protocol import routes
from videoapi.protocol.backoff import RetryPolicy
from videoapi.protocol.outcome import Outcome, answered, no_response
from videoapi.protocol.routes import Options, Request, Route
from videoapi.protocol.types import ErrorKind, Phase
from videoapi.transport.attempt import Attempt
from videoapi.transport.deadlines import DeadlineTimer
from videoapi.transport.permits import Permits

T = TypeVar("T")
ORIGIN = "https://api.example.com"
Script = Callable[[Request, float], Awaitable[Outcome]]


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
        return AccountRegistry(self.clock()).new_account(ORIGIN)

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
        """Let all other tasks run until none of them can continue."""
        # The handles that the event loop runs next; a long chain of tasks may wake one after another.
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        while ready:
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


@attrs.define
class ScriptedTransport:
    """A transport that passes each attempt to a function."""

    script: Script
    permits: Permits = attrs.field(factory=lambda: Permits(10_000))

    def check(self) -> None:
        pass

    def permits_for(self, request: Request) -> Permits:
        return self.permits

    async def send(self, request: Request, attempt: Attempt) -> Outcome:
        attempt.started = True
        try:
            return await self.script(request, attempt.deadline)
        finally:
            attempt.permits.release()


def retries_of(script: Script, account: AccountState, listeners: Sequence[Listener] = ()) -> Retries:
    accounts = ClientAccounts(AccountRegistry(account.clock), ORIGIN)
    accounts._joined["id"] = accounts.current = account
    return Retries(
        transport=ScriptedTransport(script),
        accounts=accounts,
        credentials=CredentialsProvider(Credentials("id", "key")),
        clock=account.clock,
        reporter=Reporter("api.example.com:443", tuple(listeners)),
    )


def with_retries(script: Script, account: AccountState, listeners: Sequence[Listener] = ()) -> Send:
    """Return a function that sends the attempts of one call through the script."""
    retries, timer = retries_of(script, account, listeners), DeadlineTimer(account.clock.now)

    async def send(request: Request) -> Outcome:
        began = account.clock.now()
        deadline = began + request.timeout
        call = Call(request, began, deadline, timer.start(deadline))
        try:
            return await retries.send(call, request)
        finally:
            timer.stop(call.limit)

    return send
