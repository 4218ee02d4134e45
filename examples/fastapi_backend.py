"""A FastAPI backend: browsers request rooms and tokens from it, and it calls the Video API.

For servers only: the APP_KEY stays in this process, and the browser only receives a token.
Run: VIDEOAPI_APP_ID=… VIDEOAPI_APP_KEY=… uvicorn fastapi_backend:app
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from videoapi import RoomSettings, VideoAPIError, VideoClient, errors

STATUSES = {errors.NotFound: 404, errors.Conflict: 409, errors.TokenDenied: 409, errors.ValidationError: 422}
STATUSES |= {errors.RateLimited: 503, errors.CreateOutcomeUnknown: 504}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with VideoClient(timeout=10) as video:  # one client, and one pool, for the life of the process
        app.state.video = video
        yield


async def video_of(request: Request) -> VideoClient:
    client: VideoClient = request.app.state.video
    return client


app = FastAPI(lifespan=lifespan)
Video = Annotated[VideoClient, Depends(video_of)]


@app.post("/meetings")
async def create_meeting(video: Video) -> dict[str, str]:
    room = await video.rooms.create(name="Meeting", settings=RoomSettings.one_session(60))
    return {"room_id": room.room_id}


@app.post("/meetings/{room_id}/join")
async def join(room_id: str, name: str, video: Video) -> dict[str, str]:
    # Take the user and the role from your own session: a browser must not choose to be moderator.
    token = await video.tokens.create(room_id, name=name, role="participant", user_ref=name)
    return {"token": token.value}


@app.exception_handler(VideoAPIError)
async def explain(request: Request, error: VideoAPIError) -> JSONResponse:
    status = STATUSES.get(type(error), 503 if error.retryable else 502)
    headers = {"Retry-After": str(ceil(error.retry_after or 5))} if status == 503 else {}
    facts = {"error": type(error).__name__, "reason": getattr(error, "reason", None), "reference": error.reference}
    return JSONResponse(facts, status, headers)
