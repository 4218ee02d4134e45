"""Running an asynchronous resource on an event loop in its own thread."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def in_thread(start: Callable[[], Awaitable[T]], close: Callable[[], Awaitable[object]]) -> Generator[T, None, None]:
    """Start a resource on an event loop in a thread, and close it there when the block ends.

    Raises:
        BaseException: The error raised while starting or closing, if any.
    """
    ready = threading.Event()
    started: list[T] = []
    stops: list[Callable[[], object]] = []
    errors: list[BaseException] = []

    async def live() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        started.append(await start())
        try:
            stops.append(lambda: loop.call_soon_threadsafe(done.set))
            ready.set()
            await done.wait()
        finally:
            await close()

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:
            errors.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="videoapi-sandbox", daemon=True)
    thread.start()
    ready.wait()
    try:
        if started:
            yield started[0]
    finally:
        for stop in stops:
            with contextlib.suppress(RuntimeError):
                stop()
        thread.join()
        if errors:
            raise errors[0]
