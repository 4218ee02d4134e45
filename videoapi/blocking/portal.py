"""A portal: an event loop in a daemon thread, in which other threads run coroutines and wait for them."""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, suppress
from typing import Any, Final, Generic, TypeVar

from videoapi.blocking.callbacks import Callbacks, Wake
from videoapi.bulk import BulkReport
from videoapi.errors import ConfigurationError, ConnectionFailed

T = TypeVar("T")
GRACE: Final = 3.0
"""Seconds to wait for the end of a call that was interrupted, and of calls in progress when a portal closes."""
_FORKED: Final = (
    "{} was created before a fork: its connections belong to the parent process. Create it in the child process, "
    "in Celery in a handler of `worker_process_init`, in gunicorn in `post_fork`. Not sent."
)
_CLOSED: Final = "{} is closed. Create a new one, or call before close(). Not sent."
_IN_ITS_LOOP: Final = (
    "{} is called from its own event loop, by a middleware or a listener, and would wait for itself. "
    "Let the thread that makes the call do this before or after it. Not sent."
)
_IN_A_LOOP: Final = (
    "{} would block the event loop of this thread. Use the async client, `videoapi.VideoClient`, with `await`, or call "
    "from another thread with `asyncio.to_thread`. Not sent."
)


class Portal:
    """An event loop in a thread of its own, which starts with the first call.

    Any number of threads can call. If the portal is not closed, it closes when it is garbage collected, or when the
    interpreter exits, with a `ResourceWarning`.

    Args:
        name: What errors and warnings call it.
        on_close: Closes what lives in the event loop.
    """

    def __init__(self, name: str, on_close: Callable[[], Awaitable[object]]) -> None:
        self._name = name
        self._on_close = on_close
        self._pid = os.getpid()
        self._closed = False
        self._running: LoopThread | None = None
        # Reentrant: the garbage collector may close an iterator at any place.
        self._lock = threading.RLock()

    def exclusive(self) -> AbstractContextManager[Any]:
        """Return a lock to hold while the objects of the event loop are read or created in another thread.

        Raises:
            ConfigurationError: If the portal is of a parent process, in which a thread may hold the lock for ever.
        """
        self._check_process()
        return self._lock

    @property
    def usable(self) -> bool:
        """Whether the portal is neither closed nor of a parent process."""
        return not self._closed and self._pid == os.getpid()

    def is_ending(self) -> bool:
        """Return whether the event loop no longer waits for callbacks."""
        return self._running is not None and self._running.ending

    def run(
        self,
        coroutine: Coroutine[Any, Any, T],
        callbacks: Callbacks | None = None,
        form: Callable[[T], Any] = lambda result: result,
    ) -> Any:
        """Run a coroutine in the event loop, and wait for it.

        If an exception interrupts the wait, such as that of Ctrl-C, the coroutine is cancelled first.

        Args:
            coroutine: The coroutine.
            callbacks: User code to run in this thread while it waits.
            form: Makes what is returned of the result.

        Raises:
            ConfigurationError: If the portal is closed or of a parent process, or this thread must not wait.
        """
        try:
            self._check()
            running = self._start()
        except BaseException:
            coroutine.close()
            raise
        return running.run(coroutine, callbacks, form)

    def finish(self, closing: Callable[[], Coroutine[Any, Any, object]], callbacks: Callbacks | None) -> None:
        """Close something that lives in the event loop; wait for it if this thread may wait.

        Unlike `run` it can be called by the garbage collector, in any thread, and at any time.
        """
        running = self._running
        if running is None or not self.usable:
            return
        if running.is_current:
            running.loop.create_task(closing())
            return
        with suppress(ConfigurationError):
            running.run(closing(), callbacks, lambda result: result)

    def close(self) -> None:
        """Close what lives in the event loop, and wait until its thread has ended. Safe to call twice.

        Calls in progress end with an error.
        """
        if self._pid != os.getpid():
            return
        with self._lock:
            running = self._running
            if running is not None and running.is_current:
                raise ConfigurationError(_IN_ITS_LOOP.format(self._name))
            self._closed = True
        if running is not None:
            running.stop()
            running.thread.join()

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise ConfigurationError(_FORKED.format(self._name))

    def _check(self) -> None:
        self._check_process()
        loop = asyncio._get_running_loop()
        if loop is not None:
            if self._running is not None and self._running.loop is loop:
                raise ConfigurationError(_IN_ITS_LOOP.format(self._name))
            if not _in_notebook():
                raise ConfigurationError(_IN_A_LOOP.format(self._name))

    def _start(self) -> LoopThread:
        running = self._running
        if running is None or self._closed:
            with self._lock:
                if self._closed:
                    raise ConfigurationError(_CLOSED.format(self._name))
                running = self._running
                if running is None:
                    self._running = running = LoopThread(self._name, self._on_close)
                    weakref.finalize(self, _close_unclosed, running, self._pid)
        return running


class LoopThread:
    """The thread of a portal.

    Args:
        name: What errors call the portal.
        on_close: Run in the event loop before it ends.
    """

    def __init__(self, name: str, on_close: Callable[[], Awaitable[object]]) -> None:
        self.name = name
        self._on_close = on_close
        self._lock = threading.RLock()
        self._stop = asyncio.Event()
        self.stopping: bool = False
        self.ending: bool = False
        """Whether nothing waits for callbacks any more."""
        self._calls: set[_Call[Any]] = set()
        # Created here, so that calls can be queued before the thread runs.
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self.thread: threading.Thread = threading.Thread(target=self._run, name="videoapi-blocking", daemon=True)
        self.thread.start()

    @property
    def is_current(self) -> bool:
        return threading.current_thread() is self.thread

    def run(self, coroutine: Coroutine[Any, Any, T], callbacks: Callbacks | None, form: Callable[[T], Any]) -> Any:
        """Run a coroutine, wait for it, and serve callbacks in the calling thread."""
        call = _Call(self, coroutine, callbacks)
        try:
            self._submit(call)
            call.wait(None)
            # Within `try`: an exception between here and the caller must not lose what was done.
            return form(call.result())
        except BaseException as error:
            if not call.over:
                self._interrupt(call, error)
            elif call.task is not None:
                call.explain(error)
            raise

    def stop(self) -> None:
        """Begin to close; later calls are refused."""
        with self._lock:
            if not self.stopping:
                self.stopping = True
                self.loop.call_soon_threadsafe(self._stop.set)

    def ended(self, call: _Call[Any]) -> None:
        self._calls.discard(call)

    def _submit(self, call: _Call[Any]) -> None:
        with self._lock:
            if self.stopping:
                call.coroutine.close()
                call.over = True
                raise ConfigurationError(_CLOSED.format(self.name))
            self._calls.add(call)
            # Copies the context, whose variables the task and the callbacks of users see.
            self.loop.call_soon_threadsafe(call.start)

    def _interrupt(self, call: _Call[Any], error: BaseException) -> None:
        """Cancel a call, wait a limited time for its end, and note what is known about it on the exception."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(call.cancel, threading.get_ident())
        deadline = time.monotonic() + GRACE
        while not call.over and time.monotonic() < deadline:
            try:
                # A callback that raises each time, such as `sys.exit` in `progress=`, does not end the wait.
                with suppress(Exception, SystemExit, GeneratorExit):
                    call.wait(deadline)
            except BaseException as second:
                # It replaces the first, and what is known with it.
                call.explain(second)
                raise
        call.explain(error)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
                try:
                    runner.run(self._serve())
                except (SystemExit, KeyboardInterrupt):
                    # Raised by a listener or a middleware; the thread that waits for its call raises it, too.
                    pass
                finally:
                    self._refuse_calls()
        finally:
            for call in self._refuse_calls():
                call.end()

    def _refuse_calls(self) -> list[_Call[Any]]:
        with self._lock:
            self.stopping = True
            return list(self._calls)

    async def _serve(self) -> None:
        try:
            await self._stop.wait()
        finally:
            await self._on_close()
            # Their own errors say more than a cancellation.
            tasks = [call.task for call in self._calls if call.task is not None]
            if tasks:
                await asyncio.wait(tasks, timeout=GRACE)
            self.ending = True


class _Call(Generic[T]):
    """A coroutine that a thread waits for."""

    def __init__(self, home: LoopThread, coroutine: Coroutine[Any, Any, T], callbacks: Callbacks | None) -> None:
        self._home = home
        self.coroutine = coroutine
        self._callbacks = callbacks
        self._messages: queue.SimpleQueue[Wake] = queue.SimpleQueue()
        self.task: asyncio.Task[T] | None = None
        self.over: bool = False

    # In the event loop

    def start(self) -> None:
        self.task = self._home.loop.create_task(self.coroutine)
        self.task.add_done_callback(self._done)

    def cancel(self, thread: int) -> None:
        """Cancel the call for the thread that waited for it."""
        if self._callbacks is not None:
            self._callbacks.abandon(thread)
        if self.task is not None:
            self.task.cancel()
            if self.task.done():
                # The interruption may have lost the message.
                self.end()
        else:
            # Interrupted before it was queued.
            self.coroutine.close()
            self._home.ended(self)
            self.end()

    def _done(self, task: asyncio.Task[T]) -> None:
        self._home.ended(self)
        self.end()

    def end(self) -> None:
        self._messages.put(Wake.OVER)

    # In the thread that waits

    def wait(self, deadline: float | None) -> None:
        """Wait until the call is over, and serve callbacks; until the deadline, if there is one."""
        if self._callbacks is None:
            self._wait(deadline, None)
            return
        with self._callbacks.served_by(self._messages):
            self._wait(deadline, self._callbacks)

    def _wait(self, deadline: float | None, callbacks: Callbacks | None) -> None:
        loop = self._home.loop
        while not self.over:
            if callbacks is not None:
                callbacks.serve(loop)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                self.over = self._messages.get(timeout=left) is Wake.OVER
            except queue.Empty:
                return
        if callbacks is not None:
            # What the call has queued last.
            callbacks.serve(loop)

    def result(self) -> T:
        """Return the result of a call that is over, or raise its error."""
        task = self.task
        if task is not None and task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        self.task = None
        if task is None:
            self.coroutine.close()
        if task is None or not task.done():
            raise ConfigurationError(_CLOSED.format(self._home.name))
        try:
            return task.result()
        except asyncio.CancelledError as cancelled:
            error = _ended(self._home.name, cancelled)
        finally:
            # The traceback of the error leads here.
            del task
        try:
            raise error
        finally:
            del error

    def explain(self, error: BaseException) -> None:
        """Note on the exception that interrupted a call what the call's own cancellation says."""
        task = self.task
        if task is None and self.over:
            # It had not begun.
            return
        if task is None or not task.done():
            error.add_note("The call was cancelled, but has not ended yet. May have been executed.")
        elif task.cancelled() or task.exception() is not None:
            try:
                task.result()
            except BaseException as ended:
                _take_over(ended, error)
        else:
            result = task.result()
            if isinstance(result, BulkReport):
                error.report = result  # type: ignore[attr-defined]
            room_id = getattr(result, "room_id", None)
            done = "" if room_id is None else f" of room {room_id}"
            error.add_note(f"The call{done} had completed when it was interrupted.")


def _take_over(ended: BaseException, error: BaseException) -> None:
    """Note on an exception what another says that it hides, such as the reference of a create, and its `report`."""
    known = {name: value for name, value in vars(ended).items() if name != "__notes__"}
    if isinstance(ended, asyncio.CancelledError):
        vars(error).update(known)
    else:
        error.add_note(f"When it was interrupted, the call had failed with {type(ended).__name__}: {ended}")
        for name in ("may_have_executed", "report"):
            if name in known:
                setattr(error, name, known[name])
    for note in getattr(ended, "__notes__", ()):
        error.add_note(note)


def _ended(name: str, cancelled: asyncio.CancelledError) -> ConnectionFailed:
    """Return the error for a call that was cancelled in the event loop: by the end of the client or of the loop."""
    report: BulkReport | None = getattr(cancelled, "report", None)
    # The items of a run may have been executed, although none of its own calls was cancelled.
    items = report is not None and any(report.counts[status] for status in ("created", "deleted", "unknown"))
    executed = items or bool(getattr(cancelled, "may_have_executed", False))
    state = "May have been executed." if executed else "Not sent."
    error = ConnectionFailed(
        f"{name}: the call was cancelled, because the client was closed. {state}",
        may_have_executed=executed,
    )
    for note in getattr(cancelled, "__notes__", ()):
        error.add_note(note)
    error.report = report
    return error


def _close_unclosed(running: LoopThread, pid: int) -> None:
    if pid != os.getpid() or running.stopping:
        return
    running.stop()
    # The garbage collector may run in any thread, also in the portal's own.
    if not running.is_current and not sys.is_finalizing():
        running.thread.join(GRACE)
    warnings.warn(f"{running.name} was not closed: use `with`, or call close().", ResourceWarning, stacklevel=2)


def _in_notebook() -> bool:
    """Return whether this is a Jupyter kernel.

    A kernel runs cells inside its own event loop, which waits for any cell anyway.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
