"""User code that runs in the thread that waits for a call, and never in the event loop.

Iterators of inputs and progress callbacks may block, open database connections of their thread, and read its context
variables. The thread that makes the call waits anyway, so it runs them.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import signal
import threading
import traceback
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from functools import partial
from typing import Any, Final, Generic, TypeVar, cast

import attrs

from videoapi.bulk import BulkReport
from videoapi.config import Credentials

S = TypeVar("S")
T = TypeVar("T")


class Wake(Enum):
    """Why a thread that waits is woken."""

    CALLBACK = "callback"
    OVER = "over"


class Callbacks:
    """The callbacks of one call, or of one bulk run, for the threads that wait for it.

    Args:
        is_ending: Whether the event loop ends, so that no callback is waited for any more: it may itself wait for
            the end.
    """

    def __init__(self, is_ending: Callable[[], bool]) -> None:
        self._is_ending = is_ending
        self._queued: deque[_Callback] = deque()
        self._awaited: set[_Callback] = set()
        self._serving: list[queue.SimpleQueue[Wake]] = []
        self._thread: int | None = None
        self._closing: Callable[[], Awaitable[object]] | None = None

    # In the event loop

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function in the thread that waits, and return its result.

        If this is cancelled, a function that has begun runs to its end first.
        """
        loop = asyncio.get_running_loop()
        if self._is_ending():
            raise asyncio.CancelledError
        ended: asyncio.Future[None] = loop.create_future()
        callback = _Callback(partial(function, *args), ended)
        self._awaited.add(callback)
        self._queue(callback)
        try:
            await ended
        except asyncio.CancelledError:
            if not self._withdrawn(callback) and callback.result is None and not self._is_ending():
                ended = callback.ended = loop.create_future()
                await ended
            raise
        finally:
            self._awaited.discard(callback)
        closing, self._closing = self._closing, None
        if closing is not None:
            await closing()
        assert callback.result is not None
        return cast(T, callback.result())

    def post(self, function: Callable[[], object]) -> None:
        """Run a function in the thread that waits; what it raises ends the call."""
        self._queue(_Callback(function, None))

    def abandon(self, thread: int) -> None:
        """End the callbacks of a thread that was interrupted outside of them: as they began, or before they said so."""
        for callback in tuple(self._awaited):
            if callback not in self._queued and callback.thread in (None, thread):
                callback.end(_interrupted)

    def _queue(self, callback: _Callback) -> None:
        self._queued.append(callback)
        for messages in self._serving:
            messages.put(Wake.CALLBACK)

    def _withdrawn(self, callback: _Callback) -> bool:
        """Return whether a callback had not begun, and now never does."""
        try:
            self._queued.remove(callback)
        except ValueError:
            return False
        return True

    # In the thread that waits

    @contextmanager
    def served_by(self, messages: queue.SimpleQueue[Wake]) -> Generator[None, None, None]:
        """Wake the reader of these messages for every callback."""
        self._serving.append(messages)
        try:
            yield
        finally:
            self._serving.remove(messages)

    def serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the queued callbacks."""
        while self._queued:
            try:
                callback = self._queued.popleft()
            except IndexError:
                # Another thread, or a withdrawal, was faster.
                return
            outer, self._thread = self._thread, threading.get_ident()
            try:
                callback.run(loop)
            finally:
                self._thread = outer

    def close_afterwards(self, closing: Callable[[], Awaitable[object]]) -> bool:
        """If this thread runs a callback, await `closing` where its result is awaited; return whether it does."""
        if self._thread != threading.get_ident():
            return False
        self._closing = closing
        return True


@attrs.define(eq=False)
class _Callback:
    """A function to run in the thread that waits; `ended` is done when it has, and `result` returns or raises."""

    function: Callable[[], Any]
    ended: asyncio.Future[None] | None
    result: Callable[[], Any] | None = None
    thread: int | None = None
    """The thread that runs it."""

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.ended is None:
            self.function()
            return
        result = _interrupted
        self.thread = threading.get_ident()
        try:
            value = self.function()
            result = lambda: value  # noqa: E731
        except Exception as error:
            if raised_by_signal(error):
                # It is not an error of the callback, which the call may log or keep: it ends the call.
                raise
            result = partial(_raised, error)
        finally:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self.end, result)

    def end(self, result: Callable[[], Any]) -> None:
        """Note the result, in the event loop; the first counts."""
        self.result = self.result or result
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(None)


def raised_by_signal(error: Exception) -> bool:
    """Return whether a signal handler raised an exception, such as that of a time limit of Celery."""
    handlers = map(signal.getsignal, signal.valid_signals())
    calls = (handler if inspect.isroutine(handler) else getattr(handler, "__call__", None) for handler in handlers)  # noqa: B004
    codes = {code for call in calls if (code := getattr(call, "__code__", None)) is not None}
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))


def _raised(error: Exception) -> None:
    if isinstance(error, StopIteration | StopAsyncIteration):
        # A coroutine cannot raise it.
        raise RuntimeError(f"A callback raised {type(error).__name__}.") from error
    raise error


def _interrupted() -> None:
    # The thread cancels the call, too.
    raise asyncio.CancelledError


class PulledInputs(AsyncIterator[S]):
    """The inputs of a bulk run, read from an iterable in the thread that waits."""

    def __init__(self, inputs: Iterable[S], callbacks: Callbacks) -> None:
        self._inputs = inputs
        self._callbacks = callbacks
        self._iterator: Iterator[S] | None = None
        self._read: deque[S] = deque()

    async def __anext__(self) -> S:
        try:
            await self._callbacks.run(self._advance)
        except asyncio.CancelledError:
            # An input that was read gets an outcome.
            if not self._read:
                raise
        if not self._read:
            raise StopAsyncIteration
        return self._read.popleft()

    async def aclose(self) -> None:
        # Not any `close`: an open file is an iterator, too, and belongs to the caller.
        if isinstance(self._iterator, Generator):
            await self._callbacks.run(self._iterator.close)

    def _advance(self) -> None:
        if self._iterator is None:
            self._iterator = iter(self._inputs)
        with suppress(StopIteration):
            self._read.append(next(self._iterator))


class ServedProgress:
    """A progress callback of a bulk run, called in the thread that waits, with the report as it was then."""

    def __init__(self, progress: Callable[[BulkReport], object], callbacks: Callbacks) -> None:
        self._progress = progress
        self._callbacks = callbacks

    async def __call__(self, report: BulkReport) -> object:
        # The run changes the counters while the callback reads them; the lists only grow.
        snapshot = attrs.evolve(report, counts=Counter(report.counts))
        try:
            return await self._callbacks.run(self._progress, snapshot)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Interrupted in the callback.
            return None


class LatestProgress:
    """A progress callback of a download, called in the thread that waits; a slow one misses steps, but not the last."""

    def __init__(self, progress: Callable[[int, int | None], object], callbacks: Callbacks) -> None:
        self._progress = progress
        self._callbacks = callbacks
        self._latest: deque[tuple[int, int | None]] = deque(maxlen=1)
        self._failed = False

    def __call__(self, received: int, total: int | None) -> None:
        self._latest.append((received, total))
        self._callbacks.post(self._show)

    def _show(self) -> None:
        if self._failed:
            return
        try:
            received, total = self._latest.pop()
        except IndexError:
            return
        self._failed = True
        self._progress(received, total)
        self._failed = False


class ThreadedCredentials(Generic[T]):
    """A credentials callable that may block: called in a worker thread, with the context of the call.

    Not in the thread that waits: a bulk run sends items while its consumer does something else.
    """

    def __init__(self, source: Callable[[], T]) -> None:
        self._source = source

    async def __call__(self) -> Any:
        given = await asyncio.to_thread(self._called)
        return await given if isinstance(given, Awaitable) else given

    def _called(self) -> T:
        try:
            return self._source()
        except StopIteration as error:
            raise RuntimeError("The credentials callable raised StopIteration.") from error


def pulled(inputs: Any, callbacks: Callbacks) -> Any:
    """Return inputs for the event loop: containers unchanged, as reading them runs no user code."""
    if type(inputs) in _CONTAINERS or not isinstance(inputs, Iterable) or isinstance(inputs, str | bytes):
        return inputs
    return PulledInputs(inputs, callbacks)


def served(progress: Any, callbacks: Callbacks) -> Any:
    """Return a progress callback of a bulk run for the event loop."""
    return ServedProgress(progress, callbacks) if callable(progress) else progress


def latest(progress: Any, callbacks: Callbacks) -> Any:
    """Return a progress callback of a download for the event loop."""
    return LatestProgress(progress, callbacks) if callable(progress) else progress


def threaded(source: Any, callbacks: Callbacks) -> Any:
    """Return a credentials callable for the event loop."""
    return ThreadedCredentials(source) if callable(source) and not isinstance(source, Credentials) else source


_CONTAINERS: Final = frozenset({list, tuple, set, frozenset, dict, range, type({}.keys()), type({}.values())})
