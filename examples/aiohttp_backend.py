"""An aiohttp.web backend: browsers request rooms and tokens from it, and it calls the Video API.

For servers only: the APP_KEY stays in this process, and the browser only receives a token.
Run: VIDEOAPI_APP_ID=… VIDEOAPI_APP_KEY=… python aiohttp_backend.py
"""

import os
from collections.abc import AsyncIterator
from math import ceil

from aiohttp import typedefs, web

from videoapi import RoomSettings, VideoAPIError, VideoClient, errors

VIDEO = web.AppKey("video", VideoClient)
STATUSES = {errors.NotFound: 404, errors.Conflict: 409, errors.TokenDenied: 409, errors.ValidationError: 422}
STATUSES |= {errors.RateLimited: 503, errors.CreateOutcomeUnknown: 504}
routes = web.RouteTableDef()


async def keep_client(app: web.Application) -> AsyncIterator[None]:
    async with VideoClient(timeout=10) as app[VIDEO]:  # one client, and one pool, for the life of the process
        yield


@routes.post("/meetings")
async def create_meeting(request: web.Request) -> web.Response:
    room = await request.app[VIDEO].rooms.create(name="Meeting", settings=RoomSettings.one_session(60))
    return web.json_response({"room_id": room.room_id})


@routes.post("/meetings/{room_id}/join")
async def join(request: web.Request) -> web.Response:
    # Take the user and the role from your own session: a browser must not choose to be moderator.
    room_id, name = request.match_info["room_id"], request.query.get("name", "")
    token = await request.app[VIDEO].tokens.create(room_id, name=name, role="participant", user_ref=name)
    return web.json_response({"token": token.value})


@web.middleware
async def explain(request: web.Request, handler: typedefs.Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except VideoAPIError as error:
        status = STATUSES.get(type(error), 503 if error.retryable else 502)
        headers = {"Retry-After": str(ceil(error.retry_after or 5))} if status == 503 else {}
        facts = {"error": type(error).__name__, "reason": getattr(error, "reason", None), "reference": error.reference}
        return web.json_response(facts, status=status, headers=headers)


def application() -> web.Application:
    app = web.Application(middlewares=[explain])
    app.cleanup_ctx.append(keep_client)
    app.add_routes(routes)
    return app


if __name__ == "__main__":
    web.run_app(application(), port=int(os.environ.get("PORT", "8000")))
