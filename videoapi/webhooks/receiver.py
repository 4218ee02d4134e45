"""The receiver of webhooks: credentials, acceptance and handlers of one endpoint."""

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from videoapi.config import must_be_callable, positive_seconds
from videoapi.errors import ConfigurationError, ValidationError
from videoapi.webhooks import delivery
from videoapi.webhooks.asgi import ASGIApp, WebhookApp
from videoapi.webhooks.basic_auth import PASSWORD, USER, login_from
from videoapi.webhooks.errors import (
    DeliveryRejected,
    EventNotHandled,
    EventTooLarge,
    InvalidCredentials,
    ReceiverBusy,
)
from videoapi.webhooks.event_queue import EventQueue
from videoapi.webhooks.events import WebhookEvent
from videoapi.webhooks.handling import HandlerRunner, OnError, described
from videoapi.webhooks.parsing import read_event
from videoapi.webhooks.stats import DeliveryCounts, WebhookStats
from videoapi.webhooks.store import DedupeStore, MemoryStore

if TYPE_CHECKING:
    from videoapi.webhooks.aiohttp_server import AioHandler
else:
    # For `typing.get_type_hints`: aiohttp is imported only when it is used.
    AioHandler = Any

log: logging.Logger = logging.getLogger("videoapi.webhooks")

_H = TypeVar("_H", bound=Callable[[Any], object])

ACCEPT_WITHIN: Final = 3.0
"""Seconds that a store may take before the answer is 503: the service waits 5 s for an answer."""
NOTE_WITHIN: Final = 60.0
"""Seconds that a store may take to note that an event was handled."""
REPORT_WITHIN: Final = 5.0
"""Seconds for reporting the events that were not handled when the receiver closed."""


class Webhooks:
    """A receiver of the service's events, which passes them to your handlers.

        hooks = Webhooks(auth=("user", "password"))

        @hooks.on(SessionEnded)
        async def fetch_records(event): ...

    The response to a delivery is 200 as soon as its event is in the queue. Handlers run afterwards, for several events
    at a time and in any order. A handler that raises is called again; after the last try, its error is reported. An
    async handler runs on the event loop, a synchronous one in a thread. A receiver belongs to the event loop on which
    it is first used.

    Args:
        auth: The user and password that the sender must know; by default VIDEOAPI_WEBHOOK_USER and
            VIDEOAPI_WEBHOOK_PASSWORD. Without either, anyone who knows the URL can post events, and the receiver
            logs a WARNING.
        max_body: The largest body to accept, in bytes.
        dedupe: Seconds for which an equal delivery counts as a repetition after its event was handled; 0 for only until
            it was handled.
        store: The store of accepted events; in memory by default. One of your own can survive a crash.
        queue_size: Maximum number of events that wait for a handler. When the queue is full, the response is 503.
        concurrency: Maximum number of events that are handled at once.
        tries: Maximum number of calls of a handler for one event, if it raises.
        retry_wait: Seconds until a handler that raised is called again; the wait doubles.
        handler_timeout: Limit for one call of a handler, or of `on_error`, in seconds; None for no limit. A synchronous
            handler that takes longer is reported, and continues to run.
        drain_timeout: Seconds for which `aclose` waits for accepted events.
        on_error: Called with an event and an error when the last try of a handler failed, and when `aclose` ends
            before an event was handled; by default the error is logged.

    Raises:
        ConfigurationError: If an argument or a variable is invalid.
    """

    def __init__(
        self,
        auth: tuple[str, str] | None = None,
        *,
        max_body: int = 256 * 1024,
        dedupe: float = 3600,
        store: DedupeStore | None = None,
        queue_size: int = 1000,
        concurrency: int = 10,
        tries: int = 3,
        retry_wait: float = 1,
        handler_timeout: float | None = 600,
        drain_timeout: float = 30,
        on_error: OnError | None = None,
    ) -> None:
        login = login_from(auth)
        # Error reporters store the variables of the frames of an error.
        del auth
        if isinstance(login, ConfigurationError):
            raise login
        self._login = login
        self.max_body: int = _count("max_body", max_body)
        self._dedupe = _seconds("dedupe", dedupe)
        self._store: DedupeStore = MemoryStore() if store is None else _checked_store(store)
        self._size = _count("queue_size", queue_size)
        self._concurrency = _count("concurrency", concurrency)
        self._drain_timeout = _seconds("drain_timeout", drain_timeout)
        if on_error is not None:
            must_be_callable("on_error", on_error)
        self._runner = HandlerRunner(
            tries=_count("tries", tries),
            retry_wait=_seconds("retry_wait", retry_wait),
            timeout=positive_seconds("handler_timeout", handler_timeout),
            on_error=on_error,
        )
        self._rejections = delivery.RejectionLog()
        self._counts = DeliveryCounts()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._events = self._new_queue()
        self._accepting: set[asyncio.Task[bool]] = set()
        # The digests of events whose handlers have ended, and which the store has not recorded as handled yet.
        self._noting: set[str] = set()
        self._closed = False
        if self._login is None:
            log.warning(
                "Webhooks without credentials: ANYONE who knows the URL can post events. Set auth=(user, password), "
                "or %s and %s, here and in the portal.",
                *(USER, PASSWORD),
            )

    @property
    def waiting(self) -> int:
        """The number of accepted events that wait for a handler."""
        return self._events.waiting

    @property
    def running(self) -> int:
        """The number of events that are being handled."""
        return self._events.running

    def stats(self) -> WebhookStats:
        """Return what the receiver has done so far: accepted, repeated, rejected (by reason), handled, failed.

        Callable from any thread.
        """
        return self._counts.stats(waiting=self.waiting, running=self.running)

    def on(self, *types: type[WebhookEvent]) -> Callable[[_H], _H]:
        """Register the decorated function for events of one or more types; `WebhookEvent` for all.

        Args:
            types: Event classes.

        Raises:
            ConfigurationError: If the types are missing, one is not an event class, or the function is not callable or
                is a generator.
        """
        if not types:
            raise ConfigurationError("on(): name the types of the events, such as SessionEnded; WebhookEvent for all.")
        for one in types:
            if not (isinstance(one, type) and issubclass(one, WebhookEvent)):
                shown = getattr(one, "__name__", None) or type(one).__name__
                raise ConfigurationError(f"on(): {shown} is not a class of events, such as SessionEnded.")

        def register(handler: _H) -> _H:
            must_be_callable("on()", handler)
            if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
                raise ConfigurationError("on(): a generator would never run. Remove the `yield` from the handler.")
            self._runner.register(types, handler)
            return handler

        return register

    def authenticate(self, authorization: str | bytes | None) -> None:
        """Check the value of an `Authorization` header; any value passes if no credentials are set.

        Args:
            authorization: The value, or None without the header.

        Raises:
            InvalidCredentials: If it is missing, or its user or password is wrong.
        """
        refusal = self._refusal(authorization)
        # Error reporters store the variables of the frames of an error.
        del authorization
        if refusal is not None:
            self._counts.rejected(refusal)
            raise refusal

    def parse(self, body: bytes | str, authorization: str | bytes | None = None) -> WebhookEvent:
        """Check the credentials of a delivery and parse its body.

        The event is not queued, nor compared with earlier ones.



        Args:
            body: The body, whatever its content type.
            authorization: The value of the `Authorization` header, or None without one.

        Returns:
            An event of the class that belongs to its type.

        Raises:
            InvalidCredentials: If the credentials are missing or wrong.
            EventTooLarge: If the body is larger than `max_body`.
            InvalidEvent: If the body is not an event.
        """
        found = self._refusal(authorization) or self._oversize(body) or read_event(body)
        # Error reporters store the variables of the frames of an error.
        del authorization, body
        if isinstance(found, DeliveryRejected):
            self._counts.rejected(found)
            raise found
        return found

    async def submit(self, event: WebhookEvent) -> bool:
        """Accept an event: put it into the store and the queue, so that its handlers run.

        Args:
            event: The event, for example from `parse_event`.

        Returns:
            False if the event is a repetition of one that was accepted before.

        Raises:
            ReceiverBusy: If the queue is full, the receiver is closing, or the store failed or was too slow.
            ValidationError: If it is not an event; use `parse_event` for text.
            ConfigurationError: If the receiver belongs to another event loop.
        """
        _must_be_event(event)
        self._use_loop()
        try:
            return await self._submit(event)
        except ReceiverBusy as error:
            self._counts.rejected(error)
            raise

    async def _submit(self, event: WebhookEvent) -> bool:
        if self._closed:
            raise delivery.busy("the receiver is closing")
        if not self._runner.handles(event):
            self._counts.add("ignored")
            log.debug("No handler: %s", described(event))
            return True
        if self._events.is_full():
            raise delivery.busy(f"the queue is full: {self._size:,} events wait (queue_size)")
        await self._events.reserve()
        # A task of its own, because a server may cancel a request whose sender is gone: an event that is in the store
        # must also reach the queue.
        task = asyncio.create_task(self._accept(event))
        self._accepting.add(task)
        task.add_done_callback(self._accepted)
        await asyncio.wait({task}, timeout=ACCEPT_WITHIN)
        if not task.done():
            raise delivery.busy(f"the store took longer than {ACCEPT_WITHIN:g} s")
        if task.cancelled():
            raise delivery.busy("the receiver is closing")
        return task.result()

    async def resume(self, events: Iterable[WebhookEvent]) -> int:
        """Queue events that an earlier process accepted and did not handle.

        Up to as many as a killed process can have had are queued at once. The others wait until the queue is half
        empty, so that it has space for deliveries.

        Args:
            events: The events that your store has accepted and that are not done yet.

        Returns:
            The number of queued events; fewer than you passed if the receiver closes first.

        Raises:
            ValidationError: If an item is not an event; use `parse_event` for text. The events before it are queued.
            ConfigurationError: If the receiver belongs to another event loop.
        """
        self._use_loop()
        count = 0
        for event in events:
            _must_be_event(event)
            at_once = count < self._size + self._concurrency
            await (self._events.reserve() if at_once else self._events.reserve_spare())
            if self._closed:
                self._events.release()
                break
            if isinstance(self._store, MemoryStore):
                self._store.resume(event, self._dedupe)
            self._events.put(event)
            self._counts.add("resumed")
            count += 1
        return count

    def asgi(self) -> ASGIApp:
        """Return an ASGI application for any path: mount it, or serve it alone.

        If you serve it alone, it drains when the server stops. If you mount it, use `lifespan` or `async with hooks` in
        the outer application. A mount of Starlette or FastAPI only serves the path with a final slash; Starlette's
        `Route(path, hooks.asgi())` serves the path as it is.
        """
        return WebhookApp(self._answer, self._start, self.aclose)

    def aiohttp(self) -> "AioHandler":
        """Return a handler for `router.add_post` of aiohttp.web. To drain: `app.cleanup_ctx.append(hooks.lifespan)`."""
        from videoapi.webhooks.aiohttp_server import handler_of

        return handler_of(self._answer)

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> AbstractAsyncContextManager[str]:
        """Receive without a framework, over plain HTTP, for development and tests: `async with hooks.serve() as url`.

        At the end of the block, the server stops and the receiver drains.

        Args:
            host: The address to listen on.
            port: The port to listen on; 0 for any free one.
        """
        return self._serve(host, port)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncGenerator[None, None]:
        """Drain when an application stops: `FastAPI(lifespan=hooks.lifespan)`, or aiohttp's `cleanup_ctx`.

        Args:
            app: The application that the framework passes; unused.
        """
        async with self:
            yield

    async def aclose(self, timeout: float | None = None) -> None:
        """Respond with 503 from now on, and wait until all accepted events are handled. Safe to call twice.

        Args:
            timeout: Seconds to wait; `drain_timeout` by default. Events that are not handled by then are reported with
                an `EventNotHandled`, and their handlers are cancelled.

        Raises:
            ConfigurationError: If the receiver belongs to another event loop, or if a handler calls this, which would
                wait for itself. Nothing has changed.
        """
        seconds = self._drain_timeout if timeout is None else timeout
        loop = asyncio.get_running_loop()
        if self._runner.is_calling(asyncio.current_task()):
            raise ConfigurationError("aclose(): the handler that calls it would wait for itself. Call it elsewhere.")
        self._check_loop(loop)
        self._closed = True
        if self._loop is not loop:
            return
        began, left = loop.time(), 0.0
        try:
            if self._accepting:
                await asyncio.wait(set(self._accepting), timeout=seconds)
            left = max(0.0, began + seconds - loop.time())
        finally:
            for task in self._accepting:
                # Its delivery is answered 503.
                task.cancel()
            try:
                unhandled = await self._events.drain(left)
            finally:
                self._forget_pending()
        await self._report_unhandled(unhandled, loop.time() - began)

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        if not hasattr(self, "_events"):
            # In a traceback of its own constructor.
            return "<Webhooks>"
        secured = "with" if self._login else "without"
        return f"<Webhooks {secured} credentials, {self.waiting} waiting, {self.running} running>"

    def _refusal(self, authorization: str | bytes | None) -> InvalidCredentials | None:
        if self._login is None or self._login.accepts(authorization):
            return None
        reason = "the user or password is wrong" if authorization else "no credentials"
        return InvalidCredentials(f"{reason}. Not handled.")

    def _oversize(self, body: object) -> EventTooLarge | None:
        raw = body.encode("utf-8", "replace") if isinstance(body, str) else body
        large = isinstance(raw, (bytes, bytearray, memoryview)) and len(raw) > self.max_body
        return delivery.too_large(self.max_body) if large else None

    @contextlib.asynccontextmanager
    async def _serve(self, host: str, port: int) -> AsyncGenerator[str, None]:
        from videoapi.webhooks.aiohttp_server import serving

        async with self, serving(self._answer, host, port) as url:
            yield url

    async def _start(self) -> None:
        self._use_loop()
        self._noting.clear()
        self._closed = False

    async def _answer(
        self, method: str, authorization: bytes | None, length: bytes | None, chunks: AsyncIterator[bytes]
    ) -> delivery.DeliveryAnswer:
        return await delivery.answer(
            self,
            self._rejections,
            self._counts,
            method=method,
            authorization=authorization,
            length=length,
            chunks=chunks,
        )

    def _accepted(self, task: asyncio.Task[bool]) -> None:
        self._accepting.discard(task)
        if not task.cancelled():
            # Retrieve the error: the request may be gone.
            task.exception()

    async def _accept(self, event: WebhookEvent) -> bool:
        accepted = False
        try:
            accepted = await self._store.accept(event, self._dedupe)
        except (Exception, asyncio.CancelledError) as error:
            if _is_cancellation(error):
                raise
            log.exception("The webhook store failed to accept an event: %s", described(event))
            raise delivery.busy("the store failed") from None
        finally:
            if not accepted:
                self._events.release()
        if accepted:
            self._events.put(event)
        self._counts.add("accepted" if accepted else "repeated")
        return bool(accepted)

    async def _handle(self, event: WebhookEvent) -> None:
        succeeded = await self._runner.run(event)
        self._noting.add(event.digest)
        try:
            async with asyncio.timeout(NOTE_WITHIN):
                await self._store.done(event)
        except (Exception, asyncio.CancelledError) as error:
            if _is_cancellation(error):
                raise
            log.exception("The webhook store failed to note that an event was handled: %s", described(event))
        self._noting.discard(event.digest)
        self._counts.add("handled" if succeeded else "failed")

    async def _report_unhandled(self, events: list[WebhookEvent], seconds: float) -> None:
        self._counts.add("failed", len(events))
        reported = 0
        try:
            async with asyncio.timeout(REPORT_WITHIN):
                for event in events:
                    error = EventNotHandled(f"The receiver closed before the event was handled, after {seconds:.1f} s.")
                    if event.digest in self._noting:
                        name = f"{type(self._store).__name__}.done()"
                        error = EventNotHandled(f"The receiver closed before {name} ended, after {seconds:.1f} s.")
                    await self._runner.report(event, error, "A webhook event was not handled")
                    reported += 1
        except TimeoutError:
            for event in events[reported:]:
                log.error("A webhook event was not handled, and on_error took too long: %s", described(event))

    def _new_queue(self) -> EventQueue:
        return EventQueue(self._handle, size=self._size, concurrency=self._concurrency)

    def _use_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        self._check_loop(loop)
        if self._loop is not None:
            # What was left ended with its loop.
            self._events = self._new_queue()
            self._accepting.clear()
            self._forget_pending()
        self._loop = loop

    def _check_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop not in (None, loop) and not self._loop.is_closed():
            raise ConfigurationError("These Webhooks belong to another event loop. Make one for each loop.")

    def _forget_pending(self) -> None:
        # A store of the user's own still has it, for `resume`.
        if isinstance(self._store, MemoryStore):
            self._store.forget_pending()


def _is_cancellation(error: BaseException) -> bool:
    """Return whether an error cancels this task; a store can raise one, too, such as that of its own connection."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _must_be_event(event: object) -> None:
    if not isinstance(event, WebhookEvent):
        raise ValidationError(
            f"Not an event: {type(event).__name__}. Read text or bytes with parse_event first.", field="event"
        )


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**9:
        raise ConfigurationError(f"{name}={value!r}: give a whole number from 1 on.")
    return value


def _seconds(name: str, value: float) -> float:
    return 0.0 if value == 0 and not isinstance(value, bool) else positive_seconds(name, value) or 0.0


def _checked_store(store: DedupeStore) -> DedupeStore:
    for method in ("accept", "done"):
        if not callable(getattr(store, method, None)):
            raise ConfigurationError(f"store: {type(store).__name__} has no method {method}().")
    return store
