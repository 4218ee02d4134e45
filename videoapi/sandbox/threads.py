"""Running something asynchronous on an event loop in a thread of its own."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def in_thread(context: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Enter an asynchronous context in a thread, and leave it there when the block ends.

    Raises:
        BaseException: whatever entering or leaving the context raised.
    """
    ready = threading.Event()
    entered: list[T] = []
    stops: list[Callable[[], object]] = []
    trouble: list[BaseException] = []

    async def live() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        async with context as value:
            entered.append(value)
            stops.append(lambda: loop.call_soon_threadsafe(done.set))
            ready.set()
            await done.wait()

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:
            trouble.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="videoapi-sandbox", daemon=True)
    thread.start()
    ready.wait()
    try:
        if entered:
            yield entered[0]
    finally:
        for stop in stops:
            with contextlib.suppress(RuntimeError):
                stop()
        thread.join()
        if trouble:
            raise trouble[0]
