"""Request handling: passes each request to the service and applies the fault that it meets."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from aiohttp import web
from aiohttp.web_request import BaseRequest

from videoapi.sandbox import control, faults, openapi, wire
from videoapi.sandbox.app import Service
from videoapi.sandbox.control import ControlRoutes
from videoapi.sandbox.faults import Fault, Faults
from videoapi.sandbox.files import Files
from videoapi.sandbox.ledger import Ledger
from videoapi.sandbox.listener import SocketListener
from videoapi.sandbox.persistence import State
from videoapi.sandbox.responses import HttpResponse, Refusal, contradicted, refuse
from videoapi.sandbox.routing import RouteMatch, match
from videoapi.sandbox.stalls import StallMeter
from videoapi.sandbox.switches import Switches
from videoapi.sandbox.traffic import TrafficRecorder

log: logging.Logger = logging.getLogger("videoapi.sandbox")

FAULT = web.RequestKey("fault", Fault)
"""Where a request keeps the fault that it met."""

_HALF = 0.5
_LATE = 1.0
# How often a hanging request checks whether its client has disconnected, in seconds.
_LOOK = 0.2


class SandboxHandler:
    """The server's request handler, which applies faults.

    Args:
        service: The handler of API requests.
        files: The handler of downloads.
        scripted: The active faults.
        ledger: Records each request.
        listener: Closed for a while by the fault `refuse`.
        switches: The switches, read when the service itself fails.
        state: Changes are committed to it before the response is sent.
        traffic: Counts each request while it is handled.
        stalls: Measures how late they are handled.
        control: The handler of requests to the sandbox itself.
        connections: Returns how many connections are open.
    """

    def __init__(
        self,
        *,
        service: Service,
        files: Files,
        scripted: Faults,
        ledger: Ledger,
        listener: SocketListener,
        switches: Switches,
        state: State,
        traffic: TrafficRecorder,
        stalls: StallMeter,
        control: ControlRoutes,
        connections: Callable[[], int],
    ) -> None:
        self._service = service
        self._files = files
        self._faults = scripted
        self._ledger = ledger
        self._listener = listener
        self._switches = switches
        self._closing: asyncio.Event | None = None
        self._state = state
        self._traffic = traffic
        self._stalls = stalls
        self._control = control
        self._connections = connections
        self._numbers: dict[int, int] = {}
        self._late: set[asyncio.TimerHandle] = set()

    @property
    def late(self) -> int:
        """How many executions delayed by `late` or `late_status` are still pending."""
        return len(self._late)

    def open(self) -> None:
        """Start handling requests. Call it on the loop that serves."""
        self._closing = asyncio.Event()

    def connected(self, protocol: asyncio.Protocol) -> None:
        """Assign a new connection its number in the ledger."""
        # Keyed by id(): it is reused only after this connection is gone.
        self._numbers[id(protocol)] = self._ledger.connected()

    def close(self) -> None:
        """Release waiting requests and drop pending late executions."""
        if self._closing is not None:
            self._closing.set()
        self._stalls.close()
        self.drop_late()

    def drop_late(self) -> None:
        """Drop pending late executions."""
        for timer in self._late:
            timer.cancel()
        self._late.clear()

    async def handle(self, request: BaseRequest) -> web.StreamResponse:
        """Handle one request."""
        path = request.rel_url.raw_path
        if openapi.is_request_for_document(request.method, path):
            origin = "" if self._listener.is_on_every_address else self._listener.origin
            return await self._send(request, openapi.document_response(origin))
        if path.startswith(control.PREFIX):
            return await self._send(request, self._control.answer(request.method, path, request.headers))
        call = match(request.method, path)
        self._ledger.saw(call.route)
        self._stalls.watch()
        begun = self._traffic.begin(call.route)
        throttled = False
        try:
            if self._connections() > 1:
                # The others of this moment are counted first: they are handled one by one, but arrived together.
                await asyncio.sleep(0)
            response = await self._handle(request, call)
            throttled = response.status == 429
            return response
        finally:
            self._traffic.end(call.route, begun, throttled=throttled)

    async def _handle(self, request: BaseRequest, call: RouteMatch) -> web.StreamResponse:
        try:
            body = await request.content.read() if request.can_read_body else b""
        except (web.RequestPayloadError, ConnectionError):
            # It is not what its headers say, or the client has gone.
            return await wire.send(request, refuse(self._switches, Refusal(10009, status=400)), close=True)
        connection = self._numbers.get(id(request.protocol))

        def arrive() -> HttpResponse | None:
            # The files are on another host, which has no limit.
            return None if call.route == "files.get" else self._service.limited(request.headers.get("Authorization"))

        def execute(limited: HttpResponse | None) -> HttpResponse:
            self._ledger.serving(connection)
            return self._execute(request, call, body, limited)

        fault = self._faults.met_by(call.route)
        if fault is None:
            return await self._send(request, execute(arrive()))
        return await self._meet(fault, request, arrive, execute)

    async def _meet(
        self,
        fault: Fault,
        request: BaseRequest,
        arrive: Callable[[], HttpResponse | None],
        execute: Callable[[HttpResponse | None], HttpResponse],
    ) -> web.StreamResponse:
        kind = fault.kind
        request[FAULT] = fault
        if kind == "hang":
            await self._hang(request)
            return wire.close(request)
        if kind == "drop_before":
            return wire.close(request)
        if kind == "reset_before":
            return wire.reset(request)
        replacement = faults.fault_response(fault)
        if replacement is not None and kind not in ("status_after", "late_status"):
            return await self._send(request, replacement)
        # The rate limit counts a request when it arrives, however late it is executed.
        limited = arrive()
        if kind in ("late", "late_status"):
            if limited is not None and not self._switches.limited_executes:
                return await self._send(request, limited)
            self._execute_in(_LATE if fault.seconds is None else fault.seconds, lambda: execute(limited))
            return wire.close(request) if replacement is None else await self._send(request, replacement)
        if kind == "delay":
            await self._wait(fault.seconds or 1.0)
        elif kind == "refuse":
            self._listener.refuse(fault.seconds or 1.0)
        return await self._send_after(fault, request, execute(limited), replacement)

    async def _send_after(
        self, fault: Fault, request: BaseRequest, answer: HttpResponse, replacement: HttpResponse | None
    ) -> web.StreamResponse:
        kind = fault.kind
        if kind == "drop_after":
            return wire.close(request)
        if kind == "reset_after":
            return wire.reset(request)
        if kind == "stray":
            return await wire.send_with_stray(request, answer, faults.stray_response(fault), fault.seconds or 0)
        at = _HALF if fault.at is None else fault.at
        if kind == "cut":
            return await wire.send_part(request, answer, at)
        if kind == "truncated":
            answer = wire.truncated(answer, at)
        elif kind == "result_after":
            answer = contradicted(answer, fault.code or 50002)
        return await self._send(request, replacement or answer)

    def _execute_in(self, seconds: float, execute: Callable[[], object]) -> None:
        def now() -> None:
            self._late.discard(timer)
            execute()

        timer = asyncio.get_running_loop().call_later(seconds, now)
        self._late.add(timer)

    def _execute(
        self, request: BaseRequest, call: RouteMatch, body: bytes, limited: HttpResponse | None
    ) -> HttpResponse:
        try:
            if call.route == "files.get":
                answer = self._files.answer(request.rel_url.raw_path, request.headers)
                if answer.status < 300:
                    self._ledger.executed("files.get")
                return answer
            answer = self._service.answer(call, request.headers.get("Authorization"), body, limited)
            self._state.commit()
            return answer
        except Exception:
            log.exception("the sandbox failed on %s", call.route)
            return refuse(self._switches, Refusal(50000))

    async def _send(self, request: BaseRequest, answer: HttpResponse) -> web.StreamResponse:
        return await wire.send(request, answer, close=self._listener.refusing)

    async def _wait(self, seconds: float) -> None:
        if self._closing is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), seconds)

    async def _hang(self, request: BaseRequest) -> None:
        while self._closing is not None and not self._closing.is_set():
            if request.transport is None or request.transport.is_closing():
                return
            await self._wait(_LOOK)
