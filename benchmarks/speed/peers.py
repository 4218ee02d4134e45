"""Other vendors' clients, each making the call that most resembles a create.

They are unmodified, except for the server's address.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.speed import bodies
from benchmarks.speed.clients import AUTHORIZATION
from benchmarks.speed.worker import Run, Target, pooled

_KEY, _SECRET = "key", "s" * 32


def _livekit_call(client: Any) -> Run:
    from livekit import api

    async def call(number: int) -> Any:
        return await client.room.create_room(
            api.CreateRoomRequest(
                name=f"row-{number:024d}", empty_timeout=300, max_participants=50, metadata=bodies.DATA["note"]
            )
        )

    return pooled(call)


@asynccontextmanager
async def livekit(target: Target) -> AsyncIterator[Run]:
    from livekit import api

    async with api.LiveKitAPI(target.origin, _KEY, _SECRET) as client:
        yield _livekit_call(client)


@asynccontextmanager
async def livekit_token(target: Target) -> AsyncIterator[Run]:
    from livekit import api

    token = api.AccessToken(_KEY, _SECRET).with_grants(api.VideoGrants(room_create=True)).to_jwt()
    async with api.LiveKitAPI.with_token(token, target.origin) as client:
        yield _livekit_call(client)


@asynccontextmanager
async def twilio(target: Target) -> AsyncIterator[Run]:
    import warnings

    from twilio.http.async_http_client import AsyncTwilioHttpClient
    from twilio.rest import Client

    # It passes auth= with each request, which aiohttp deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    async with AsyncTwilioHttpClient() as http:
        client = Client("AC" + "0" * 32, "token", http_client=http)
        client.video.base_url = target.origin

        async def call(number: int) -> Any:
            return await client.video.v1.rooms.create_async(
                unique_name=f"row-{number:024d}", type="group", max_participants=50, status_callback=bodies.DATA["note"]
            )

        yield pooled(call)


@asynccontextmanager
async def stripe(target: Target) -> AsyncIterator[Run]:
    from stripe import AIOHTTPClient, StripeClient

    http = AIOHTTPClient()
    client = StripeClient("sk_test_x", http_client=http, base_addresses={"api": target.origin})

    async def call(number: int) -> Any:
        return await client.v1.customers.create_async(
            {"name": f"row-{number:024d}", "description": "weekly", "metadata": bodies.DATA}
        )

    try:
        yield pooled(call)
    finally:
        await http.close_async()


@asynccontextmanager
async def openai(target: Target) -> AsyncIterator[Run]:
    async with _openai(target) as run:
        yield run


@asynccontextmanager
async def openai_aiohttp(target: Target) -> AsyncIterator[Run]:
    from openai import DefaultAioHttpClient

    async with _openai(target, http_client=DefaultAioHttpClient()) as run:
        yield run


@asynccontextmanager
async def _openai(target: Target, **options: Any) -> AsyncIterator[Run]:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(api_key="sk-x", base_url=f"{target.origin}/v1", **options) as client:

        async def call(number: int) -> Any:
            return await client.models.list()

        yield pooled(call)


@asynccontextmanager
async def httpx2(target: Target) -> AsyncIterator[Run]:
    import httpx2

    url = f"{target.base_url}/rooms"
    async with httpx2.AsyncClient(headers={"Authorization": AUTHORIZATION}) as client:

        async def call(number: int) -> Any:
            return (await client.post(url, json=bodies.room(number))).json()

        yield pooled(call)
