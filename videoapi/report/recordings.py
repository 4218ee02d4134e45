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
    """

    calendar: Calendar = attrs.field(factory=Calendar)
    archives: int = 0
    files: Counter[str] = attrs.field(factory=Counter)
    days: Counter[int | None] = attrs.field(factory=Counter)
    empty: int = 0
    outside: int = 0
    repeated: int = 0
    same_id: int = 0
    _seen: set[int] = attrs.field(factory=set)

    def add(self, archives: Iterable[Archive], first: int = 0, last: int = 1 << 32) -> None:
        """Add archives whose day is unknown, or between two days, given as ordinals."""
        for archive in archives:
            at = milliseconds(archive.trans_at)
            day = None if at is None else self.calendar.place(at).day
            if day is not None and not first <= day <= last:
                self.outside += 1
                continue
            files = archive.files
            if archive.archive_id:
                # With its query: it may be a signature, or say which file it is.
                urls = tuple((file.kind, file.url) for file in files)
                known, digest = hash(archive.archive_id), hash((archive.archive_id, archive.conf_num, at, urls))
                if digest in self._seen:
                    self.repeated += 1
                    continue
                self.same_id += known in self._seen
                self._seen |= {known, digest}
            self.archives += 1
            self.files.update(file.kind for file in files)
            self.days[day] += 1
            self.empty += not files
