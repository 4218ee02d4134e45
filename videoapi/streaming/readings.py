"""What the readings of one window have in common: which rows were read before, in whatever order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress

from videoapi.streaming.row_set import Raw, RowSet, checksum, have_changed


class Readings:
    """The rows read in one window, over all its responses.

    Args:
        count: The number of rows that an earlier stream has read; the first response must begin with them.
        check: The checksum of these rows.
    """

    def __init__(self, count: int = 0, check: int = 0) -> None:
        self.count: int = 0
        """The number of rows read."""
        self.check: int = 0
        """The checksum of the rows read, in the order of reading."""
        # The rows of this response that were read, in it or before: those that the first response had, and the others.
        self._first, self._later = RowSet(), RowSet()
        self._cursor = count, check
        self._expected = count
        # Those of earlier responses that this one has not contained so far.
        self._missing: tuple[RowSet, RowSet] | None = None

    def open(self) -> None:
        """Begin to read a response."""
        if self._expected:
            # The earlier stream's rows were not all there: look for them from the start.
            self._expected = self._cursor[0]
            self.count = self.check = 0
            self._first, self._later = RowSet(), RowSet()
        elif self.count:
            read = self._first, self._later
            for rows, missing in zip(read, self._missing or (), strict=False):
                rows.merge(missing)
            self._missing, self._first, self._later = read, RowSet(), RowSet()

    def prepare(self) -> Iterator[None]:
        """Prepare to look for the rows of earlier responses, in small steps."""
        for rows in self._missing or ():
            yield from rows.sort()

    @property
    def is_resuming(self) -> bool:
        """Whether rows of the earlier stream are still to come."""
        return self._expected > 0

    @property
    def has_moved(self) -> bool:
        """Whether the response does not begin with the earlier stream's rows."""
        expected, check = self._cursor
        return expected > 0 and self.count == expected and self.check != check

    @property
    def must_restart(self) -> bool:
        """Whether a complete response contradicts what was read before, or may do so."""
        if self._expected or self.has_moved:
            return True
        return any(have_changed(rows, self._later) for rows in self._missing or ())

    @property
    def disappeared(self) -> int:
        """How many rows of earlier responses a complete response lacks."""
        return sum(map(len, self._missing or ()))

    def unread(self, raws: Sequence[Raw], digests: Sequence[int]) -> Sequence[int]:
        """Return the indexes of the rows that were not read before; `add` them next."""
        indexes = range(len(raws))
        if self._expected:
            known = min(self._expected, len(raws))
            self.add(raws[:known], digests[:known])
            self._expected -= known
            return () if self.has_moved else indexes[known:]
        if self._missing is None:
            return indexes
        first, later = self._missing
        in_first = [first.remove(one) for one in digests]
        in_later = [not found and later.remove(one) for found, one in zip(in_first, digests, strict=True)]
        self._first.update(compress(digests, in_first))
        self._later.update(compress(digests, in_later))
        return [nth for nth in indexes if not (in_first[nth] or in_later[nth])]

    def add(self, raws: Sequence[Raw], digests: Sequence[int]) -> None:
        """Add rows that were not read before."""
        self.count += len(raws)
        self.check = checksum(raws, self.check)
        (self._first if self._missing is None else self._later).update(digests)
