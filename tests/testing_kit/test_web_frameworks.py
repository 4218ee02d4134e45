"""The models and the client inside web frameworks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from fastapi import Body, FastAPI

from videoapi import Room, VideoClient

if TYPE_CHECKING:
    from videoapi.sandbox import Sandbox


@pytest.fixture
async def client(videoapi_client: VideoClient) -> AsyncIterator[VideoClient]:
    async with videoapi_client as opened:
        yield opened


async def test_fastapi_route_returns_a_room_by_api_field_name(client: VideoClient) -> None:
    app = FastAPI()

    @app.get("/rooms/{room_id}")
    async def read(room_id: str) -> Room:
        return await client.rooms.get(room_id)

    created = await client.rooms.create(name="Stand-up", settings={"participants": "10"})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as browser:
        shown = (await browser.get(f"/rooms/{created.room_id}")).json()
        described = await browser.get("/openapi.json")
    assert shown["name"] == "Stand-up"
    assert Room.from_dict(shown).room_id == created.room_id
    assert described.status_code == 200
    schema = described.json()["paths"]["/rooms/{room_id}"]["get"]["responses"]["200"]
    assert schema["content"]["application/json"]["schema"]


async def test_fastapi_routes_handle_room_lists_and_room_bodies(client: VideoClient) -> None:
    app = FastAPI()

    @app.get("/rooms")
    async def rooms() -> list[Room]:
        return await client.rooms.list().to_list()

    @app.post("/echo")
    async def echo(room: Annotated[Room, Body()]) -> dict[str, str | None]:
        return {"id": room.room_id}

    created = await client.rooms.create(name="Stand-up")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as browser:
        assert [room["room_id"] for room in (await browser.get("/rooms")).json()] == [created.room_id]
        assert (await browser.post("/echo", json=created.to_dict())).json() == {"id": created.room_id}
        assert (await browser.post("/echo", json={"room_id": []})).status_code == 422


async def test_aiohttp_application_shares_one_client(videoapi_sandbox: Sandbox) -> None:
    key = web.AppKey("video", VideoClient)

    async def video(app: web.Application) -> AsyncIterator[None]:
        async with VideoClient(videoapi_sandbox.app_id, videoapi_sandbox.app_key, videoapi_sandbox.base_url) as opened:
            app[key] = opened
            yield

    async def create(request: web.Request) -> web.Response:
        room = await request.app[key].rooms.create(name="Stand-up")
        return web.json_response(text=room.to_json())

    app = web.Application()
    app.cleanup_ctx.append(video)
    app.router.add_post("/meetings", create)
    async with TestClient(TestServer(app)) as browser:
        answers = [await (await browser.post("/meetings")).json() for _ in range(3)]
    assert {answer["room_id"] for answer in answers} == set(videoapi_sandbox.ledger.rooms)
    assert videoapi_sandbox.ledger.connections == 1
