"""The rows of one window that were read, as 8 bytes per row.

The order of rows in a response is unknown, and an ID may occur more than once. When a window is read
again, a row is therefore recognized by its content. Source: docs/contract.md 5.2.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

_BUCKETS: Final = 256
_ID_BITS: Final = 24
_CONTENT: Final = (1 << 64 - _ID_BITS) - 2
_MANY: Final = 1_000
_HAS_ID: Final = 1

Raw = bytes | msgspec.Raw


def digests(identities: Iterable[str | None], raws: Iterable[Raw]) -> list[int]:
    """Return 64 bits per row that identify it within this process.

    The lowest bit says whether the row has an ID. If it has one, the highest 24 bits are of its hash,
    so that a row that has changed differs from one that has disappeared. The others are of the content: rows with
    one ID are distinguished by these alone.
    """
    # In one pass over a block, because this runs for each row of a stream.
    return [
        hash(bytes(raw)) & 0xFFFFFFFF_FFFFFFFE
        if identity is None
        else (hash(identity) << 64 - _ID_BITS) & 0xFFFFFFFF_FFFFFFFF | hash(bytes(raw)) & _CONTENT | _HAS_ID
        for identity, raw in zip(identities, raws, strict=True)
    ]


def checksum(raws: Iterable[Raw], start: int = 0) -> int:
    """Return the checksum after the last row, as `checksums` does."""
    for raw in raws:
        start = zlib.crc32(raw, start)
    return start


def checksums(raws: Iterable[Raw], start: int = 0) -> Iterator[int]:
    """Yield the checksum before the first row and after each, in their order; the same in every process.

    Args:
        raws: The rows.
        start: The checksum of the rows before.
    """
    yield start
    for raw in raws:
        start = zlib.crc32(raw, start)
        yield start


class RowSet:
    """A multiset of row digests."""

    __slots__ = ("_buckets", "_sorted")

    def __init__(self) -> None:
        # In buckets, because sorting one array of all rows would need five times its memory.
        self._buckets = [array("Q") for _ in range(_BUCKETS)]
        self._sorted = bytearray(_BUCKETS)

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    def __iter__(self) -> Iterator[int]:
        for bucket in self._buckets:
            yield from bucket

    def update(self, digests: Iterable[int]) -> None:
        """Add rows."""
        buckets, unsorted = self._buckets, self._sorted
        for one in digests:
            nth = one >> 8 & 0xFF
            buckets[nth].append(one)
            unsorted[nth] = False

    def merge(self, other: RowSet) -> None:
        """Add the rows of another set; a million takes milliseconds."""
        for nth, bucket in enumerate(other._buckets):
            if bucket:
                self._buckets[nth].extend(bucket)
                self._sorted[nth] = False

    def sort(self) -> Iterator[None]:
        """Sort the rows, which `remove` needs, in small steps."""
        for nth in range(_BUCKETS):
            if not self._sorted[nth]:
                self._sort(nth)
                yield

    def __contains__(self, one: int) -> bool:
        bucket, at = self._place(one)
        return at < len(bucket) and bucket[at] == one

    def common(self, other: RowSet) -> RowSet:
        """Return the rows that both sets contain, each as often as both do."""
        common, rest = RowSet(), RowSet()
        rest.update(other)
        common.update(one for one in self if rest.remove(one))
        return common

    def remove(self, one: int) -> bool:
        """Remove a row once; return whether the set contained it."""
        bucket, at = self._place(one)
        if at == len(bucket) or bucket[at] != one:
            return False
        del bucket[at]
        return True

    def _place(self, one: int) -> tuple[array[int], int]:
        """Return the bucket of a row, sorted, and the row's index in it."""
        nth = one >> 8 & 0xFF
        if not self._sorted[nth]:
            self._sort(nth)
        bucket = self._buckets[nth]
        return bucket, bisect_left(bucket, one)

    def _sort(self, nth: int) -> None:
        self._buckets[nth] = array("Q", sorted(self._buckets[nth]))
        self._sorted[nth] = True


def have_changed(missing: RowSet, new: RowSet) -> bool:
    """Return whether rows that are missing from a later reading may be in it with another content.

    Args:
        missing: Rows of earlier readings that it lacks.
        new: Its rows that the first reading lacked.
    """
    count = len(missing)
    if not count:
        return False
    if count > _MANY or not all(one & _HAS_ID for one in missing):
        return True
    ids = {one >> 64 - _ID_BITS for one in missing}
    return any(one & _HAS_ID and one >> 64 - _ID_BITS in ids for one in new)
