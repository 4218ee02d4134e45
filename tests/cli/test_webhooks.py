"""`videoapi sandbox trigger` and `--webhook-url`."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from click.testing import CliRunner, Result

from videoapi.cli.app import videoapi
from videoapi.sandbox import Sandbox
from videoapi.sandbox.notifications import TYPES
from videoapi.webhooks import RecordingReady, WebhookEvent, Webhooks

AUTH = ("service", "canary-password")


class Redirecting(BaseHTTPRequestHandler):
    """A mount of Starlette, without its final slash."""

    def do_POST(self) -> None:
        self.send_response(307)
        self.send_header("Location", f"{self.path}/")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Receiver:
    """A receiver on a loop in its own thread."""

    def __init__(self) -> None:
        self.events: list[WebhookEvent] = []
        self.url = ""
        self._ready = threading.Event()
        self.stop: Callable[[], object] = lambda: None

    def run(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        hooks, stop = Webhooks(AUTH), asyncio.Event()
        loop = asyncio.get_running_loop()
        hooks.on(WebhookEvent)(self.events.append)
        async with hooks.serve() as self.url:
            self.stop = lambda: loop.call_soon_threadsafe(stop.set)
            self._ready.set()
            await stop.wait()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("VIDEOAPI_WEBHOOK_USER", AUTH[0])
    monkeypatch.setenv("VIDEOAPI_WEBHOOK_PASSWORD", AUTH[1])
    found = Receiver()
    thread = threading.Thread(target=found.run)
    thread.start()
    assert found._ready.wait(30)
    yield found
    found.stop()
    thread.join(30)


def trigger(*arguments: str) -> Result:
    return CliRunner().invoke(videoapi, ["sandbox", "trigger", *arguments])


@pytest.mark.parametrize("kind", list(TYPES))
def test_each_kind_is_posted_and_the_answer_printed(receiver: Receiver, kind: str) -> None:
    result = trigger(kind, "--room", "r-1", "--url", f"{receiver.url}?key=canary")
    assert result.exit_code == 0, result.output
    assert f"{TYPES[kind]} of room r-1" in result.output
    assert "HTTP 200" in result.output
    assert "canary" not in result.output


def test_session_and_files_can_be_given(receiver: Receiver) -> None:
    result = trigger(
        *("recording-ready", "--room", "r", "--conference", "c", "--file", "http://h/1", "--file", "http://h/2"),
        *("--url", receiver.url, "--json"),
    )
    assert result.exit_code == 0, result.output
    shown = json.loads(result.output)
    assert (shown["type"], shown["room_id"], shown["conf_num"], shown["status"]) == ("recording", "r", "c", 200)
    deadline = threading.Event()
    while not receiver.events and not deadline.wait(0.01):
        pass
    (event,) = receiver.events
    assert isinstance(event, RecordingReady)
    assert event.recording == ("http://h/1", "http://h/2")


def test_same_event_is_posted_again_and_handled_once(receiver: Receiver) -> None:
    result = trigger("session-ended", "--room", "r", "--conference", "c", "--repeat", "3", "--url", receiver.url)
    assert result.exit_code == 0, result.output
    assert result.output.count("HTTP 200") == 3
    other = trigger("session-ended", "--room", "r", "--conference", "d", "--url", receiver.url)
    assert other.exit_code == 0
    deadline = threading.Event()
    while len(receiver.events) < 2 and not deadline.wait(0.01):
        pass
    assert sorted(str(event.conf_num) for event in receiver.events) == ["c", "d"]


def test_repetition_ends_at_the_first_delivery_that_fails(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOAPI_WEBHOOK_PASSWORD", "wrong")
    result = trigger("session-ended", "--room", "r", "--repeat", "3", "--url", receiver.url)
    assert (result.exit_code, result.output.count("HTTP 401")) == (1, 1)


@pytest.mark.parametrize(("path", "hinted"), [("/hooks", True), ("/hooks/", False)])
def test_redirect_to_the_final_slash_is_explained(path: str, hinted: bool) -> None:
    with HTTPServer(("127.0.0.1", 0), Redirecting) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}{path}"
        result = trigger("session-ended", "--room", "r", "--url", url)
        thread.join(30)
    assert result.exit_code == 1
    assert "HTTP 307" in result.output
    assert ("add the final slash to the URL" in result.output) is hinted


def test_exit_codes(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOAPI_WEBHOOK_PASSWORD", "wrong")
    refused = trigger("session-ended", "--room", "r", "--url", receiver.url)
    assert (refused.exit_code, "HTTP 401" in refused.output) == (1, True)
    for url, reason in (("http://127.0.0.1:9/", "refused"), ("http://a..b/", "not a valid name")):
        unreachable = trigger("session-ended", "--room", "r", "--url", url)
        assert (unreachable.exit_code, reason in unreachable.output) == (5, True)
    monkeypatch.delenv("VIDEOAPI_WEBHOOK_PASSWORD")
    for arguments in (
        ("session-ended", "--room", "r", "--url", receiver.url),
        ("session-ended", "--room", "r"),
        ("roomdrop", "--room", "r", "--url", receiver.url),
        ("session-ended", "--url", receiver.url),
    ):
        assert trigger(*arguments).exit_code == 2, arguments
    monkeypatch.delenv("VIDEOAPI_WEBHOOK_USER")
    assert trigger("session-ended", "--room", "r", "--url", "ftp://x").exit_code == 2
    assert trigger("session-ended", "--room", "r", "--url", receiver.url, "--switch", "webhook_time=x").exit_code == 2


def test_sandbox_posts_to_the_url_with_the_credentials_of_the_environment(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(sandbox: Sandbox) -> int:
        async with sandbox:
            sandbox.notify("session-ended", "r")
            async with asyncio.timeout(20):
                while sandbox.undelivered:
                    await asyncio.sleep(0.01)
        return 0 if sandbox.deliveries[0].accepted else 1

    monkeypatch.setattr("videoapi.cli.sandbox._serve", serve)
    result = CliRunner().invoke(videoapi, ["sandbox", "--port", "0", "--webhook-url", receiver.url])
    assert result.exit_code == 0, result.output
    wrong = CliRunner().invoke(videoapi, ["sandbox", "--webhook-url", "http://u:canary@h/"])
    assert (wrong.exit_code, "canary" in wrong.output) == (2, False)
