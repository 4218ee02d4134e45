"""A FastAPI backend: browsers request rooms and tokens from it, and it calls the Video API.

For servers only: the APP_KEY stays in this process, and the browser only receives a token.
Run: VIDEOAPI_APP_ID=… VIDEOAPI_APP_KEY=… uvicorn fastapi_backend:app
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil
from typing import Annotated, cast

from fastapi import Depends, FastAPI, Request, responses

from videoapi import RoomSettings, VideoAPIError, VideoClient, errors
from videoapi.webhooks import SessionEnded, Webhooks

STATUSES = {errors.NotFound: 404, errors.Conflict: 409, errors.TokenDenied: 409, errors.ValidationError: 422}
STATUSES |= {errors.RateLimited: 503, errors.CreateOutcomeUnknown: 504}
hooks = Webhooks()  # VIDEOAPI_WEBHOOK_USER, VIDEOAPI_WEBHOOK_PASSWORD


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with VideoClient(timeout=10) as app.state.video, hooks:  # one client, and one pool, per process
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/hooks", hooks.asgi())


async def video_of(request: Request) -> VideoClient:
    return cast(VideoClient, request.app.state.video)


@app.post("/meetings")
async def create_meeting(video: Annotated[VideoClient, Depends(video_of)]) -> dict[str, str]:
    return {"room_id": (await video.rooms.create(name="Meeting", settings=RoomSettings.one_session(60))).room_id}


@app.post("/meetings/{room_id}/join")
async def join(room_id: str, name: str, video: Annotated[VideoClient, Depends(video_of)]) -> dict[str, str]:
    # Take the user and the role from your own session: a browser must not choose to be moderator.
    return {"token": (await video.tokens.create(room_id, name=name, role="participant", user_ref=name)).value}


@hooks.on(SessionEnded)
async def count_users(event: SessionEnded) -> None:
    # Anybody could have sent the event, but only the service has the records.
    records = await app.state.video.cdr.by_conference(event.conf_num).to_list()
    print(f"{event.conf_num} has ended: {len(records)} users", flush=True)


@app.exception_handler(VideoAPIError)
async def explain(request: Request, error: VideoAPIError) -> responses.JSONResponse:
    status = STATUSES.get(type(error), 503 if error.retryable else 502)
    headers = {"Retry-After": str(ceil(error.retry_after or 5))} if status == 503 else {}
    facts = {"error": type(error).__name__, "reason": getattr(error, "reason", None), "reference": error.reference}
    return responses.JSONResponse(facts, status, headers)
