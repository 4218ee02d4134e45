"""Secrets are replaced by unique canary texts, which must not appear anywhere unintended."""

from __future__ import annotations

import asyncio
import base64
import logging
import math
import pickle
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from support.clients import Skipped
from support.server import ROOM_ID, Link, Seen, Server, answer, serve

from videoapi import (
    ArchiveFile,
    Outcome,
    Request,
    RetryPolicy,
    RoomSpec,
    Send,
    TokenSpec,
    VideoAPIError,
    VideoClient,
)
from videoapi.pipeline.call import Call
from videoapi.pipeline.retry import Retries
from videoapi.sandbox import KINDS, Sandbox
from videoapi.transport.attempt import Attempt
from videoapi.transport.http import Transport

# Long, and not about the interpreter.
pytestmark = pytest.mark.slow

APP_KEY = "CanaryAppKey0123456789"
PASSWORD = "CanaryPassword0123456789"
TOKEN = "CanaryToken0123456789+/="
QUERY = "CanaryQuery0123456789"
DIALIN = "CanaryDialin0123456789"
DIALIN_KEY = "CanaryDialinKey0123456789"
CANARIES = (APP_KEY, PASSWORD, TOKEN, QUERY, DIALIN, DIALIN_KEY)
LOGINS = (f"id:{APP_KEY}", f"recorder:{PASSWORD}")


def encodings(secrets: tuple[str, ...], logins: tuple[str, ...] = ()) -> set[str]:
    """Return every encoding in which the secrets could leak."""
    spelled = {*secrets, *(quote(secret, safe="") for secret in secrets)}
    return spelled | {base64.b64encode(text.encode()).decode().rstrip("=") for text in (*secrets, *logins)}


class Recorder:
    """A collector of everything that the library outputs."""

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        self.texts: list[str] = []
        self.errors: list[Exception] = []
        self._log = log

    def record(self, *things: object) -> None:
        for thing in things:
            self.texts += [repr(thing), str(thing), f"{thing}"]

    def fail(self, error: Exception) -> None:
        self.errors.append(error)
        self.record(error, vars(error))
        self.texts += traceback.format_exception(error)
        if isinstance(error, VideoAPIError):
            stored = pickle.dumps(error)
            self.texts.append(stored.decode("latin-1"))
            self.record(pickle.loads(stored))
        cause: BaseException | None = error
        while cause is not None:
            assert not type(cause).__module__.startswith(("aiohttp", "msgspec", "cattrs")), type(cause)
            cause = cause.__cause__ or cause.__context__

    def all_texts(self) -> list[str]:
        logged = [
            part
            for record in self._log.records
            for part in (record.getMessage(), repr(record.args), str(record.exc_text or ""))
        ]
        return self.texts + logged

    def assert_not_leaked(self, secrets: set[str]) -> None:
        for text in self.all_texts():
            for secret in secrets:
                assert secret not in text, f"…{text[max(0, text.index(secret) - 200) :][:400]}…"


@pytest.fixture
def recorder(caplog: pytest.LogCaptureFixture) -> Recorder:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="videoapi")
    return Recorder(caplog)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that serves as working, home, cache and temporary directory."""
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path) -> list[str]:
    """Return the names of all files, and the contents of those that are not finished downloads."""
    downloads = folder / "downloads"
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files] + [
        path.read_text("latin-1") for path in files if path.parent != downloads or ".part" in path.name
    ]


def success_payload(server: Server, seen: Seen) -> dict[str, Any]:
    """Return a success response with every secret of its route."""
    url = f"{server.origin}/files/a.mp4?signature={QUERY}"
    target = seen.target.removeprefix("/video/v2")
    if target.endswith("/tokens"):
        return {"result": 0, "token": TOKEN}
    if target.startswith("/dialin"):
        return {
            "_id": "x",
            "app_key": DIALIN_KEY,
            "settings": {"sip": True},
            "sip": {"server_url": "sip://host:1", "username": "u", "password": DIALIN},
            "dialin": [],
        }
    if target.startswith("/archive"):
        item = {
            "_id": "a1",
            "trans_date": "2026-01-01T10:00:00.000Z",
            "conf_num": "c",
            "room_id": ROOM_ID,
            "recording": [{"url": url}],
            "transcoded": [{"url": url}],
            "chatdata": url,
            "metadata": url,
        }
        return {"result": "0", "archive": [item]}
    if target.startswith("/cdr"):
        user = {"name": "Ann", "role": "viewer", "token": TOKEN}
        return {"result": "0", "cdr": [{"trans_date": "2026-01-01T10:00:00.000Z", "call_num": "1", "user": user}]}
    if target.endswith("/users"):
        return {"result": 0, "total": 1, "users": [{"name": "Ann", "token": TOKEN}]}
    if target == "/rooms" and seen.method == "GET":
        return {"result": 0, "rooms": [{"room_id": ROOM_ID, "name": "Stand-up"}]}
    return {"result": 0, "room": {"room_id": ROOM_ID, "name": "Stand-up"}}


def wrong_types(body: Any) -> Any:
    """Return a body with a valid envelope whose other values all have the wrong type."""
    if isinstance(body, dict):
        return {key: value if key in ("result", "room_id") else wrong_types(value) for key, value in body.items()}
    return [wrong_types(value) for value in body] if isinstance(body, list) else {"odd": [body]}


def listed(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body with each value wrapped in a list."""
    return {key: value if key == "result" else [value] for key, value in body.items()}


def echo(status: int) -> Callable[[Link, Seen], bytes]:
    """Return a reply that echoes the request's credentials in its error, as some gateways do."""

    def reply(link: Link, seen: Seen) -> bytes:
        sent = seen.headers.get("authorization", "")
        key = base64.b64decode(sent.removeprefix("Basic ")).decode().partition(":")[2] if sent else ""
        text = f"refused {sent} ({key})"
        return answer(status, {"result": 10009, "error": text, "desc": text, "request_id": key})

    return reply


def good(link: Link, seen: Seen) -> bytes:
    return answer(200, success_payload(link.server, seen))


REPLIES: dict[str, Callable[[Link, Seen], bytes]] = {
    "good": good,
    "created": lambda link, seen: answer(201, success_payload(link.server, seen)),
    "wrong-types": lambda link, seen: answer(200, wrong_types(success_payload(link.server, seen))),
    "listed": lambda link, seen: answer(200, listed(success_payload(link.server, seen))),
    "cut": lambda link, seen: good(link, seen)[:-9],
    "truncated": lambda link, seen: good(link, seen).replace(b"}", b"", 1),
    "twice": lambda link, seen: answer(200, b'{"result":1,' + good(link, seen).partition(b"\r\n\r\n{")[2]),
    "wrong-status": lambda link, seen: answer(400, success_payload(link.server, seen)),
    "no-http": lambda link, seen: f"{seen.headers.get('authorization')} {TOKEN}\r\n\r\n".encode(),
    "long-header": lambda link, seen: answer(200, b"", {"X-Echo": TOKEN * 400}),
    "page": lambda link, seen: answer(502, f"<html>{seen.headers.get('authorization')}</html>".encode()),
    "redirect": lambda link, seen: answer(302, b"", {"Location": f"{link.server.origin}/elsewhere?sig={QUERY}"}),
    "closed": lambda link, seen: b"",
    "chunk": lambda link, seen: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz" + TOKEN.encode() + b"\r\n",
    "gzip": lambda link, seen: answer(200, TOKEN.encode(), {"Content-Encoding": "gzip"}),
    **{f"echo-{status}": echo(status) for status in (200, 400, 401, 403, 404, 409, 429, 500, 503)},
}  # fmt: skip


def calls(client: VideoClient, origin: str) -> list[Callable[[], Coroutine[Any, Any, object]]]:
    """Return every kind of call that a user can make; each returns all objects it yields."""

    async def stream(records: Any) -> list[object]:
        found: list[object] = [records]
        async for record in records:
            found.append(record)
        return [*found, *records.rejected, *(file for record in found[1:] for file in getattr(record, "files", ()))]

    async def download(query: str) -> object:
        file = ArchiveFile(
            kind="recording", url=f"{origin}/files/a.mp4{query}", archive_id="a", room_id=ROOM_ID, conf_num="c",
            trans_date=None,
        )  # fmt: skip
        return [file, await client.archives.download(file, to="downloads/", overwrite=True)]

    async def bulk(run: Coroutine[Any, Any, Any]) -> list[object]:
        report = await run
        return [report, *report.failures, *report.made, *report.unknown]

    token = TokenSpec(room_id=ROOM_ID, name="Ann", role="viewer", user_ref="u")
    return [
        lambda: client.rooms.create(name="Stand-up", owner_ref="team", on_unknown="strict"),
        lambda: client.rooms.get(ROOM_ID),
        lambda: client.rooms.update(ROOM_ID, name="Retro"),
        lambda: client.rooms.delete(ROOM_ID),
        lambda: client.rooms.users(ROOM_ID),
        lambda: client.tokens.create(ROOM_ID, name="Ann", role="viewer", user_ref="u"),
        lambda: client.dialin.get(),
        lambda: stream(client.rooms.list(extra=True)),
        lambda: stream(client.cdr.by_room(ROOM_ID)),
        lambda: stream(client.cdr.by_room(ROOM_ID, extra=True, strict=True)),
        lambda: stream(client.archives.by_room(ROOM_ID)),
        lambda: stream(client.archives.by_room(ROOM_ID, strict=True)),
        lambda: bulk(client.rooms.create_many([RoomSpec(name="Stand-up")], give_up_after=0.2, timeout=0.5)),
        lambda: bulk(client.tokens.create_many([token, token], give_up_after=0.2)),
        lambda: bulk(client.rooms.delete_many([ROOM_ID], give_up_after=0.2)),
        lambda: download(f"?signature={QUERY}"),
        lambda: download(f"?signature={QUERY}&user=a%40b"),
    ]


def inner_objects(client: VideoClient) -> tuple[object, ...]:
    """Return every object of a client, those that hold credentials included."""
    retries, downloader = client._pipeline.retries, client.archives._downloader
    return (
        *(client, client._manager, client._manager.pool, client._manager.accounts, client._accounts, client._timer),
        *(client._pipeline, client._pipeline.account, retries, retries.credentials, retries.reporter, client._creator),
        *(retries.transport, retries.transport._writer, downloader, downloader._source),  # type: ignore[attr-defined]
    )


async def make_all_calls(client: VideoClient, origin: str, recorder: Recorder) -> None:
    recorder.record(*inner_objects(client))
    for call in calls(client, origin):
        # After an HTTP 429, the pause of the account would end this call before it is sent.
        client._pipeline.account.throttle.resume(math.inf)
        try:
            async with asyncio.timeout(10):
                found = await call()
        except Exception as error:
            recorder.fail(error)
        else:
            recorder.record(found)
    # Only now do they hold headers.
    recorder.record(*inner_objects(client))


@pytest.fixture
def _calls_and_attempts(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record what each call and each attempt consist of, before and after they are sent."""
    send_call, send_attempt = Retries.send, Transport.send

    async def call(self: Retries, call: Call, request: Request) -> Outcome:
        recorder.record(call, call.limit)
        try:
            return await send_call(self, call, request)
        finally:
            recorder.record(call)

    async def attempt(self: Transport, request: Request, attempt: Attempt) -> Outcome:
        recorder.record(attempt, attempt.credentials, attempt.permits, request)
        outcome = await send_attempt(self, request, attempt)
        recorder.record(attempt, outcome, outcome.stream)
        return outcome

    monkeypatch.setattr(Retries, "send", call)
    monkeypatch.setattr(Transport, "send", attempt)


async def client_of(recorder: Recorder, **options: Any) -> AsyncIterator[VideoClient]:
    async def watch(request: Request, send: Send) -> Outcome:
        recorder.record(request)
        outcome = await send(request)
        recorder.record(outcome)
        return outcome

    asyncio.get_running_loop().set_debug(True)
    async with Skipped().manager() as manager:
        yield VideoClient(
            session=manager,
            retry=RetryPolicy(attempts=2, base=0),
            timeout=2,
            attempt_timeout=1,
            middleware=[watch],
            listeners=[recorder.record],
            **options,
        )


@pytest.mark.usefixtures("_calls_and_attempts")
@pytest.mark.parametrize("name", REPLIES)
async def test_secrets_do_not_leak_for_any_response(name: str, recorder: Recorder, folder: Path) -> None:
    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            if seen.target.startswith("/files/") and name in ("good", "created"):
                link.answer(200, b"bytes of a recording")
                continue
            link.send(REPLIES[name](link, seen))
            await link.drain()
            if name in ("cut", "truncated", "no-http", "closed", "chunk"):
                return

    async with serve(script) as server:
        async for client in client_of(
            recorder, app_id="id", app_key=APP_KEY, base_url=server.base_url, recording_auth=("recorder", PASSWORD)
        ):
            await make_all_calls(client, server.origin, recorder)
        assert len(server.requests) >= 15
    assert len(recorder.errors) >= (0 if name in ("good", "created") else 3)
    recorder.assert_not_leaked(encodings(CANARIES, LOGINS))
    recorder.texts += written(folder)
    recorder.assert_not_leaked(encodings(CANARIES, LOGINS))


@pytest.mark.usefixtures("_calls_and_attempts")
@pytest.mark.parametrize("kind", [None, *KINDS])
async def test_secrets_do_not_leak_under_any_sandbox_fault(kind: str | None, recorder: Recorder, folder: Path) -> None:
    issued: list[str] = []

    def keep(request: Request, outcome: Outcome) -> None:
        if request.route.name == "tokens.create" and isinstance(outcome.value, str):
            issued.append(outcome.value)

    async with Sandbox(app_id="id", app_key=APP_KEY, recording_password=PASSWORD, seed=1, calls=40) as sandbox:
        if kind is not None:
            sandbox.fault("*", kind, times=None, seconds=0.01)
        async for client in client_of(
            recorder,
            app_id=sandbox.app_id,
            app_key=APP_KEY,
            base_url=sandbox.base_url,
            recording_auth=sandbox.recording_auth,
        ):
            if kind == "hang":
                client = client.with_options(attempt_timeout=0.05, timeout=0.1)
            await make_all_calls(client, sandbox.base_url.removesuffix("/video/v2"), recorder)
            sandbox.clear_faults()
            if kind is None:
                room = await client.rooms.create(name="Stand-up")
                token = await client.tokens.create(room.room_id, name="Ann", role="moderator", user_ref="u")
                issued.append(token.value)
                recorder.record(token, [token], {"token": token}, await client.dialin.get())
        recorder.record(sandbox, sandbox.ledger.entries)
    secrets = (APP_KEY, PASSWORD, *issued)
    logins = (f"id:{APP_KEY}", ":".join(sandbox.recording_auth))
    recorder.texts += written(folder)
    recorder.assert_not_leaked(encodings(secrets, logins))


def test_recorder_detects_leaked_secrets(recorder: Recorder) -> None:
    recorder.fail(VideoAPIError(f"Basic {base64.b64encode(LOGINS[0].encode()).decode()}"))
    with pytest.raises(AssertionError):
        recorder.assert_not_leaked(encodings(CANARIES, LOGINS))
    recorder.texts.clear()
    logging.getLogger("videoapi").debug("%s", PASSWORD)
    with pytest.raises(AssertionError):
        recorder.assert_not_leaked(encodings(CANARIES, LOGINS))
