"""Finds the rows of a record again after it has gained or lost values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import pyarrow

from videoapi.arrow.columns import compute
from videoapi.arrow.schema import TEXT

_IDS: Final = ("cdr_id", "call_log_id", "archive_id")
_MOVING: Final = frozenset({"trans_at", "trans_date", "extra"})
"""What a record may change: its date, and where a value is kept that cannot be read."""
_OPEN: Final = frozenset({"room_details", "stats_quality"})
"""JSON, which may gain values in any order: compared only without an ID."""
_PAIRS: Final = 100_000
"""How many pairs of rows are compared at once."""


class SameRecords:
    """Rows by which those of the same records are found.

    Two rows are of the same record if they share an ID and no two of their values contradict each other; without an ID,
    if all of their values are equal. The service may use an ID more than once.

    Args:
        batches: The rows.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches: list[Any] = []
        self._by_id: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        self._without_id: set[str] = set()
        self._table: Any = None
        rows = 0
        for batch in batches:
            for n, key in _ids_of(batch):
                self._by_id[key].append(rows + n)
            self._without_id.update(text for _, text in _texts_without_id(batch))
            self._batches.append(batch)
            rows += batch.num_rows

    def __bool__(self) -> bool:
        return bool(self._batches)

    def has(self, rows: Any) -> list[bool]:
        """Return for each row of a batch whether its record is one of these."""
        found = [False] * rows.num_rows
        if self._without_id:
            for n, text in _texts_without_id(rows):
                found[n] = text in self._without_id
        # Most rows share no ID, and are not looked at any further.
        pairs = ((n, own) for n, key in _ids_of(rows) if key in self._by_id for own in self._by_id[key])
        while chunk := list(islice(pairs, _PAIRS)):
            for n in self._agreeing(rows, chunk):
                found[n] = True
        return found

    def _agreeing(self, rows: Any, pairs: list[tuple[int, int]]) -> Iterator[int]:
        """Yield the rows of those pairs whose values do not contradict each other."""
        if self._table is None:
            self._table = pyarrow.Table.from_batches(self._batches).combine_chunks()
        theirs, ours = (pyarrow.array(numbers) for numbers in zip(*pairs, strict=True))
        for name in rows.schema.names:
            if name in _MOVING or name in _OPEN or name not in self._table.schema.names:
                continue
            one, other = _known(rows, name).take(theirs), _known(self._table, name).take(ours)
            # Null if one of the two is.
            agree = compute.fill_null(compute.equal(one, other), True).combine_chunks()
            theirs, ours = theirs.filter(agree), ours.filter(agree)
        yield from theirs.to_pylist()


def _known(rows: Any, name: str) -> Any:
    """Return the values of a column as they are compared; an empty ID is null."""
    values = rows.column(name)
    return compute.if_else(compute.equal(values, ""), pyarrow.scalar(None, TEXT), values) if name in _IDS else values


def _ids_of(rows: Any) -> Iterator[tuple[int, tuple[str, str]]]:
    for name in _IDS:
        if name in rows.schema.names:
            yield from ((n, (name, value)) for n, value in enumerate(rows.column(name).to_pylist()) if value)


def _texts_without_id(rows: Any) -> Iterator[tuple[int, str]]:
    """Yield the rows without an ID, each with all of its values as one text."""
    identified = {n for n, _ in _ids_of(rows)}
    others = [n for n in range(rows.num_rows) if n not in identified]
    if not others:
        return
    values = rows.select([name for name in rows.schema.names if name not in _MOVING]).take(pyarrow.array(others))
    yield from zip(others, map(repr, values.to_pylist()), strict=True)
