"""What the viewers of the console are sent, and how it reaches each of them.

Everything is encoded once, whatever the number of viewers. A viewer has a bounded queue of requests, and of each
section of the state only the latest version, so that a slow one costs no more than a fast one.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Mapping

import attrs

from videoapi.sandbox.console.request_log import LoggedRequest, RequestLog
from videoapi.sandbox.responses import dump

log: logging.Logger = logging.getLogger("videoapi.sandbox")

# How often viewers are sent changes, in seconds.
INTERVAL = 0.2
# Without changes, a viewer is sent a comment, which shows whether it is still connected, in seconds.
HEARTBEAT = 15.0
VIEWERS = 32
_BATCHES = 8


@attrs.frozen
class RequestBatch:
    """Changed requests: their JSON, how many they are, and how many were left out."""

    json: bytes
    count: int
    missed: int


class Viewer:
    """One open page: what it has not been sent yet.

    Args:
        state: The sections of the state, encoded.
        connected: Returns whether the page is still connected.
    """

    def __init__(self, state: Mapping[str, bytes], connected: Callable[[], bool]) -> None:
        self.closed: bool = False
        self.connected = connected
        self._state = dict(state)
        self._batches: deque[RequestBatch] = deque()
        self._missed = 0
        self._wake = asyncio.Event()
        self._wake.set()

    def offer(self, batch: RequestBatch | None, state: Mapping[str, bytes]) -> None:
        """Queue changes. If the queue is full, its oldest requests are dropped and counted."""
        if batch is not None:
            self._batches.append(batch)
            if len(self._batches) > _BATCHES:
                oldest = self._batches.popleft()
                self._missed += oldest.count + oldest.missed
        self._state.update(state)
        self._wake.set()

    def close(self) -> None:
        """End the stream."""
        self.closed = True
        self._wake.set()

    async def next(self) -> bytes:
        """Wait for changes; return them as events, or a comment if there were none for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT):
                await self._wake.wait()
        self._wake.clear()
        events: list[bytes] = []
        if self._state:
            events.append(event("state", _joined(self._state)))
            self._state = {}
        if self._batches or self._missed:
            missed = self._missed + sum(batch.missed for batch in self._batches)
            requests = b",".join(batch.json for batch in self._batches)
            events.append(event("requests", b'{"missed":%d,"requests":[%b]}' % (missed, requests)))
            self._batches.clear()
            self._missed = 0
        return b"".join(events) or b":\n\n"


class Feed:
    """The viewers, and the task that sends them changes while there are any.

    Args:
        requests: The log of requests.
        shown: Returns what is sent of a request, ready to be encoded.
        state: Returns the sections of the state by name, ready to be encoded.
    """

    def __init__(
        self,
        requests: RequestLog,
        *,
        shown: Callable[[LoggedRequest], object],
        state: Callable[[], Mapping[str, object]],
    ) -> None:
        self._requests = requests
        self._shown = shown
        self._state = state
        self._sent: dict[str, bytes] = {}
        self._viewers: set[Viewer] = set()
        self._dirty = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def touch(self) -> None:
        """Note that something has changed. Call it on the loop."""
        self._dirty.set()

    def open(self, connected: Callable[[], bool]) -> Viewer | None:
        """Add a viewer, which is sent the complete state first; None if there are too many.

        Args:
            connected: Returns whether the viewer is still connected.
        """
        if len(self._viewers) >= VIEWERS:
            # One that waits for changes has not noticed yet that its page was closed.
            for viewer in [viewer for viewer in self._viewers if not viewer.connected()]:
                viewer.close()
                self._viewers.discard(viewer)
        if len(self._viewers) >= VIEWERS:
            return None
        if self._task is None:
            self._requests.take()
            # A sandbox can be started again on another loop.
            self._dirty = asyncio.Event()
            self._task = asyncio.get_running_loop().create_task(self._publish())
        changes = self._changes()
        for other in self._viewers:
            other.offer(None, changes)
        viewer = Viewer(self._sent, connected)
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Remove a viewer."""
        self._viewers.discard(viewer)
        if not self._viewers and self._task is not None:
            self._task.cancel()
            self._task = None

    def close(self) -> None:
        """End all streams."""
        for viewer in self._viewers:
            viewer.close()

    async def _publish(self) -> None:
        while True:
            # Some of the state changes with the time alone.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT):
                    await self._dirty.wait()
            self._dirty.clear()
            requests, missed = self._requests.take()
            batch = RequestBatch(dump([*map(self._shown, requests)])[1:-1], len(requests), missed) if requests else None
            changes = self._changes()
            if batch is not None or changes:
                for viewer in self._viewers:
                    viewer.offer(batch, changes)
            await asyncio.sleep(INTERVAL)

    def _changes(self) -> dict[str, bytes]:
        try:
            state = {name: dump(section) for name, section in self._state().items()}
        except Exception:
            log.exception("the console could not read the state of the sandbox")
            return {}
        changed = {name: section for name, section in state.items() if self._sent.get(name) != section}
        self._sent.update(changed)
        return changed


def event(name: str, json: bytes) -> bytes:
    """Return a server-sent event. JSON as `dump` writes it has no line breaks."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json)


def _joined(sections: Mapping[str, bytes]) -> bytes:
    return b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), section) for name, section in sections.items())
