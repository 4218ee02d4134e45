"""A Flask backend: browsers request rooms and tokens from it, and it calls the Video API.

For servers only: the APP_KEY stays in this process, and the browser only receives a token.
Run: VIDEOAPI_APP_ID=… VIDEOAPI_APP_KEY=… gunicorn --threads 8 flask_backend:app
"""

import atexit
import os
import signal
import sys
from math import ceil
from threading import Lock

from flask import Flask, request
from flask.typing import ResponseReturnValue

from videoapi import RoomSettings, VideoAPIError, errors
from videoapi.blocking import VideoClient

STATUSES = {errors.NotFound: 404, errors.Conflict: 409, errors.TokenDenied: 409, errors.ValidationError: 422}
STATUSES |= {errors.RateLimited: 503, errors.CreateOutcomeUnknown: 504}
app = Flask(__name__)
clients: list[VideoClient] = []
first = Lock()


def video() -> VideoClient:
    with first:  # one client per process, created by its first request: after the fork of a worker
        if not clients:
            clients.append(VideoClient(timeout=10))
            atexit.register(clients[0].close)
    return clients[0]


@app.post("/meetings")
def create_meeting() -> dict[str, str]:
    room = video().rooms.create(name="Meeting", settings=RoomSettings.one_session(60))
    return {"room_id": room.room_id}


@app.post("/meetings/<room_id>/join")
def join(room_id: str) -> dict[str, str]:
    name = request.args["name"]  # in production, take the user and the role from your own session
    return {"token": video().tokens.create(room_id, name=name, role="participant", user_ref=name).value}


@app.errorhandler(VideoAPIError)
def explain(error: VideoAPIError) -> ResponseReturnValue:
    status = STATUSES.get(type(error), 503 if error.retryable else 502)
    headers = {"Retry-After": str(ceil(error.retry_after or 5))} if status == 503 else {}
    reason = getattr(error, "reason", None)
    return {"error": type(error).__name__, "reason": reason, "reference": error.reference}, status, headers


if __name__ == "__main__":  # a server for development
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    app.run(port=int(os.environ.get("PORT", "8000")))
