"""Celery tasks that create rooms, each room once.

For servers only: the APP_KEY stays in the workers.
Run: VIDEOAPI_APP_ID=… VIDEOAPI_APP_KEY=… celery --app celery_tasks worker
with the broker and the result backend in a module celeryconfig.py.
"""

from math import ceil

from celery import Celery, Task
from celery.signals import worker_process_init, worker_process_shutdown

from videoapi import VideoAPIError, errors, reference_for
from videoapi.blocking import VideoClient

app = Celery("celery_tasks")
app.config_from_object("celeryconfig")
clients: list[VideoClient] = []


@worker_process_init.connect
def open_client(**_: object) -> None:
    clients.append(VideoClient(timeout=20))  # one client, and one pool, per worker process: after the fork


@worker_process_shutdown.connect
def close_client(**_: object) -> None:
    clients.pop().close()


@app.task(bind=True, max_retries=5)
def create_meeting(self: Task, meeting_id: str, in_doubt: bool = False) -> str:
    (video,) = clients
    reference = reference_for("meetings", meeting_id)
    try:
        room = video.rooms.resolve(reference) if in_doubt else None
        room = room or video.rooms.create(name=f"Meeting {meeting_id}", reference=reference)
    except errors.CreateOutcomeUnknown as error:  # the room may exist: look for it before another create
        raise self.retry(exc=error, countdown=90, kwargs={**self.request.kwargs, "in_doubt": True}) from None
    except VideoAPIError as error:
        if not error.retryable:
            raise
        raise self.retry(exc=error, countdown=ceil(error.retry_after or 5)) from None
    return room.room_id
