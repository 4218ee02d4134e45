"""A scripted service for the real pipeline, which records what a stream opens, reads and closes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import pytest
from support.script import retries_of

from videoapi.pipeline.clock import Clock
from videoapi.pipeline.middleware import Send
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.backoff import RetryPolicy
from videoapi.protocol.outcome import BodyInterrupted, Outcome, answered, streaming
from videoapi.protocol.routes import Options, Request
from videoapi.session import SessionManager

Piece = bytes | BodyInterrupted | asyncio.Event


class ScriptedBody:
    """A body that yields its pieces in order, raises those that are errors, and waits for events."""

    def __init__(self, service: Service, pieces: Iterable[Piece]) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = {}
        self.closed = False
        self.read = 0
        self._service = service
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, asyncio.Event):
                await piece.wait()
            elif isinstance(piece, BodyInterrupted):
                raise piece
            else:
                self.read += 1
                yield piece

    def discard(self) -> None:
        pass

    async def aclose(self) -> None:
        if not self.closed:
            self.closed = True
            self._service.manager.pool.stream_permits.release()


async def unreachable(request: Request, deadline: float) -> Outcome:
    raise AssertionError("the middleware responds")


class Service:
    """A service that responds by path: `answers[path]` holds the successive responses; the last one repeats."""

    def __init__(self, manager: SessionManager) -> None:
        self.manager = manager
        self.answers: dict[str, list[list[Piece] | Outcome | Callable[[Request], Outcome]]] = {}
        self.requests: list[str] = []
        self.bodies: list[ScriptedBody] = []
        self.slept: list[float] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.before_permit: dict[str, asyncio.Event] = {}

    @property
    def open(self) -> int:
        return sum(not body.closed for body in self.bodies)

    async def send(self, request: Request) -> Outcome:
        if waits := self.before_permit.get(request.path):
            await waits.wait()
        await self.manager.pool.stream_permits.acquire()
        held = True
        try:
            self.requests.append(request.path)
            if gate := self.gates.get(request.path):
                await gate.wait()
            script = self.answers[request.path]
            answer = script.pop(0) if len(script) > 1 else script[0]
            if callable(answer):
                answer = answer(request)
            if isinstance(answer, Outcome):
                return answer
            body = ScriptedBody(self, answer)
            self.bodies.append(body)
            held = False
            return streaming(200, {}, body)
        finally:
            if held:
                self.manager.pool.stream_permits.release()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def pipeline(self, **policy: Any) -> Pipeline:
        account = self.manager.accounts.new_account("http://service")

        async def respond(request: Request, send: Send) -> Outcome:
            return await self.send(request)

        return Pipeline(
            retries=retries_of(unreachable, account),
            timer=self.manager.new_timer(),
            options=Options(retry=RetryPolicy(**policy)),
            pool=self.manager.pool,
            middleware=(respond,),
        )


def refusal(status: int, result: int) -> Callable[[Request], Outcome]:
    """Return a response with an error status and a result code."""

    def answer(request: Request) -> Outcome:
        body = {"result": result, "error": "[Reason] so it is", "desc": ""}
        return answered(request, status, {}, json.dumps(body).encode())

    return answer


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    sleeps: list[float] = []

    async def sleep(seconds: float) -> None:
        sleeps.append(seconds)

    async with SessionManager(max_connections=16, clock=Clock(sleep=sleep)) as manager:
        manager.pool.api()
        service = Service(manager)
        service.slept = sleeps
        yield service
        await asyncio.sleep(0)
        assert service.open == 0
        assert not manager.pool.stream_permits.locked()


@pytest.fixture
def refused() -> Callable[[int, int], Callable[[Request], Outcome]]:
    return refusal
