"""The inputs of a bulk run: one task reads them from the first to the last, when a worker asks for one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from typing import Generic, TypeVar

from videoapi.errors import ConfigurationError

S = TypeVar("S")


class Inputs(Generic[S]):
    """A lazy reader of any iterable or async iterable.

    Context variables, scopes and timeouts of a generator belong to the task that advances it; so one task does
    that, from the first input until it closes the generator.
    """

    def __init__(self, inputs: Iterable[S] | AsyncIterable[S]) -> None:
        if not isinstance(inputs, AsyncIterable | Iterable) or isinstance(inputs, str | bytes):
            raise ConfigurationError("A bulk run reads an iterable or async iterable of inputs.")
        self._inputs = inputs
        self._asked: deque[asyncio.Future[tuple[int, S] | None]] = deque()
        self._first: tuple[int, S] | None = None
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._ended = False
        self.exhausted = False
        """Whether the inputs were read to the end."""
        self.error: Exception | None = None
        """What the iterator raised."""
        self.unclaimed: list[tuple[int, S]] = []
        """Inputs that were read for a worker that was cancelled before it received them."""

    async def peek(self) -> bool:
        """Return whether there is any input; the first one is kept for `next`."""
        self._first = await self.next()
        return self._first is not None

    def take_unclaimed(self) -> list[tuple[int, S]]:
        """Return the inputs that were read and that no worker has received."""
        unclaimed, self.unclaimed = self.unclaimed, []
        if self._first is not None:
            unclaimed.append(self._first)
            self._first = None
        return unclaimed

    async def next(self) -> tuple[int, S] | None:
        """Return the next input and its index; None at the end, after an error of the iterator, or after `stop`."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._ended or self._stopped:
            return None
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = loop.create_task(self._read())
        asked: asyncio.Future[tuple[int, S] | None] = loop.create_future()
        self._asked.append(asked)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
        try:
            return await asked
        except asyncio.CancelledError:
            if asked.done() and not asked.cancelled() and (given := asked.result()) is not None:
                self.unclaimed.append(given)
            raise

    def stop(self) -> None:
        """Read no more, also if the iterator is waiting; `next` returns None from now on."""
        if not self._stopped:
            self._stopped = True
            if self._task is not None:
                self._task.cancel()
            self._release()

    async def aclose(self) -> None:
        """Stop reading, and wait until the iterator is closed."""
        self.stop()
        if self._task is not None:
            await asyncio.wait([self._task])
            if not self._task.cancelled() and (error := self._task.exception()) is not None:
                raise error

    async def _read(self) -> None:
        inputs = self._inputs
        try:
            if isinstance(inputs, AsyncIterable):
                await self._read_from(aiter(inputs))
            else:
                await self._read_from(_Awaitable(iter(inputs)))
        except asyncio.CancelledError:
            if not self._stopped:
                self.error = ConfigurationError("The iterator of the inputs cancelled itself.")
        except Exception as error:
            self.error = self.error or error
        finally:
            self._ended = True
            self._release()

    async def _read_from(self, iterator: AsyncIterator[S]) -> None:
        index = 0
        try:
            while not self._stopped:
                asked, cancelled = await self._next_asked()
                advanced = anext(iterator) if cancelled is None else _thrown_into(iterator, cancelled)
                try:
                    given = await advanced
                except StopAsyncIteration:
                    self.exhausted = True
                    return
                if asked.done():
                    self.unclaimed.append((index, given))
                else:
                    asked.set_result((index, given))
                    self._asked.popleft()
                index += 1
        finally:
            # Now, instead of leaving it to garbage collection in some other task.
            close: Callable[[], Awaitable[object]] | None = getattr(iterator, "aclose", None)
            if close is not None:
                await close()

    async def _next_asked(self) -> tuple[asyncio.Future[tuple[int, S] | None], asyncio.CancelledError | None]:
        """Wait for a worker; also return the cancellation that a scope of the waiting generator has caused."""
        cancelled: asyncio.CancelledError | None = None
        while True:
            while self._asked and self._asked[0].done():
                self._asked.popleft()
            if self._asked:
                return self._asked[0], cancelled
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            except asyncio.CancelledError as error:
                if self._stopped:
                    raise
                cancelled = error

    def _release(self) -> None:
        while self._asked:
            asked = self._asked.popleft()
            if not asked.done():
                asked.set_result(None)


def _thrown_into(iterator: AsyncIterator[S], error: BaseException) -> Awaitable[S]:
    """Resume a generator where it waits, with the cancellation by one of its own scopes, such as a timeout."""
    if isinstance(iterator, AsyncGenerator):
        return iterator.athrow(error)
    raise error


class _Awaitable(Generic[S]):
    """A synchronous iterator with the interface of an asynchronous one."""

    def __init__(self, iterator: Iterator[S]) -> None:
        self._iterator = iterator

    def __aiter__(self) -> _Awaitable[S]:
        return self

    async def __anext__(self) -> S:
        try:
            return next(self._iterator)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        # Not any `close`: an open file is an iterator, too, and belongs to the caller.
        if isinstance(self._iterator, Generator):
            self._iterator.close()
