"""Running the handlers of an event: each one until it has succeeded, or has failed on its last try."""

import asyncio
import contextvars
import functools
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import attrs

from videoapi.webhooks.events import WebhookEvent

log: logging.Logger = logging.getLogger("videoapi.webhooks")

_LONGEST: Final = 100

EventHandler = Callable[[Any], object]
OnError = Callable[[WebhookEvent, BaseException], object]


@attrs.frozen
class RegisteredHandler:
    """A handler and the types of its events."""

    types: tuple[type[WebhookEvent], ...]
    call: EventHandler

    @property
    def name(self) -> str:
        """The handler's name, for messages."""
        return getattr(self.call, "__qualname__", None) or type(self.call).__name__


class HandlerRunner:
    """Runs handlers, and reports those that fail.

    Args:
        tries: How often a handler is called until it has succeeded.
        timeout: How long one call may take, in seconds; None for no limit.
        retry_wait: Seconds until the second try; the wait doubles.
        on_error: Called with an event and the error of a handler's last try; None to log it.
    """

    def __init__(self, *, tries: int, timeout: float | None, retry_wait: float, on_error: OnError | None) -> None:
        self._tries = tries
        self._timeout = timeout
        self._on_error = on_error
        self._retry_wait = retry_wait
        self._handlers: list[RegisteredHandler] = []
        self._calling: set[asyncio.Task[Any]] = set()

    def register(self, types: tuple[type[WebhookEvent], ...], handler: EventHandler) -> None:
        """Add a handler for events of these types and of their subclasses."""
        self._handlers.append(RegisteredHandler(types, handler))

    def handles(self, event: WebhookEvent) -> bool:
        """Return whether any handler receives the event."""
        return any(isinstance(event, handler.types) for handler in self._handlers)

    def is_calling(self, task: "asyncio.Task[Any] | None") -> bool:
        """Return whether a task runs a handler: it must not wait for the end of its own event."""
        return task in self._calling

    async def run(self, event: WebhookEvent) -> bool:
        """Run the handlers of an event at the same time; each one that fails is tried again, then reported.

        Returns:
            Whether all have succeeded.
        """
        chosen = [handler for handler in self._handlers if isinstance(event, handler.types)]
        return all(await asyncio.gather(*(self._try(handler, event) for handler in chosen)))

    async def report(self, event: WebhookEvent, error: BaseException, what: str) -> None:
        """Pass an event that was not handled to `on_error`, or log it."""
        if self._on_error is None:
            log.error("%s: %s", what, described(event), exc_info=error)
            return
        failure, _ = await self._failure(self._on_error, event, error)
        if failure is not None:
            log.error("on_error failed. %s: %s", what, described(event), exc_info=failure)

    async def _try(self, handler: RegisteredHandler, event: WebhookEvent) -> bool:
        for attempt in range(1, self._tries + 1):
            error, still_runs = await self._failure(handler.call, event)
            if error is None:
                return True
            # A second thread next to one that cannot be stopped would handle the event twice at the same time.
            if attempt == self._tries or still_runs:
                what = f"The webhook handler {handler.name} failed {attempt} times"
                await self.report(event, error, what)
                break
            wait = self._retry_wait * 2 ** (attempt - 1)
            log.warning(
                "The webhook handler %s failed (%s%s), try %d of %d; next in %g s: %s",
                *(handler.name, type(error).__name__, place(error), attempt, self._tries, wait, described(event)),
            )
            await asyncio.sleep(wait)
        return False

    async def _failure(self, function: Callable[..., object], *arguments: object) -> tuple[BaseException | None, bool]:
        task, limit = asyncio.current_task(), asyncio.timeout(self._timeout)
        assert task is not None
        # A task of its own: a handler that cancels its task must not cancel the handling of its event.
        call = asyncio.create_task(_called(function, *arguments))
        self._calling.add(call)
        try:
            async with limit:
                await call
        except BaseException as error:
            if not call.done() or task.cancelling():
                raise
            return error, limit.expired() and not is_async(function)
        finally:
            self._calling.discard(call)
        return None, False


def described(event: WebhookEvent) -> str:
    """Return what identifies an event in a log; IDs and types are not trusted, so they are quoted."""
    fields = (f"{name}={str(getattr(event, name))[:_LONGEST]!r}" for name in ("type", "room_id", "conf_num"))
    return f"{' '.join(fields)} digest={event.digest[:12]}"


def place(error: BaseException) -> str:
    """Return the innermost line of the handler's file that an error passed, such as ` at hooks.py:12`.

    The message of the error is left out: it may hold a secret. Empty for an error of the receiver, such as a timeout.
    """
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    ours = max((number for number, (file, _) in enumerate(frames) if file == __file__), default=-1)
    files = [file for file, _ in frames[ours + 1 :]]
    if not files or files[0] == asyncio.timeouts.__file__:
        return ""
    return next(f" at {file}:{line}" for file, line in reversed(frames) if file == files[0])


def is_async(function: object) -> bool:
    """Return whether calling it returns a coroutine."""
    call = getattr(function, "__call__", None)  # noqa: B004 - of an object, it may be asynchronous
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


async def _called(function: Callable[..., object], *arguments: object) -> None:
    """Await an asynchronous function, or run a synchronous one in a thread."""
    try:
        result = function(*arguments) if is_async(function) else await _in_thread(function, *arguments)
        if isinstance(result, Awaitable):
            await result
    except SystemExit as error:
        # It would end the event loop, and with it all events that wait.
        raise RuntimeError("SystemExit left the handler") from error


async def _in_thread(function: Callable[..., object], *arguments: object) -> object:
    # A thread of its own: in the loop's small pool a handler may wait for a thread, which would count as its own time,
    # and handlers that hang would take the threads of the whole application.
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="videoapi-webhook")
    call = functools.partial(contextvars.copy_context().run, _run_sync, function, *arguments)
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, call)
    finally:
        thread.shutdown(wait=False)


def _run_sync(function: Callable[..., object], *arguments: object) -> object:
    try:
        return function(*arguments)
    except (StopIteration, KeyboardInterrupt) as error:
        # A future cannot hold the first: its task would wait forever. The second would end the event loop.
        raise RuntimeError(f"{type(error).__name__} left the handler") from error
