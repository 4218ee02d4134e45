"""A FastAPI backend that creates one room per booking, however often the browser repeats its request.

For servers only: the APP_KEY stays in these processes. All worker processes of one machine share the SQLite file.
Run: VIDEOAPI_APP_ID=… VIDEOAPI_APP_KEY=… CONTROL_ROOM=… uvicorn --workers 2 --factory fastapi_bookings:create_app
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil
from time import time
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, HTTPException, Request, responses

from videoapi import CreateOutcomeUnknown, NotFound, ValidationError, VideoAPIError, VideoClient, reference_for

log = logging.getLogger(__name__)
SETUP = """Create one, and set CONTROL_ROOM to its ID:
videoapi rooms create --name "Control room, do not delete" --owner-ref control"""
TABLE = """CREATE TABLE IF NOT EXISTS bookings (
    id TEXT PRIMARY KEY, title TEXT, sent INT DEFAULT 0, room_id TEXT, owner TEXT, until REAL DEFAULT 0)"""
# One statement, so that one process gets the row: if it has no owner, or its owner was killed and renews it no more.
CLAIM = "UPDATE bookings SET owner = ?, until = ? WHERE id = ? AND room_id IS NULL AND until < ? RETURNING sent"
RENEW = "UPDATE bookings SET until = ? WHERE id = ? AND owner = ?"
# Left by a process that was killed, or by a create without proof whose browser does not repeat its request.
DOUBTFUL = "SELECT id, title FROM bookings WHERE sent AND room_id IS NULL AND until < ?"


class Bookings:
    def __init__(self, video: VideoClient, path: str, control: str, lease: float) -> None:
        self.video, self.control, self.lease, self.owner = video, control, lease, uuid4().hex
        self.db = sqlite3.connect(path, timeout=2, isolation_level=None)  # each statement is on disk when it returns
        self.db.execute(TABLE)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.tasks: dict[str, asyncio.Task[str]] = {}

    async def start(self) -> None:
        try:
            room = await self.video.rooms.get(self.control)  # a wrong ID shows now, not at the first doubt
            if room.settings.is_one_session or "videoapi_ref" not in (room.data or {}):
                raise RuntimeError(f"CONTROL_ROOM={self.control!r} is not permanent, or has no videoapi_ref. {SETUP}")
        except (NotFound, ValidationError):
            raise RuntimeError(f"CONTROL_ROOM={self.control!r} does not exist in this project. {SETUP}") from None
        except VideoAPIError as error:
            if not error.retryable:
                raise

    async def renew(self) -> None:
        while True:
            try:
                with self.db:  # a claim that its task could not give back is not renewed, and ends
                    self.db.execute("BEGIN IMMEDIATE")
                    self.db.executemany(RENEW, [(time() + self.lease, id, self.owner) for id in self.tasks])
                for row in self.db.execute(DOUBTFUL, (time(),)).fetchall():
                    self.task(*row)
            except sqlite3.OperationalError:  # locked by another process for too long, or the disk is full
                log.exception("The claims were not renewed; next try in %g s", self.lease / 3)
            await asyncio.sleep(self.lease / 3)

    def task(self, id: str, title: str) -> asyncio.Task[str]:  # one per booking and process
        self.db.execute("INSERT OR IGNORE INTO bookings (id, title) VALUES (?, ?)", (id, title))
        if self.db.execute("SELECT title FROM bookings WHERE id = ?", (id,)).fetchone() != (title,):
            raise HTTPException(409, "this ID belongs to another booking")
        if id not in self.tasks:
            task = self.tasks[id] = asyncio.create_task(self.room_id(id, title))
            task.add_done_callback(lambda done: (self.tasks.pop(id), done.cancelled() or done.exception()))
        return self.tasks[id]

    async def room_id(self, id: str, title: str) -> str:
        while not (claimed := self.db.execute(CLAIM, (self.owner, time() + self.lease, id, time())).fetchall()):
            (room_id,) = self.db.execute("SELECT room_id FROM bookings WHERE id = ?", (id,)).fetchone()
            if room_id:
                return str(room_id)
            await asyncio.sleep(0.2)  # another process has claimed it
        try:
            return await self.create(id, title, *claimed[0])
        finally:
            self.db.execute("UPDATE bookings SET owner = NULL, until = 0 WHERE id = ? AND owner = ?", (id, self.owner))

    async def create(self, id: str, title: str, sent: int) -> str:
        reference = reference_for("bookings", id)
        # An earlier attempt, perhaps of a process that was killed, may have created the room. Proof takes 75 s.
        room = await self.video.rooms.resolve(reference, control=self.control) if sent else None
        if room is None:
            self.set_sent(id, 1)  # before the request leaves
            try:
                room = await self.video.rooms.create(name=title, owner_ref=id, reference=reference)
            except VideoAPIError as error:
                if not error.may_have_executed:
                    self.set_sent(id, 0)
                raise
        self.db.execute("UPDATE bookings SET room_id = ? WHERE id = ?", (room.room_id, id))
        return room.room_id

    def set_sent(self, id: str, sent: int) -> None:  # only while the claim is ours, which gives it its full time again
        row = sent, time() + self.lease, id, self.owner
        if not self.db.execute("UPDATE bookings SET sent = ?, until = ? WHERE id = ? AND owner = ?", row).rowcount:
            raise HTTPException(503, "another process has claimed the booking", {"Retry-After": "5"})


def create_app(path: str = "bookings.sqlite", timeout: float = 10, settle: float = 75, lease: float = 30) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with VideoClient(timeout=timeout, settle=settle) as video:
            app.state.bookings = bookings = Bookings(video, path, os.environ.get("CONTROL_ROOM", ""), lease)
            await bookings.start()
            renewal = asyncio.create_task(bookings.renew())
            yield
            tasks: list[asyncio.Task[Any]] = [renewal, *bookings.tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            bookings.db.close()

    app = FastAPI(lifespan=lifespan)

    @app.post("/bookings/{id}")
    async def book(id: str, title: str, request: Request) -> responses.JSONResponse:
        task = request.app.state.bookings.task(id, title)
        await asyncio.wait({task}, timeout=8)  # how long the browser waits; the task continues
        try:
            if task.done():
                return responses.JSONResponse({"room_id": task.result()})
        except CreateOutcomeUnknown:
            pass  # `renew`, or the next request if it comes first, looks for the room
        return responses.JSONResponse({}, 202, {"Retry-After": "5"})

    @app.exception_handler(VideoAPIError)
    async def explain(request: Request, error: VideoAPIError) -> responses.JSONResponse:
        headers = {"Retry-After": str(ceil(error.retry_after or 5))} if error.retryable else {}
        return responses.JSONResponse({"error": type(error).__name__}, 503 if error.retryable else 502, headers)

    return app
