"""`fastapi_bookings.py`: one room per booking, over repeated requests, lost responses, restarts and processes."""

from __future__ import annotations

import asyncio
import runpy
import sqlite3
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest
from support.programs import EXAMPLES

from videoapi import RoomSettings, VideoClient, reference_for
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
async def browser(folder: Path) -> AsyncGenerator[httpx.AsyncClient, None]:
    """A browser of a process that runs as long as this context."""
    app = runpy.run_path(str(EXAMPLES / "fastapi_bookings.py"))["create_app"](
        str(folder / "bookings.sqlite"), settle=0.3, lease=0.6
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


@asynccontextmanager
async def owner_of_the_account(sandbox: Sandbox) -> AsyncGenerator[VideoClient, None]:
    async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as client:
        yield client


def killed_process(folder: Path, *, sent: int, until: float) -> sqlite3.Connection:
    """Leave the row of a process that was killed while it created the room of `b-1`."""
    db = sqlite3.connect(folder / "bookings.sqlite", isolation_level=None)
    db.execute(runpy.run_path(str(EXAMPLES / "fastapi_bookings.py"))["TABLE"])
    db.execute("INSERT INTO bookings VALUES ('b-1', 'Board', ?, NULL, 'killed', ?)", (sent, until))
    return db


@pytest.mark.parametrize("created", [True, False])
async def test_start_resumes_bookings_in_doubt_without_a_request(
    sandbox: Sandbox, tmp_path: Path, created: bool
) -> None:
    if created:
        async with owner_of_the_account(sandbox) as client:
            await client.rooms.create(name="Board", owner_ref="b-1", reference=reference_for("bookings", "b-1"))
    with closing(killed_process(tmp_path, sent=1, until=time.time() + 0.5)) as db:
        async with browser(tmp_path):
            while not (found := db.execute("SELECT room_id FROM bookings WHERE room_id IS NOT NULL").fetchone()):
                await asyncio.sleep(0.05)
    assert rooms(sandbox) == [*found]


async def test_doubt_ends_although_the_browser_does_not_repeat_its_request(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.fault("rooms.create", "drop_before")
    async with browser(tmp_path) as web:
        assert (await web.post("/bookings/b-1", params={"title": "Board"})).status_code == 202
        with closing(sqlite3.connect(tmp_path / "bookings.sqlite")) as db:
            while not (found := db.execute("SELECT room_id FROM bookings WHERE room_id IS NOT NULL").fetchone()):
                await asyncio.sleep(0.05)
    assert rooms(sandbox) == [*found]


async def test_claim_of_a_process_that_lives_is_respected(sandbox: Sandbox, tmp_path: Path) -> None:
    with closing(killed_process(tmp_path, sent=1, until=time.time() + 3600)) as db:
        async with browser(tmp_path) as web:
            request = asyncio.create_task(book(web))
            await asyncio.sleep(1)  # longer than the settle time and the lease
            assert not sandbox.ledger.requests("rooms.list")
            db.execute("UPDATE bookings SET until = 0")
            assert (await request).status_code == 200
    assert len(rooms(sandbox)) == 1


async def test_several_processes_create_one_room_per_booking(sandbox: Sandbox, tmp_path: Path) -> None:
    for fault in ("drop_after", "drop_before", 503):
        sandbox.fault("rooms.create", fault)
    async with browser(tmp_path) as one, browser(tmp_path) as two, browser(tmp_path) as three:
        webs = (one, two, three) * 2
        replies = await asyncio.gather(*[book(web, id) for id in ("b-1", "b-2", "b-3", "b-4") for web in webs])
    assert {reply.status_code for reply in replies} == {200}
    assert {reply.json()["room_id"] for reply in replies} == set(rooms(sandbox))
    assert len(rooms(sandbox)) == 4


async def test_claim_outlasts_its_lease_while_its_process_lives(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.fault("rooms.create", "delay", seconds=1.5)
    async with browser(tmp_path) as one, browser(tmp_path) as two:
        replies = await asyncio.gather(book(one), book(two))
    assert replies[0].json() == replies[1].json()
    # The other process never had to look for the room.
    assert not sandbox.ledger.requests("rooms.list")


async def test_process_that_has_lost_its_claim_sends_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    with closing(killed_process(tmp_path, sent=1, until=0)) as db:
        async with browser(tmp_path) as web:
            request = asyncio.create_task(web.post("/bookings/b-1", params={"title": "Board"}))
            while not sandbox.ledger.requests("rooms.list"):
                await asyncio.sleep(0.01)
            db.execute("UPDATE bookings SET owner = 'other', until = ?", (time.time() + 3600,))
            assert (await request).status_code == 503
            assert db.execute("SELECT owner FROM bookings").fetchone() == ("other",)
    assert rooms(sandbox) == []


def locked(folder: Path) -> sqlite3.Connection:
    """Lock the file, as another process may for longer than a connection waits."""
    db = sqlite3.connect(folder / "bookings.sqlite", isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    return db


async def test_doubtful_bookings_are_still_looked_for_after_the_file_was_locked(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with browser(tmp_path):
        with closing(locked(tmp_path)):
            while "database is locked" not in caplog.text:
                await asyncio.sleep(0.05)
        with closing(killed_process(tmp_path, sent=1, until=0)) as db:
            async with asyncio.timeout(20):
                while not (found := db.execute("SELECT room_id FROM bookings WHERE room_id IS NOT NULL").fetchone()):
                    await asyncio.sleep(0.05)
    assert rooms(sandbox) == [*found]


async def test_claim_that_its_task_could_not_give_back_ends(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.fault("rooms.create", "delay", seconds=1)
    async with browser(tmp_path) as web:
        request = asyncio.create_task(book(web, "b-2"))
        with closing(killed_process(tmp_path, sent=1, until=time.time() + 0.5)) as db:
            while not (owner := db.execute("SELECT owner FROM bookings WHERE id = 'b-2' AND sent").fetchone()):
                await asyncio.sleep(0.01)
            db.execute("UPDATE bookings SET owner = ? WHERE id = 'b-1'", owner)
        async with asyncio.timeout(20):
            replies = [await request, await book(web)]
    assert sorted(reply.json()["room_id"] for reply in replies) == sorted(rooms(sandbox))


@pytest.mark.parametrize("wrong", ["unset", "missing", "foreign", "one session"])
async def test_wrong_control_room_ends_the_start(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    room_id = "f" * 24
    async with owner_of_the_account(sandbox) as client:
        if wrong == "one session":
            settings = RoomSettings.one_session()
            room_id = (await client.rooms.create(name="A", owner_ref="control", settings=settings)).room_id
        elif wrong == "foreign":
            body = {"name": "A", "owner_ref": "control", "settings": {}}
            made = await client.request("POST", "/rooms", json=body, operation="create")
            room_id = made.json()["room"]["room_id"]
    monkeypatch.setenv("CONTROL_ROOM", room_id)
    if wrong == "unset":
        monkeypatch.delenv("CONTROL_ROOM")
    with pytest.raises(RuntimeError, match=r"(?s)CONTROL_ROOM=.*\nvideoapi rooms create"):
        async with browser(tmp_path):
            pass


async def test_start_does_not_need_the_service(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.fault("rooms.get", 503, times=3)
    async with browser(tmp_path) as web:
        assert (await book(web)).status_code == 200


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
