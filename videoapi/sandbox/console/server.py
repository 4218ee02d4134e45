"""The console's endpoints, and the recording of all other requests."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web
from aiohttp.web_request import BaseRequest

from videoapi.sandbox.announcer import Announcer
from videoapi.sandbox.console.access import Access, Denial
from videoapi.sandbox.console.actions import Actions
from videoapi.sandbox.console.feed import Feed, event
from videoapi.sandbox.console.masking import Masking
from videoapi.sandbox.console.request_log import RequestLog
from videoapi.sandbox.console.sandbox_actions import SandboxActions
from videoapi.sandbox.console.views import Views
from videoapi.sandbox.console.webhook_action import webhook_action
from videoapi.sandbox.control import PREFIX as CONTROL
from videoapi.sandbox.faults import Faults
from videoapi.sandbox.handler import FAULT
from videoapi.sandbox.responses import JSON, dump
from videoapi.sandbox.routing import match
from videoapi.sandbox.store import Store
from videoapi.sandbox.traffic import TrafficRecorder
from videoapi.sandbox.webhook_sender import WebhookSender

if TYPE_CHECKING:
    from videoapi.sandbox.server import Sandbox

log: logging.Logger = logging.getLogger("videoapi.sandbox")

_PREFIX = "/console/"
_ACTIONS = "actions/"
_LARGEST = 64 * 1024
_STATIC = {
    "index.html": "text/html; charset=utf-8",
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "forms.js": "text/javascript; charset=utf-8",
    "traffic.js": "text/javascript; charset=utf-8",
    "tables.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

RequestHandler = Callable[[BaseRequest], Awaitable[web.StreamResponse]]


class Console:
    """The console of one sandbox: serves its own paths, records and passes on all others.

    Args:
        sandbox: The sandbox, for what actions do.
        handle: The handler of all other requests.
        origin: Returns the sandbox's scheme, host and port.
        store: The rooms, tokens, sessions, records and ledger.
        faults: The active faults.
        webhooks: The attempts to deliver notifications.
        announcer: Sends a notification on demand.
        masking: Masks the secrets of the sandbox.
        refusing: Returns whether new connections are refused.
        traffic: Counts what arrives.
        clock: Returns the service's time, an aware datetime.
        commit: Writes what an action has changed to the state file.
    """

    def __init__(
        self,
        sandbox: "Sandbox",
        *,
        handle: RequestHandler,
        origin: Callable[[], str],
        store: Store,
        faults: Faults,
        webhooks: WebhookSender,
        announcer: Announcer,
        masking: Masking,
        refusing: Callable[[], bool],
        traffic: TrafficRecorder,
        clock: Callable[[], datetime],
        commit: Callable[[], None],
    ) -> None:
        webhook = webhook_action(store, webhooks, announcer)
        self.actions: Actions = Actions(SandboxActions(sandbox, store, faults, webhook).all())
        self._sandbox = sandbox
        self._handle = handle
        self._origin = origin
        self._commit = commit
        self._requests = RequestLog(clock, self.touch)
        self._masking = masking
        views = Views(store, faults, webhooks, self._requests, masking, refusing, sandbox.traffic, traffic.recent)
        self._shown = views.request
        self._feed = Feed(self._requests, shown=views.request, state=views.state)
        self._writing: set[asyncio.Transport] = set()
        static = files("videoapi.sandbox.console").joinpath("static")
        self._static = {name: static.joinpath(name).read_bytes() for name in _STATIC}

    def touch(self) -> None:
        """Send viewers what has changed. Call it on the sandbox's loop."""
        self._feed.touch()

    def clear(self) -> None:
        """Forget all requests."""
        self._requests.clear()

    def close(self) -> None:
        """End the streams of all viewers."""
        self._feed.close()
        # A viewer that does not read would otherwise hold up the end of its stream.
        for transport in self._writing:
            transport.abort()

    async def handle(self, request: BaseRequest) -> web.StreamResponse:
        """Serve a page of the console, or have the request handled and record it."""
        path = request.rel_url.raw_path
        if path == "/":
            return await self._serve(request, "index.html")
        if path.startswith(_PREFIX):
            return await self._serve(request, path.removeprefix(_PREFIX))
        if path.startswith(CONTROL):
            return await self._handle(request)
        entry = self._requests.begin(request.method, path, match(request.method, path).route)
        try:
            response = await self._handle(request)
        except BaseException:
            self._requests.end(entry, None, request.get(FAULT))
            raise
        self._requests.end(entry, response, request.get(FAULT))
        return response

    async def _serve(self, request: BaseRequest, name: str) -> web.StreamResponse:
        acting = name.startswith(_ACTIONS)
        allowed = ("POST",) if acting else ("GET", "HEAD")
        if not acting and name not in _STATIC and name != "events":
            return _denied(Denial(404, "The console has no such page"))
        if request.method not in allowed:
            response = _denied(Denial(405, f"Use {' or '.join(allowed)}"))
            response.headers["Allow"] = ", ".join(allowed)
            return response
        access = Access(self._origin(), self._sandbox.app_id, self._sandbox.app_key)
        denial = access.act(request.headers) if acting else access.look(request.headers, page=name == "index.html")
        if denial is not None:
            return _denied(denial)
        if acting:
            return await self._act(request, name.removeprefix(_ACTIONS))
        if name == "events":
            return await self._stream(request)
        return _response(200, self._static[name], _STATIC[name])

    async def _act(self, request: BaseRequest, name: str) -> web.Response:
        body = b""
        try:
            while len(body) <= _LARGEST and (more := await request.content.read(_LARGEST)):
                body += more
        except (web.RequestPayloadError, ConnectionError):
            # It is not what its headers say, or the client has gone.
            response = _denied(Denial(400, "The body of the action is incomplete or cannot be decoded"))
            response.force_close()
            return response
        if len(body) > _LARGEST:
            response = _denied(Denial(413, f"An action has at most {_LARGEST} bytes"))
            response.force_close()
            return response
        try:
            given = msgspec.json.decode(body or b"{}", type=dict[str, object])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _denied(Denial(400, "The action is not a JSON object"))
        try:
            message = await self.actions.run(name, given)
        except LookupError:
            return _denied(Denial(404, self._masking.message(f"The sandbox offers no action {name!r}")))
        except ValueError as error:
            return _denied(Denial(400, self._masking.message(str(error))))
        except Exception:
            log.exception("the action %s of the console failed", name)
            return _denied(Denial(500, "The action failed; the sandbox has logged why"))
        finally:
            self._commit()
            self.touch()
        return _response(200, dump({"message": self._masking.message(message)}), JSON)

    async def _stream(self, request: BaseRequest) -> web.StreamResponse:
        if request.method != "GET":
            return _response(200, b"", "text/event-stream")
        viewer = self._feed.open(lambda: _connected(request))
        if viewer is None:
            return _denied(Denial(503, "Too many pages of the console are open"))
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
        response.force_close()
        try:
            await response.prepare(request)
            await self._write(request, response, self._hello())
            while not viewer.closed:
                await self._write(request, response, await viewer.next())
        except ConnectionError:
            # The page was closed.
            pass
        finally:
            self._feed.leave(viewer)
        return response

    async def _write(self, request: BaseRequest, response: web.StreamResponse, events: bytes) -> None:
        transport = request.transport
        if transport is None or not _connected(request):
            raise ConnectionResetError
        self._writing.add(transport)
        try:
            await response.write(events)
        finally:
            self._writing.discard(transport)

    def _hello(self) -> bytes:
        hello = {
            "base_url": self._sandbox.base_url,
            "app_id": self._sandbox.app_id,
            "actions": self.actions.described(),
            "requests": [*map(self._shown, self._requests.requests)],
        }
        return b"retry: 1000\n" + event("hello", dump(hello))


def _connected(request: BaseRequest) -> bool:
    return request.transport is not None and not request.transport.is_closing()


def _denied(denial: Denial) -> web.Response:
    return _response(denial.status, dump({"error": denial.text}), JSON)


def _response(status: int, body: bytes, content_type: str) -> web.Response:
    return web.Response(status=status, body=body, headers={**_HEADERS, "Content-Type": content_type})
