"""An aiohttp.web backend: browsers request rooms and tokens from it, and it calls the Video API.

For servers only: the APP_KEY stays in this process, and the browser only receives a token.
Run: VIDEOAPI_APP_ID=… VIDEOAPI_APP_KEY=… python aiohttp_backend.py
"""

from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler

from videoapi import NotFound, RoomSettings, TokenDenied, VideoAPIError, VideoClient

VIDEO = web.AppKey("video", VideoClient)
routes = web.RouteTableDef()


async def keep_client(app: web.Application) -> AsyncIterator[None]:
    async with VideoClient(timeout=10) as video:  # one client, and one pool, for the life of the application
        app[VIDEO] = video
        yield


@routes.post("/meetings")
async def create_meeting(request: web.Request) -> web.Response:
    room = await request.app[VIDEO].rooms.create(name="Meeting", settings=RoomSettings.one_session(60))
    return web.json_response({"room_id": room.room_id})


@routes.post("/meetings/{room_id}/join")
async def join(request: web.Request) -> web.Response:
    # Take the user and the role from your own session: a browser must not choose to be moderator.
    room_id, name = request.match_info["room_id"], request.query["name"]
    token = await request.app[VIDEO].tokens.create(room_id, name=name, role="participant", user_ref=name)
    return web.json_response({"token": token.value})


@web.middleware
async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except NotFound:
        return web.json_response({"error": "no such meeting"}, status=404)
    except TokenDenied as error:
        return web.json_response({"error": "no place", "reason": error.reason}, status=409)
    except VideoAPIError as error:
        return web.json_response({"error": "video is not available"}, status=503 if error.retryable else 502)


def application() -> web.Application:
    app = web.Application(middlewares=[explain])
    app.cleanup_ctx.append(keep_client)
    app.add_routes(routes)
    return app


if __name__ == "__main__":
    web.run_app(application(), port=8000)
