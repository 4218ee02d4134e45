"""No secret is visible in the errors of the blocking client, nor in the frames of their tracebacks."""

from __future__ import annotations

import asyncio
import base64
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.server import ROOM_ID, Link, answer, serve

from videoapi import ArchiveFile, ConfigurationError, RetryPolicy, RoomSpec, VideoAPIError
from videoapi.blocking import VideoClient

APP_ID, APP_KEY, PASSWORD = "id", "CanaryAppKey0123456789", "CanaryPassword0123456789"
LOGINS = [base64.b64encode(text.encode()).decode() for text in (f"{APP_ID}:{APP_KEY}", f"recorder:{PASSWORD}")]
SECRETS = (APP_KEY, PASSWORD, *LOGINS)


def chained(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def shown_by(error: BaseException) -> Iterator[str]:
    """Return what an error reporter stores: texts, and the local variables of all frames but those of this test."""
    yield from traceback.format_exception(error)
    for one in chained(error):
        yield from (repr(one), str(one), repr(vars(one)))
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if Path(frame.f_code.co_filename) != Path(__file__):
                for value in frame.f_locals.values():
                    yield repr(value)
                    if isinstance(value, dict | list | tuple | set):
                        yield from map(repr, value.values() if isinstance(value, dict) else value)


def leaks_of(error: BaseException) -> list[str]:
    return [text for text in shown_by(error) if any(secret in text for secret in SECRETS)]


def calls(client: VideoClient, origin: str, folder: Path) -> list[Callable[[], object]]:
    file = ArchiveFile(
        kind="recording", url=f"{origin}/a.mp4", archive_id="a", room_id=ROOM_ID, conf_num="c", trans_date=None
    )
    return [
        lambda: client.rooms.get(ROOM_ID),
        lambda: client.rooms.create(name="Stand-up", on_unknown="strict"),
        lambda: list(client.rooms.list()),
        lambda: client.cdr.by_room(ROOM_ID).to_list(),
        lambda: client.tokens.create(ROOM_ID, name="Ann", role="viewer", user_ref="u"),
        lambda: client.archives.download(file, folder, progress=print),
        lambda: raised(client.rooms.create_many(iter([RoomSpec("One")]), timeout=0.5, audit=False)),
        lambda: client.request("GET", "/own", operation="read"),
    ]


def raised(report: Any) -> None:
    (outcome,) = [*report.failures, *report.unknown, *report.not_sent]
    raise outcome.error or report.stopped


@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "callable"])
@pytest.mark.parametrize("reply", ["refused", "nonsense", "closed", "silence"])
async def test_no_error_and_no_frame_holds_a_secret(
    fixed: bool, reply: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(link: Link) -> None:
        while True:
            await link.request()
            if reply == "closed":
                return
            if reply == "silence":
                await asyncio.Event().wait()
            link.send(answer(401, {"result": 10000, "error": "no"}) if reply == "refused" else b"HTTP/1.1 200 OK\r\n?")
            await link.drain()

    def use(base_url: str, origin: str) -> int:
        login: dict[str, Any] = {"app_id": APP_ID, "app_key": APP_KEY}
        given = login if fixed else {"credentials": lambda: (APP_ID, APP_KEY)}
        options = {"timeout": 0.3, "attempt_timeout": 0.2, "retry": RetryPolicy(attempts=1), "settle": 0.1}
        errors: list[VideoAPIError] = []
        with VideoClient(base_url=base_url, recording_auth=("recorder", PASSWORD), **options, **given) as client:
            for call in calls(client, origin, tmp_path):
                try:
                    call()
                except VideoAPIError as error:
                    errors.append(error)
        for error in errors:
            assert leaks_of(error) == []
            stored = pickle.dumps(error).decode("latin-1")
            assert not [secret for secret in SECRETS if secret in stored]
        return len(errors)

    caplog.set_level(logging.DEBUG)
    async with serve(script) as server:
        assert await asyncio.to_thread(use, server.base_url, server.origin) == 8
    assert not [secret for secret in SECRETS if secret in caplog.text]


def test_frames_of_refused_settings_hold_no_secret() -> None:
    with pytest.raises(ConfigurationError) as caught:
        VideoClient(APP_ID, APP_KEY, "ftp://nonsense")
    assert leaks_of(caught.value) == []


def test_frames_of_a_closed_client_hold_no_secret() -> None:
    client = VideoClient(APP_ID, APP_KEY, "http://127.0.0.1:9/v2")
    client.close()
    with pytest.raises(ConfigurationError) as caught:
        client.rooms.get(ROOM_ID)
    assert leaks_of(caught.value) == []
