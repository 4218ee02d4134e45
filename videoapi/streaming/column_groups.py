"""Records of a stream as small groups of Arrow columns, each with its place in the stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

import attrs

from videoapi.streaming.record_filter import Batch

R = TypeVar("R")

GROUP: Final = 500
"""Records per group. More would feed the garbage collector; fewer would cost more per column."""
MAX_BATCH: Final = 1_000_000
"""The most rows of one Arrow batch."""


@attrs.frozen(eq=False)
class ColumnGroup(Generic[R]):
    """Consecutive records of one window as columns.

    Args:
        batch: The batch of the last record, or that which announces the restart of its window.
        nth: The number of records up to the last one in the batch.
        rows: The records, as a `pyarrow.RecordBatch`; None for a restart.
        odd: The odd fields of the records, each with the index of its row.
        discarded: For a restart, how many records before it were yielded and come again.
    """

    batch: Batch[R]
    nth: int
    rows: Any = None
    discarded: int = 0
    odd: Sequence[tuple[int, str]] = ()


async def column_groups(
    batches: AsyncIterable[Batch[R]],
    convert: Callable[[Sequence[R]], Any],
    most: Callable[[], int] = lambda: GROUP,
) -> AsyncGenerator[ColumnGroup[R], None]:
    """Yield the records of a stream as columns; no group has records of two windows.

    Args:
        batches: The batches of the stream.
        convert: Converts records to a `pyarrow.RecordBatch`.
        most: Returns the most records of the next group.
    """
    waiting: list[R] = []
    odd: list[tuple[int, str]] = []
    last: Batch[R] | None = None
    async for batch in batches:
        if waiting and last is not None and batch.window is not last.window:
            yield ColumnGroup(last, len(last.records), convert(waiting), odd=odd)
            waiting, odd = [], []
        if batch.discarded is not None:
            again, waiting, odd = batch.discarded - len(waiting), [], []
            yield ColumnGroup(batch, 0, discarded=again)
            continue
        taken, found = 0, [*batch.odd()]
        while len(waiting) + len(batch.records) - taken >= (size := most()):
            upto = taken + size - len(waiting)
            odd += _moved(found, taken, upto, len(waiting))
            waiting += batch.records[taken:upto]
            taken = upto
            yield ColumnGroup(batch, taken, convert(waiting), odd=odd)
            waiting, odd = [], []
        odd += _moved(found, taken, len(batch.records), len(waiting))
        waiting += batch.records[taken:]
        last = batch
    if waiting and last is not None:
        yield ColumnGroup(last, len(last.records), convert(waiting), odd=odd)


def _moved(odd: Sequence[tuple[int, str]], first: int, end: int, to: int) -> Iterator[tuple[int, str]]:
    """Yield what is odd in some records of a batch, with the index of their rows."""
    return ((to + index - first, field) for index, field in odd if first <= index < end)
