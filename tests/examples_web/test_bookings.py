"""`fastapi_bookings.py`: one room per booking, over repeated requests, lost responses and restarts."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from support.programs import EXAMPLES

from videoapi import VideoClient
from videoapi.sandbox import Sandbox

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


@pytest.fixture(autouse=True)
async def control(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as client:
        room = await client.rooms.create(name="Control room", owner_ref="control")
    settings = {"APP_ID": sandbox.app_id, "APP_KEY": sandbox.app_key, "BASE_URL": sandbox.base_url}
    for name, value in settings.items():
        monkeypatch.setenv(f"VIDEOAPI_{name}", value)
    monkeypatch.setenv("CONTROL_ROOM", room.room_id)


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A browser of a process that runs as long as this context."""
    app = runpy.run_path(str(EXAMPLES / "fastapi_bookings.py"))["create_app"](
        str(folder / "bookings.sqlite"), settle=0.3
    )
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://test") as web:
        yield web


async def book(web: httpx.AsyncClient, id: str = "b-1", title: str = "Board") -> httpx.Response:
    while (reply := await web.post(f"/bookings/{id}", params={"title": title})).status_code in (202, 503):
        await asyncio.sleep(0.1)
    return reply


def rooms(sandbox: Sandbox) -> list[str]:
    return [entry.room_id for entry in sandbox.ledger.created if entry.owner_ref != "control"]


@pytest.mark.parametrize("fault", [None, "drop_after", "drop_before", "late", 503, "throttle"])
async def test_repeated_and_concurrent_requests_get_one_room(
    sandbox: Sandbox, tmp_path: Path, fault: str | int | None
) -> None:
    async with browser(tmp_path) as web:
        if fault == "late":
            sandbox.fault("rooms.create", "late", seconds=0.1)
        elif fault:
            sandbox.fault("rooms.create", fault)
        replies = await asyncio.gather(*[book(web) for _ in range(4)])
        replies.append(await book(web))
    assert {reply.status_code for reply in replies} == {200}
    assert [{"room_id": room_id} for room_id in rooms(sandbox)] == [replies[0].json()]
    assert {reply.text for reply in replies} == {replies[0].text}


@pytest.mark.parametrize("fault", ["drop_after", "drop_before"])
async def test_restart_finds_the_room_or_creates_it(sandbox: Sandbox, tmp_path: Path, fault: str) -> None:
    sandbox.fault("rooms.create", fault)
    unreadable = sandbox.fault("rooms.list", "hang", times=None)
    async with browser(tmp_path) as web:
        request = asyncio.create_task(book(web))
        while not sandbox.ledger.requests("rooms.list"):
            await asyncio.sleep(0.01)
        request.cancel()
    unreadable.cancel()
    async with browser(tmp_path) as web:
        reply = await book(web)
    assert reply.status_code == 200
    assert rooms(sandbox) == [reply.json()["room_id"]]


async def test_other_booking_under_the_same_id_is_a_conflict(sandbox: Sandbox, tmp_path: Path) -> None:
    async with browser(tmp_path) as web:
        assert (await book(web)).status_code == 200
        assert (await book(web, title="Other")).status_code == 409
    assert len(rooms(sandbox)) == 1


async def test_create_that_is_refused_can_be_repeated(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.fault("rooms.create", "expired")
    async with browser(tmp_path) as web:
        assert (await book(web)).status_code == 502
        reads = sandbox.ledger.requests("rooms.list")
        assert (await book(web)).status_code == 200
        assert sandbox.ledger.requests("rooms.list") == reads
