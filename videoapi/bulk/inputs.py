"""The inputs of a bulk run, read when a worker asks for one, in one task or context from the first to the last."""

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
    Sequence,
)
from contextvars import Context, copy_context
from typing import Final, Generic, TypeVar

from videoapi.errors import ConfigurationError

S = TypeVar("S")
_CANCELLED: Final = "The iterator of the inputs cancelled itself."


class Inputs(Generic[S]):
    """A lazy reader of any iterable or async iterable.

    Context variables, scopes and timeouts of a generator belong to the task and the context that advance it. So one
    task reads an async iterable, from the first input until it closes it, and all of a synchronous one is read in
    one context.
    """

    def __init__(self, inputs: Iterable[S] | AsyncIterable[S]) -> None:
        if not isinstance(inputs, AsyncIterable | Iterable) or isinstance(inputs, str | bytes):
            raise ConfigurationError("A bulk run reads an iterable or async iterable of inputs.")
        self._inputs = inputs
        self.at_once: bool = not isinstance(inputs, AsyncIterable)
        """Whether the iterable is synchronous, so that `next_at_once` reads it."""
        self._iterator: Iterator[S] | None = None
        self._context: Context | None = None
        self._index = 0
        self._asked: deque[asyncio.Future[tuple[int, S] | None]] = deque()
        self._first: tuple[int, S] | None = None
        self._wake: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None
        """The task that reads an async iterable."""
        self._stopped = False
        self._ended = False
        self.exhausted: bool = False
        """Whether the inputs were read to the end."""
        self.error: Exception | None = None
        """What the iterator raised."""
        self.unclaimed: list[tuple[int, S]] = []
        """Inputs that were read for a worker that was cancelled before it received them."""

    async def peek(self) -> bool:
        """Return whether there is any input; the first one is kept for the next call."""
        self._first = self.next_at_once() if self.at_once else await self.next()
        return self._first is not None

    @property
    def first(self) -> S | None:
        """The input that `peek` has found."""
        return None if self._first is None else self._first[1]

    @property
    def listed(self) -> Sequence[S] | None:
        """All inputs, if they are a list or a tuple, which can be looked at without reading them."""
        inputs = self._inputs
        return inputs if isinstance(inputs, list | tuple) else None

    def next_at_once(self) -> tuple[int, S] | None:
        """Return the next input of a synchronous iterable as `next` does."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._ended or self._stopped:
            return None
        if self._context is None:
            self._context = copy_context()
        try:
            given = self._context.run(self._advance)
        except StopIteration:
            self.exhausted = self._ended = True
        except asyncio.CancelledError:
            self.error, self._ended = ConfigurationError(_CANCELLED), True
        except Exception as error:
            self.error, self._ended = error, True
        else:
            self._index += 1
            return self._index - 1, given
        return None

    def _advance(self) -> S:
        if self._iterator is None:
            assert isinstance(self._inputs, Iterable)
            self._iterator = iter(self._inputs)
        return next(self._iterator)

    async def next(self) -> tuple[int, S] | None:
        """Return the next input and its index; None at the end, after an error of the iterator, or after `stop`."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._ended or self._stopped:
            return None
        loop = asyncio.get_running_loop()
        if self.task is None:
            self.task = loop.create_task(self._read())
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

    def take_unclaimed(self) -> list[tuple[int, S]]:
        """Return the inputs that were read and that no worker has received."""
        unclaimed, self.unclaimed = self.unclaimed, []
        if self._first is not None:
            unclaimed.append(self._first)
            self._first = None
        return unclaimed

    def stop(self) -> None:
        """Read no more, also if the iterator is waiting; `next` returns None from now on."""
        if not self._stopped:
            self._stopped = True
            if self.task is not None:
                self.task.cancel()
            self._release()

    async def aclose(self) -> None:
        """Stop reading, and wait until the iterator is closed."""
        self.stop()
        # Not any `close`: an open file is an iterator, too, and belongs to the caller.
        if isinstance(self._iterator, Generator) and self._context is not None:
            try:
                self._context.run(self._iterator.close)
            except Exception as error:
                self.error = self.error or error
        if self.task is not None:
            await asyncio.wait([self.task])
            if not self.task.cancelled() and (failure := self.task.exception()) is not None:
                raise failure

    async def _read(self) -> None:
        assert isinstance(self._inputs, AsyncIterable)
        try:
            await self._read_from(aiter(self._inputs))
        except asyncio.CancelledError:
            if not self._stopped:
                self.error = ConfigurationError(_CANCELLED)
        except Exception as error:
            self.error = self.error or error
        finally:
            self._ended = True
            self._release()

    async def _read_from(self, iterator: AsyncIterator[S]) -> None:
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
                    self.unclaimed.append((self._index, given))
                else:
                    asked.set_result((self._index, given))
                    self._asked.popleft()
                self._index += 1
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
