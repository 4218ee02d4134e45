"""Recordings: what archives add up to. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import attrs

from videoapi.models.archives import Archive
from videoapi.report.calendar import Calendar
from videoapi.report.rows import milliseconds

KINDS: Final = ("recording", "transcoded", "chatdata", "metadata")


@attrs.define
class Recordings:
    """What archives add up to.

    Args:
        calendar: Says on which day a time is.
        archives: The number of archives; each is of one session.
        files: The number of files by kind.
        days: The number of archives by day; None for those without a readable time.
        empty: The number of archives without any file.
        outside: The number of archives outside the period, which are not counted otherwise.
        repeated: The number of archives with the ID, the session, the time and the files of an earlier one, which are
            not counted otherwise.
        same_id: The number of archives with the ID of an earlier one, and other values.
        unknown_scope: The number of archives that may be of the room or the session of the report, which are not
            counted otherwise.
    """

    calendar: Calendar = attrs.field(factory=Calendar)
    archives: int = 0
    files: Counter[str] = attrs.field(factory=Counter)
    days: Counter[int | None] = attrs.field(factory=Counter)
    empty: int = 0
    outside: int = 0
    repeated: int = 0
    same_id: int = 0
    unknown_scope: int = 0
    _seen: set[int] = attrs.field(factory=set)
    # The digests since the last mark: those of all archives are too many to copy for each window.
    _new: set[int] = attrs.field(factory=set)
    _marked: Recordings | None = None

    def mark(self) -> None:
        """Remember what was added so far, so that `rewind` can return to it."""
        self._seen |= self._new
        self._new = set()
        self._marked = attrs.evolve(self, files=self.files.copy(), days=self.days.copy(), seen=set(), marked=None)

    def rewind(self) -> None:
        """Forget what was added since the last `mark`; without one, everything."""
        marked = self._marked or Recordings(self.calendar)
        self._new = set()
        self.archives, self.files, self.days = marked.archives, marked.files.copy(), marked.days.copy()
        self.empty, self.outside, self.repeated = marked.empty, marked.outside, marked.repeated
        self.same_id, self.unknown_scope = marked.same_id, marked.unknown_scope

    def add(
        self, archives: Iterable[Archive], first: int = 0, last: int = 1 << 32, *, is_known: bool | None = True
    ) -> None:
        """Add archives whose day is unknown, or between two days, given as ordinals.

        Args:
            archives: The archives.
            first: The first day.
            last: The last day.
            is_known: Whether they are known to be of the room or the session of the report; if not, they are only
                counted.
        """
        for archive in archives:
            at = milliseconds(archive.trans_at)
            day = None if at is None else self.calendar.place(at).day
            if day is not None and not first <= day <= last:
                self.outside += 1
                continue
            if not is_known:
                self.unknown_scope += 1
                continue
            files = archive.files
            if archive.archive_id:
                # With its query: it may be a signature, or say which file it is.
                urls = tuple((file.kind, file.url) for file in files)
                known, digest = hash(archive.archive_id), hash((archive.archive_id, archive.conf_num, at, urls))
                if digest in self._seen or digest in self._new:
                    self.repeated += 1
                    continue
                self.same_id += known in self._seen or known in self._new
                self._new |= {known, digest}
            self.archives += 1
            self.files.update(file.kind for file in files)
            self.days[day] += 1
            self.empty += not files
