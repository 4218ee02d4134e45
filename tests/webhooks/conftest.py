"""A receiver on a real socket, and what its tests need."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import attrs
import pytest

from videoapi.webhooks import Webhooks

AUTH = ("service", "canary-päss:word")


def body_of(kind: str = "roomdrop", **fields: object) -> bytes:
    return json.dumps({"type": kind, **fields}).encode()


@attrs.frozen
class Poster:
    """Posts deliveries to a receiver."""

    url: str
    session: aiohttp.ClientSession

    async def __call__(self, body: Any = b"", auth: tuple[str, str] | None = AUTH, **options: Any) -> int:
        return (await self.answer(body, auth, **options)).status

    async def answer(
        self, body: Any = b"", auth: tuple[str, str] | None = AUTH, *, method: str = "POST", **headers: str
    ) -> aiohttp.ClientResponse:
        if auth is not None:
            headers["Authorization"] = aiohttp.encode_basic_auth(*auth, encoding="utf-8")
        async with self.session.request(method, self.url, data=body, headers=headers) as response:
            await response.read()
            return response


Serve = Callable[[Webhooks], Any]


@pytest.fixture
async def posting() -> AsyncIterator[Serve]:
    """Return a function that serves a receiver and returns a poster."""
    async with AsyncExitStack() as stack:

        async def start(hooks: Webhooks) -> Poster:
            url = await stack.enter_async_context(hooks.serve())
            return Poster(url, await stack.enter_async_context(aiohttp.ClientSession()))

        yield start


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)
