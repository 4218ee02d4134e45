"""Redis, and connections to it that are closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from support.redis_server import redis_server  # noqa: F401

from videoapi import RedisGate


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer for Redis than programs do: a busy machine takes more than 0.2 s now and then."""
    monkeypatch.setattr("videoapi.redis.gate._TIMEOUT", 5.0)


@pytest.fixture
async def gate_for(patience: None) -> AsyncIterator[Callable[..., RedisGate]]:
    """Return a gate with a rate of its own, closed at the end of the test."""
    gates: list[RedisGate] = []

    def make(url: str, **options: Any) -> RedisGate:
        gates.append(RedisGate(url, **{"processes": 4, "rate": "100/s"} | options))
        return gates[-1]

    yield make
    for gate in gates:
        await gate.aclose()
