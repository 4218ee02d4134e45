"""One create by another vendor's client: `python peer_calls.py NAME URL`.

Runs in an environment with those clients installed, and imports nothing from this project. Prints the result for the
caller; exits with 3 if the client is not installed.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable
from typing import Any

TIMEOUT = 1.0


async def livekit(url: str) -> object:
    import aiohttp
    from livekit import api

    async with api.LiveKitAPI(url, "key", "s" * 32, timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as client:
        return await client.room.create_room(api.CreateRoomRequest(name="room"))


async def _twilio(url: str, retries: int | None) -> object:
    from twilio.http.async_http_client import AsyncTwilioHttpClient
    from twilio.rest import Client

    class Redirected(AsyncTwilioHttpClient):
        async def request(self, method: str, url_: str, **options: Any) -> Any:
            return await super().request(method, url + url_.partition(".com")[2], **options)

    http = Redirected(timeout=TIMEOUT, max_retries=retries)
    try:
        return await Client("AC" + "0" * 32, "token", http_client=http).video.v1.rooms.create_async(unique_name="room")
    finally:
        await http.close()


async def twilio(url: str) -> object:
    return await _twilio(url, None)


async def twilio_retries(url: str) -> object:
    return await _twilio(url, 3)


def vonage(url: str) -> object:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from vonage_http_client import Auth, HttpClient, HttpClientOptions
    from vonage_video import Video

    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    auth = Auth(application_id="00000000-0000-0000-0000-000000000000", private_key=pem.decode())
    http = HttpClient(auth, HttpClientOptions(video_host=url.removeprefix("http://"), timeout=TIMEOUT))
    adapter = http._session.get_adapter("https://")
    send = adapter.send

    def send_unencrypted(request: Any, **options: Any) -> Any:
        request.url = request.url.replace("https://", "http://", 1)
        return send(request, **options)

    adapter.send = send_unencrypted
    return Video(http).create_session()


def stripe(url: str) -> object:
    import stripe

    client = stripe.StripeClient(
        "sk_test_x", base_addresses={"api": url}, http_client=stripe.RequestsClient(timeout=TIMEOUT)
    )
    return client.v1.customers.create({"name": "room"})


async def openai(url: str) -> object:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(api_key="key", base_url=url, timeout=TIMEOUT) as client:
        return await client.vector_stores.create(name="room")


async def anthropic(url: str) -> object:
    from anthropic import AsyncAnthropic

    async with AsyncAnthropic(api_key="key", base_url=url, timeout=TIMEOUT) as client:
        return await client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "room"}])


async def azure(url: str) -> object:
    from azure.core import AsyncPipelineClient
    from azure.core.pipeline.policies import AsyncRetryPolicy
    from azure.core.pipeline.transport import AioHttpTransport
    from azure.core.rest import HttpRequest

    transport = AioHttpTransport(read_timeout=TIMEOUT)
    async with AsyncPipelineClient(url, policies=[AsyncRetryPolicy()], transport=transport) as client:
        response = await client.send_request(HttpRequest("POST", f"{url}/rooms", json={"name": "room"}))
        response.raise_for_status()
        return response


async def elasticsearch(url: str) -> object:
    from elasticsearch import AsyncElasticsearch

    async with AsyncElasticsearch(url, request_timeout=TIMEOUT) as client:
        return await client.index(index="rooms", document={"name": "room"})


async def hikari(url: str) -> object:
    import hikari
    from hikari.impl import HTTPSettings, HTTPTimeoutSettings

    app = hikari.RESTApp(url=url, http_settings=HTTPSettings(timeouts=HTTPTimeoutSettings(total=TIMEOUT)))
    await app.start()
    try:
        async with app.acquire("token", "Bot") as rest:
            return await rest.create_guild_text_channel(1234567890, "room")
    finally:
        await app.close()


async def aiobotocore(url: str) -> object:
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    config = AioConfig(read_timeout=TIMEOUT)
    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "key"}
    async with get_session().create_client(
        "sqs", region_name="us-east-1", endpoint_url=url, config=config, **keys
    ) as client:
        return await client.create_queue(QueueName="room")


async def gidgethub(url: str) -> object:
    import aiohttp
    from gidgethub.aiohttp import GitHubAPI

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session:
        return await GitHubAPI(session, "room", oauth_token="t", base_url=url).post("/rooms", data={"name": "room"})


PEERS: dict[str, Callable[[str], Any]] = {
    "livekit-api": livekit,
    "twilio": twilio,
    "twilio, 3 retries": twilio_retries,
    "vonage-video": vonage,
    "stripe": stripe,
    "openai": openai,
    "anthropic": anthropic,
    "azure-core": azure,
    "elasticsearch": elasticsearch,
    "hikari": hikari,
    "aiobotocore (sqs)": aiobotocore,
    "gidgethub": gidgethub,
}

if __name__ == "__main__":
    call = PEERS[sys.argv[1]]
    try:
        result = call(sys.argv[2])
        if inspect.isawaitable(result):
            asyncio.run(result)  # type: ignore[arg-type]
        print("success")
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    except Exception as error:
        print(type(error).__name__)
