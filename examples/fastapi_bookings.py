"""A FastAPI backend that creates one room per booking, however often the browser repeats its request.

For servers only: the APP_KEY stays in this process. Run it with one worker, to which the SQLite file belongs.
Run: VIDEOAPI_APP_ID=… VIDEOAPI_APP_KEY=… CONTROL_ROOM=… uvicorn --factory fastapi_bookings:create_app
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil

from fastapi import FastAPI, HTTPException, Request, responses

from videoapi import CreateOutcomeUnknown, VideoAPIError, VideoClient, reference_for

TABLE = "CREATE TABLE IF NOT EXISTS bookings (id TEXT PRIMARY KEY, title TEXT, sent INT DEFAULT 0, room_id TEXT)"


class Bookings:
    def __init__(self, video: VideoClient, path: str, control: str) -> None:
        self.video, self.control = video, control
        self.db = sqlite3.connect(path, isolation_level=None)  # each statement is on disk when it returns
        self.db.execute(TABLE)
        self.tasks: dict[str, asyncio.Task[str]] = {}

    def task(self, id: str, title: str) -> asyncio.Task[str]:  # one per booking
        self.db.execute("INSERT OR IGNORE INTO bookings (id, title) VALUES (?, ?)", (id, title))
        if self.db.execute("SELECT title FROM bookings WHERE id = ?", (id,)).fetchone() != (title,):
            raise HTTPException(409, "this ID belongs to another booking")
        if id not in self.tasks:
            task = self.tasks[id] = asyncio.create_task(self.room_id(id, title))
            task.add_done_callback(lambda done: (self.tasks.pop(id), done.cancelled() or done.exception()))
        return self.tasks[id]

    async def room_id(self, id: str, title: str) -> str:
        sent, room_id = self.db.execute("SELECT sent, room_id FROM bookings WHERE id = ?", (id,)).fetchone()
        if room_id:
            return str(room_id)
        reference = reference_for("bookings", id)
        # An earlier attempt, perhaps of a process that was killed, may have created the room. Proof takes 75 s.
        room = await self.video.rooms.resolve(reference, control=self.control) if sent else None
        if room is None:
            self.db.execute("UPDATE bookings SET sent = 1 WHERE id = ?", (id,))  # before the request leaves
            try:
                room = await self.video.rooms.create(name=title, owner_ref=id, reference=reference)
            except VideoAPIError as error:
                if not error.may_have_executed:
                    self.db.execute("UPDATE bookings SET sent = 0 WHERE id = ?", (id,))
                raise
        self.db.execute("UPDATE bookings SET room_id = ? WHERE id = ?", (room.room_id, id))
        return room.room_id


def create_app(path: str = "bookings.sqlite", settle: float = 75) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with VideoClient(timeout=10, settle=settle) as video:
            app.state.bookings = bookings = Bookings(video, path, os.environ["CONTROL_ROOM"])
            yield
            for task in (tasks := list(bookings.tasks.values())):
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
            pass  # the next request looks for the room first
        return responses.JSONResponse({}, 202, {"Retry-After": "5"})

    @app.exception_handler(VideoAPIError)
    async def explain(request: Request, error: VideoAPIError) -> responses.JSONResponse:
        headers = {"Retry-After": str(ceil(error.retry_after or 5))} if error.retryable else {}
        return responses.JSONResponse({"error": type(error).__name__}, 503 if error.retryable else 502, headers)

    return app
