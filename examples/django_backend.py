"""A Django backend in one file: browsers request rooms and tokens from it, and it calls the Video API.

For servers only: the APP_KEY stays in this process, and the browser only receives a token.
Run: VIDEOAPI_APP_ID=… VIDEOAPI_APP_KEY=… DJANGO_SECRET_KEY=… uvicorn django_backend:application
"""

import os
from collections.abc import Awaitable, Callable
from math import ceil
from typing import Any

from django import conf, http, urls
from django.core.asgi import get_asgi_application
from django.views.decorators.http import require_POST

from videoapi import RoomSettings, VideoAPIError, VideoClient, errors

STATUSES = {errors.NotFound: 404, errors.Conflict: 409, errors.TokenDenied: 409, errors.ValidationError: 422}
STATUSES |= {errors.RateLimited: 503, errors.CreateOutcomeUnknown: 504}
conf.settings.configure(SECRET_KEY=os.environ["DJANGO_SECRET_KEY"], ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)
django = get_asgi_application()


async def application(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> Any:
    if scope["type"] != "lifespan":  # of which Django knows nothing
        return await django(scope, receive, send)
    step = (await receive())["type"]
    try:
        async with VideoClient(timeout=10) as scope["state"]["video"]:  # one client, and one pool, per process
            await send({"type": "lifespan.startup.complete"})
            step = (await receive())["type"]
        await send({"type": "lifespan.shutdown.complete"})
    except VideoAPIError as error:  # the server logs the message and exits, such as without VIDEOAPI_APP_ID
        await send({"type": f"{step}.failed", "message": str(error)})


def explained(view: Callable[..., Awaitable[dict[str, str]]]) -> Any:
    async def explain(request: http.HttpRequest, **values: str) -> http.JsonResponse:
        try:
            return http.JsonResponse(await view(request.scope["state"]["video"], request, **values))
        except VideoAPIError as error:
            status = STATUSES.get(type(error), 503 if error.retryable else 502)
            headers = {"Retry-After": str(ceil(error.retry_after or 5))} if status == 503 else {}
            facts = {"error": type(error).__name__, "reason": getattr(error, "reason", None)}
            return http.JsonResponse(facts | {"reference": error.reference}, status=status, headers=headers)

    return require_POST(explain)


async def create_meeting(video: VideoClient, request: http.HttpRequest) -> dict[str, str]:
    return {"room_id": (await video.rooms.create(name="Meeting", settings=RoomSettings.one_session(60))).room_id}


async def join(video: VideoClient, request: http.HttpRequest, room_id: str) -> dict[str, str]:
    name = request.GET.get("name", "")  # in production, take the user and the role from your own session
    return {"token": (await video.tokens.create(room_id, name=name, role="participant", user_ref=name)).value}


urlpatterns = [urls.path("meetings", explained(create_meeting)), urls.path("meetings/<room_id>/join", explained(join))]
