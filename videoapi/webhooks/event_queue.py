"""The bounded queue of accepted events, and the workers that handle them."""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from videoapi.webhooks.events import WebhookEvent
from videoapi.webhooks.handling import described

log: logging.Logger = logging.getLogger("videoapi.webhooks")

# How long cancelled handlers may take to end, in seconds.
_PATIENCE = 2.0
# How many events a message names.
_LISTED = 20


class EventQueue:
    """Accepted events, each handled by a task of its own, at most `concurrency` at a time.

    A place must be reserved before an event is accepted: then putting it cannot fail. Belongs to one event loop.

    Args:
        handle: Handles one event.
        size: How many events may wait.
        concurrency: How many are handled at a time.
    """

    def __init__(self, handle: Callable[[WebhookEvent], Awaitable[None]], *, size: int, concurrency: int) -> None:
        self._handle = handle
        self._size = size
        self._concurrency = concurrency
        self._waiting: asyncio.Queue[WebhookEvent] = asyncio.Queue()
        self._places = asyncio.Semaphore(size)
        self._half_empty = asyncio.Event()
        self._half_empty.set()
        self._workers: list[asyncio.Task[None]] = []
        self._running: dict[asyncio.Task[None], WebhookEvent] = {}
        # Handlers must not see the context variables of the request that happened to be the first.
        self._context = contextvars.copy_context()
        self._stopping = False

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return self._waiting.qsize()

    @property
    def running(self) -> int:
        """How many events are being handled."""
        return len(self._running)

    def is_full(self) -> bool:
        """Return whether every place is taken."""
        return self._places.locked()

    async def reserve(self) -> None:
        """Reserve a place; wait for one if the queue is full."""
        await self._places.acquire()

    async def reserve_spare(self) -> None:
        """Reserve a place once half of the queue is empty: for events that can wait, next to those that cannot."""
        while not self._half_empty.is_set():
            await self._half_empty.wait()
        await self._places.acquire()

    def release(self) -> None:
        """Give a reserved place back."""
        self._places.release()

    def put(self, event: WebhookEvent) -> None:
        """Put an event on its reserved place."""
        self._waiting.put_nowait(event)
        self._look()
        if not self._workers:
            self._stopping = False
            self._workers = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]

    async def drain(self, seconds: float) -> list[WebhookEvent]:
        """Wait until all events are handled, then stop. Returns those that were not handled in time."""
        join = asyncio.create_task(self._waiting.join())
        try:
            # Workers end early only if the event loop ends, too.
            await asyncio.wait({join, *self._workers}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping = True
            join.cancel()
            unhandled = [*self._running.values(), *self._left()]
            stopped = {*self._workers, *self._running}
            self._workers.clear()
            for task in stopped:
                task.cancel()
            if unhandled:
                log.error(
                    "The webhook receiver closed with %d events that were not handled: %s",
                    *(len(unhandled), _listed(unhandled)),
                )
        if stopped:
            await asyncio.wait(stopped, timeout=_PATIENCE)
        return unhandled

    def _left(self) -> list[WebhookEvent]:
        left: list[WebhookEvent] = []
        while not self._waiting.empty():
            left.append(self._waiting.get_nowait())
            self._waiting.task_done()
            self.release()
        self._look()
        return left

    def _still_waiting(self) -> list[WebhookEvent]:
        """Return the events that wait, and leave them there."""
        waiting: list[WebhookEvent] = []
        for _ in range(self.waiting):
            waiting.append(self._waiting.get_nowait())
            self._waiting.put_nowait(waiting[-1])
            self._waiting.task_done()
        return waiting

    def _look(self) -> None:
        if self.waiting <= self._size // 2:
            self._half_empty.set()
        else:
            self._half_empty.clear()

    async def _work(self) -> None:
        try:
            await self._handle_all()
        finally:
            if (self.waiting or self.running) and not self._stopping:
                self._stopping = True
                unhandled = [*self._running.values(), *self._still_waiting()]
                log.error(
                    "The event loop ended with %d webhook events that were not handled: "
                    "close the receiver first, with `async with hooks`, hooks.lifespan or hooks.aclose(). %s",
                    *(len(unhandled), _listed(unhandled)),
                )

    async def _handle_all(self) -> None:
        while True:
            event = await self._waiting.get()
            self.release()
            self._look()
            task: asyncio.Task[None] = asyncio.create_task(self._run(event), context=self._context.copy())
            self._running[task] = event
            task.add_done_callback(self._ended)
            await asyncio.wait({task})

    async def _run(self, event: WebhookEvent) -> None:
        await self._handle(event)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.pop(task, None)
        self._waiting.task_done()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("Handling a webhook failed.", exc_info=error)


def _listed(events: Sequence[WebhookEvent]) -> str:
    """Return what identifies the first events, and how many more there are."""
    more = f"; and {len(events) - _LISTED} more" if len(events) > _LISTED else ""
    return "; ".join(map(described, events[:_LISTED])) + more
