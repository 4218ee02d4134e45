"""The notifications that the sandbox sends match the document."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.openapi_document import OpenAPIDocument

from videoapi import VideoClient
from videoapi.sandbox import Sandbox

DOCUMENT = OpenAPIDocument()
KINDS = {"roomdrop", "recording", "transcoded", "file-transfer"}


def test_document_has_the_four_kinds_of_notifications() -> None:
    assert {operation.template for operation in DOCUMENT.operations("webhooks")} == KINDS


@pytest.mark.parametrize(
    "switches",
    [{}, {"webhook_values": "number", "webhook_time": "ms"}, {"webhook_content_type": "application/json"}],
    ids=["text", "numbers", "json"],
)
async def test_sent_notifications_match_the_document(switches: dict[str, Any]) -> None:
    received: dict[str, Any] = {}

    async def receive(request: web.Request) -> web.Response:
        event = json.loads(await request.read())
        received[event["type"]] = event
        return web.Response()

    app = web.Application()
    app.router.add_post("/hooks", receive)
    async with TestServer(app) as server, Sandbox(webhook_url=str(server.make_url("/hooks")), **switches) as sandbox:
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as client:
            room = await client.rooms.create(name="Stand-up")
        sandbox.conference(room.room_id, recorded=True)
        async with asyncio.timeout(20):
            while received.keys() != KINDS:
                await asyncio.sleep(0.01)
    for kind, event in received.items():
        pointer = f"/webhooks/{kind}/post/requestBody/content/application~1json/schema"
        assert DOCUMENT.errors(pointer, event) == []
