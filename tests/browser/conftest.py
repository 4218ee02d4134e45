"""The console in the system's Chromium, driven by playwright, which downloads nothing."""

import asyncio
import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.browser import browser  # noqa: F401

from videoapi.sandbox import Sandbox

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (group integrations)")


@attrs.define
class Browsed:
    """An open page, its sandbox, and what must not happen in it."""

    page: Any
    sandbox: Sandbox
    errors: list[str] = attrs.field(factory=list)
    urls: list[str] = attrs.field(factory=list)

    def row(self, table: str, text: str) -> Any:
        return self.page.locator(f"table[data-table={table}] tbody tr", has_text=text).first

    def allow(self, credentials: bool = True) -> None:
        """Fill the dialog that asks for the credentials."""
        self.page.get_by_label("APP_KEY").fill(self.sandbox.app_key if credentials else "wrong")
        self.page.keyboard.press("Enter")


@attrs.define
class Hooks:
    """A receiver of webhooks: what it answers, and the bodies and credentials that it was sent."""

    url: str
    status: int = 200
    received: list[tuple[dict[str, Any], str | None]] = attrs.field(factory=list)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(console=True, seed=1, calls=250).in_thread() as running:
        yield running


@pytest.fixture
def browse(browser: Any, sandbox: Sandbox) -> Iterator[Callable[..., Browsed]]:  # noqa: F811
    """A function that opens the console. At the end, no page had an error or a request to anywhere else."""
    opened: list[Browsed] = []

    def open_page(width: int = 1280, height: int = 900, scheme: str = "light", **options: Any) -> Browsed:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **options)
        page = context.new_page()
        browsed = Browsed(page, sandbox)
        opened.append(browsed)
        page.on("console", lambda message: browsed.errors.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: browsed.errors.append(str(error)))
        page.on("request", lambda request: browsed.urls.append(request.url))
        page.goto(sandbox.console_url)
        playwright.expect(page.locator("#connection")).to_have_text("Live")
        return browsed

    yield open_page
    for browsed in opened:
        browsed.page.context.close()
        assert browsed.errors == []
        assert browsed.urls
        assert [url for url in browsed.urls if not url.startswith(sandbox.console_url)] == []


def on_a_loop(work: Callable[[], Any]) -> None:
    """Run a coroutine function on another thread: playwright has a loop on this one."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    """A receiver of webhooks on this machine."""
    found: list[Hooks] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found[0].received.append((body, self.headers.get("Authorization")))
            self.send_response(found[0].status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        found.append(Hooks(f"http://127.0.0.1:{server.server_port}/hooks"))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found[0]
        server.shutdown()
        thread.join()


@pytest.fixture
def other_page() -> Iterator[str]:
    """A page of another server on this machine."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<p>another page")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where screenshots are written: `VIDEOAPI_SCREENSHOTS`, or below `--basetemp`."""
    folder = Path(os.environ.get("VIDEOAPI_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
