"""The inputs of a bulk run, read lazily."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Generic, TypeVar

from videoapi.errors import ConfigurationError

S = TypeVar("S")


class Inputs(Generic[S]):
    """A lazy reader of any iterable or async iterable, one input at a time."""

    def __init__(self, inputs: Iterable[S] | AsyncIterable[S]) -> None:
        self._sync: Iterator[tuple[int, S]] | None = None
        self._async: AsyncIterator[S] | None = None
        if isinstance(inputs, AsyncIterable):
            self._async = aiter(inputs)
        elif isinstance(inputs, Iterable) and not isinstance(inputs, str | bytes):
            self._sync = enumerate(inputs)
        else:
            raise ConfigurationError("A bulk run reads an iterable or async iterable of inputs.")
        self.at_once = self._sync is not None
        """Whether to read with `next_at_once`: the iterable is synchronous."""
        self._lock = asyncio.Lock()
        self._next_index = 0
        self.exhausted = False
        self.error: Exception | None = None

    def next_at_once(self) -> tuple[int, S] | None:
        """Return the next input and its index, or None at the end or after an error of the iterator."""
        if self.exhausted or self.error is not None:
            return None
        assert self._sync is not None
        try:
            return next(self._sync)
        except StopIteration:
            self.exhausted = True
        except Exception as error:
            self.error = error
        return None

    async def next(self) -> tuple[int, S] | None:
        """Wait for the next input and return it as `next_at_once` does."""
        async with self._lock:
            if self.exhausted or self.error is not None:
                return None
            assert self._async is not None
            try:
                given = await anext(self._async)
            except StopAsyncIteration:
                self.exhausted = True
                return None
            except Exception as error:
                self.error = error
                return None
            self._next_index += 1
            return self._next_index - 1, given

    async def aclose(self) -> None:
        """Close the caller's async generator now instead of leaving it to garbage collection."""
        close: Callable[[], Awaitable[object]] | None = getattr(self._async, "aclose", None)
        if close is not None:
            await close()
