"""The client, and the handwritten loops used instead of it. Each contains only what its users would write."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from benchmarks.speed import bodies
from benchmarks.speed.worker import Run, Target, pooled

APP_ID = "5f7f1f3a1f3a1f3a1f3a1f3a"
APP_KEY = "k" * 36
AUTHORIZATION = "Basic " + base64.b64encode(f"{APP_ID}:{APP_KEY}".encode()).decode()


def connector(target: Target) -> aiohttp.TCPConnector | None:
    """Return a default aiohttp connector that trusts the server's certificate."""
    if target.ca_file is None:
        return None
    return aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=target.ca_file))


def bare_session(target: Target) -> aiohttp.ClientSession:
    """Return a session with one-line tuning: orjson, and a prebuilt Authorization header."""
    import orjson

    return aiohttp.ClientSession(
        headers={"Authorization": AUTHORIZATION}, json_serialize_bytes=orjson.dumps, connector=connector(target)
    )


@asynccontextmanager
async def bare(target: Target) -> AsyncIterator[Run]:
    import orjson

    url = f"{target.base_url}/rooms"
    async with bare_session(target) as session:

        async def call(number: int) -> Any:
            async with session.post(url, json=bodies.room(number)) as response:
                return orjson.loads(await response.read())

        yield pooled(call)


@asynccontextmanager
async def bare_with_header(target: Target) -> AsyncIterator[Run]:
    """The bare loop, with a correlation ID for each request."""
    import orjson

    url = f"{target.base_url}/rooms"
    async with bare_session(target) as session:

        async def call(number: int) -> Any:
            headers = {"X-Correlation-ID": "6571f3c2a1b2c3d4e5f60718"}
            async with session.post(url, json=bodies.room(number), headers=headers) as response:
                return orjson.loads(await response.read())

        yield pooled(call)


@asynccontextmanager
async def naive(target: Target) -> AsyncIterator[Run]:
    url = f"{target.base_url}/rooms"
    async with aiohttp.ClientSession(headers={"Authorization": AUTHORIZATION}, connector=connector(target)) as session:

        async def call(number: int) -> Any:
            async with session.post(url, json=bodies.room(number)) as response:
                return await response.json()

        yield pooled(call)


@asynccontextmanager
async def naive_auth(target: Target) -> AsyncIterator[Run]:
    import warnings

    # aiohttp deprecates auth= in favor of the header.
    warnings.simplefilter("ignore", DeprecationWarning)
    url = f"{target.base_url}/rooms"
    async with aiohttp.ClientSession(connector=connector(target)) as session:

        async def call(number: int) -> Any:
            auth = aiohttp.BasicAuth(APP_ID, APP_KEY)
            async with session.post(url, json=bodies.room(number), auth=auth) as response:
                return await response.json()

        yield pooled(call)


@asynccontextmanager
async def ours(target: Target) -> AsyncIterator[Run]:
    from videoapi import RoomSettings

    async with _ours(target, lambda: RoomSettings(**bodies.settings())) as run:
        yield run


@asynccontextmanager
async def ours_reusing(target: Target) -> AsyncIterator[Run]:
    from videoapi import RoomSettings

    settings = RoomSettings(**bodies.settings())
    async with _ours(target, lambda: settings) as run:
        yield run


@asynccontextmanager
async def ours_with_header(target: Target) -> AsyncIterator[Run]:
    """The client, with a middleware that adds a correlation ID to each request."""
    from videoapi import Outcome, Request, RoomSettings, Send

    async def correlate(request: Request, send: Send) -> Outcome:
        return await send(request.with_headers({"X-Correlation-ID": "6571f3c2a1b2c3d4e5f60718"}))

    async with _ours(target, lambda: RoomSettings(**bodies.settings()), middleware=[correlate]) as run:
        yield run


@asynccontextmanager
async def _ours(target: Target, settings: Callable[[], Any], **options: Any) -> AsyncIterator[Run]:
    from videoapi import VideoClient

    async with VideoClient(APP_ID, APP_KEY, target.base_url, ca_file=target.ca_file, **options) as client:

        async def call(number: int) -> Any:
            return await client.rooms.create(name=bodies.NAME, settings=settings(), sip=False, data=bodies.DATA)

        yield pooled(call)
