"""What an export on disk says about itself: its days in UTC, when it was made, and the room or the session it is of.

A folder says it in its manifest or its notes, a file in the state that `videoapi cdr export` leaves next to it.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import IO, Any, Final, cast

import attrs

from videoapi.arrow.periods import LATE_DAYS, day_of, stays_open, utc_today
from videoapi.report.calendar import ReportPeriod

MANIFEST: Final = "_manifest.json"
_SOURCE: Final = "_source.json"
_STATE: Final = ".state"
_VERSION: Final = 1
_MAX_STATE: Final = 1 << 26
_BLOCK: Final = 1 << 20
_DAY: Final = timedelta(days=1)
EVER: Final = (date.min, date.max)
"""The days of what may be of any day."""
_UNREADABLE: Final = (
    *(OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError, ArithmeticError),
    RecursionError,
)


@attrs.frozen(kw_only=True)
class Coverage:
    """What an export says about itself.

    Args:
        days: Its periods of days in UTC, in order; None if it does not say.
        exported: When each of these periods was exported, as far as it says.
        open_from: The first day in UTC to which the service may have added records since; None if it does not say.
        room_id: The room to which it is limited, or None.
        conf_num: The session to which it is limited, or None.
        account: Its APP_ID and the origin of its service; None if it does not say.
        unfinished: The parts of its days that had not ended when it was made, as far as it says.
        undated: Those of its periods of which it does not say when they were exported.
        odd: How many records had a value of an unexpected type when they were exported, by field, for each of its
            parts, with its days; None for records without a readable date.
        rejected: How many records could not be read when it was made, as far as it says.
        is_changed: Whether it is a file that has changed since its export.
        is_partial: Whether it is the folder of an export without its manifest, as after an interruption.
    """

    days: tuple[tuple[date, date], ...] | None = None
    exported: Mapping[tuple[date, date], datetime] = attrs.field(factory=dict)
    open_from: date | None = None
    room_id: str | None = None
    conf_num: str | None = None
    account: tuple[str, str] | None = None
    unfinished: tuple[tuple[date, date], ...] = ()
    undated: tuple[tuple[date, date], ...] = ()
    odd: tuple[tuple[tuple[date, date] | None, Mapping[str, int]], ...] = ()
    rejected: int = 0
    is_changed: bool = False
    is_partial: bool = False

    @property
    def span(self) -> tuple[date, date]:
        """The days from its first to its last; `EVER` if it does not say."""
        return (self.days[0][0], self.days[-1][1]) if self.days else EVER

    def bounded_unfinished(self) -> tuple[tuple[date, date], ...]:
        """Return `unfinished`; nothing for an export without a period, whose last day never had ended."""
        return () if self.days and self.days[0][0] == date.min else self.unfinished

    def missing(self, period: ReportPeriod) -> list[tuple[date, date]]:
        """Return the parts of a period of days in UTC that the export does not have; none if it does not say."""
        first, last = period.first, period.last
        missing: list[tuple[date, date]] = []
        if self.days is None:
            return missing
        for begin, end in self.days:
            if begin > last:
                break
            if begin > first:
                missing.append((first, begin - _DAY))
            if end >= last:
                return missing
            first = max(first, end + _DAY)
        return [*missing, (first, last)]

    def has_all(self, period: ReportPeriod | None) -> bool:
        """Return whether the export says that it has all days of a period in UTC."""
        return period is not None and self.days is not None and not self.missing(period)

    def gaps(self, period: ReportPeriod) -> list[tuple[date, date]]:
        """Return the parts of a period of days in UTC that the export may not have: all of it, if it does not say."""
        return [(period.first, period.last)] if self.days is None else self.missing(period)

    def exported_at(self, period: ReportPeriod) -> list[datetime]:
        """Return when the parts of a period of days in UTC were exported, as far as it says."""
        return [when for span, when in self.exported.items() if period.has_any([span])]

    def open_days(self, period: ReportPeriod, today: date) -> ReportPeriod | None:
        """Return the days of a period in UTC to which the service may have added records since; None if to none.

        Args:
            period: The period.
            today: The current day in UTC, for an export that does not say when it was made.
        """
        last = period.last if not self.days else min(period.last, self.days[-1][1])
        return open_days(ReportPeriod(period.first, last), self.open_from or today - LATE_DAYS * _DAY)


def open_days(period: ReportPeriod, open_from: date) -> ReportPeriod | None:
    """Return the days of a period from a day on; None if it has none."""
    first = max(period.first, open_from)
    return None if period.last < first else ReportPeriod(first, period.last)


def coverage_of(path: Path, kind: str) -> Coverage:
    """Return what an export says about itself; nothing if it is incomplete, changed, or from elsewhere.

    This reads the whole file, to compare its digest with that of the export.

    Args:
        path: A file, also `.gz`, or a folder.
        kind: What its records must be, `cdr` or `archives`.
    """
    with contextlib.suppress(*_UNREADABLE):
        return _of_folder(path) if path.is_dir() else _of_file(path, kind)
    return Coverage()


def notes_of(folder: Path) -> list[dict[str, Any]]:
    """Return what a folder says about its files: its manifest, or before there is one, the notes of those it has."""
    if manifest := _manifest_of(folder):
        notes: list[dict[str, Any]] = manifest["files"]
        return notes
    found = [json.loads(path.read_bytes()) for path in sorted(folder.glob("_notes/[!.]*.json"))]
    return [note for note in found if (folder / note["file"]).is_file()]


def _manifest_of(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder; empty if it has none."""
    path = folder / MANIFEST
    return dict(json.loads(path.read_bytes())) if path.is_file() else {}


def _of_folder(folder: Path) -> Coverage:
    source: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        source = dict(json.loads((folder / _SOURCE).read_bytes()))
    room = source.get("room")
    notes = [note for note in notes_of(folder) if "-undated-" not in note["file"]]
    made = {_span(note["first"], note["last"]): _exported(note) for note in notes}
    odd = (
        (None if "-undated-" in note["file"] else _span(note["first"], note["last"]), note.get("odd", {}))
        for note in notes_of(folder)
    )
    return _of_days(
        made,
        odd=tuple(odd),
        rejected=_count(_manifest_of(folder)),
        room_id=room if isinstance(room, str) else None,
        account=_account(source),
        is_partial=(folder / _SOURCE).is_file() and not (folder / MANIFEST).is_file(),
    )


def _of_days(made: Mapping[tuple[date, date], datetime | None], **others: Any) -> Coverage:
    """Return what an export says that has periods of days.

    Args:
        made: When the export of each period was made, in UTC; None if it does not say.
        others: What else it says.
    """
    exported = {span: when for span, when in made.items() if when is not None}
    known = [(span, when.date()) for span, when in exported.items()]
    late = [max(first, day - LATE_DAYS * _DAY) for (first, last), day in known if stays_open(last, day)]
    return Coverage(
        days=tuple(sorted(made)) or None,
        exported=exported,
        open_from=min(late, default=date.max) if known else None,
        unfinished=tuple((max(first, day), last) for (first, last), day in known if last >= day),
        undated=tuple(span for span, when in made.items() if when is None),
        **others,
    )


def _of_file(path: Path, kind: str) -> Coverage:
    is_compressed = path.name.lower().endswith(".gz")
    name = path.name[: -len(".gz")] if is_compressed else path.name
    with path.with_name(name + _STATE).open("rb") as file:
        state = json.loads(file.read(_MAX_STATE))
    question = state["question"]
    size = state["size"] if state["result_size"] is None else state["result_size"]
    if state["version"] != _VERSION or not state["complete"] or question["records"] != kind:
        return Coverage()
    if size % (1 << 32 if is_compressed else size + 1) != _size(path, is_compressed):
        return Coverage(is_changed=True)
    if _digest(path, is_compressed) != (state["sha256"] if state["result_size"] is None else state["result_sha256"]):
        return Coverage(is_changed=True)
    made = _exported(state)
    span = _days(question, state["first"], None if made is None else made.date())
    return _of_days(
        {} if span is None else {span: made},
        odd=((span or EVER, {name.removeprefix("odd "): count for name, count in state.get("counts", {}).items()}),),
        rejected=_count(state),
        room_id=question.get("room") or None,
        conf_num=question.get("conference") or None,
        account=_account(question),
    )


def _count(note: Mapping[str, Any]) -> int:
    """Return how many records could not be read."""
    return int(note.get("rejected", 0))


def _exported(note: Mapping[str, Any]) -> datetime | None:
    """Return when an export was made, in UTC; None if it does not say, or names a day to come."""
    text = note.get("exported")
    made = day_of(text)
    # A day is more than any clock is wrong by accident.
    if made is None or made > utc_today() + _DAY:
        return None
    return datetime.fromisoformat(str(text)).astimezone(UTC)


def _account(source: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the account of an export; None if its APP_ID was not known when it was made."""
    app_id, origin = source.get("app_id"), source.get("origin")
    return (app_id, origin) if isinstance(app_id, str) and app_id and isinstance(origin, str) else None


def _days(question: Mapping[str, str], cursor: str | None, made: date | None) -> tuple[date, date] | None:
    if cursor is not None:
        # It begins in the middle of a period.
        return None
    if question["from"]:
        return _span(question["from"], question["to"])
    # Without a period, it has all days until it was made.
    return None if made is None else (date.min, made)


def _span(first: str, last: str) -> tuple[date, date]:
    return date.fromisoformat(first), date.fromisoformat(last)


def digest_of(file: IO[bytes]) -> str:
    """Return the digest of the rest of a file, as the export writes it."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _digest(path: Path, is_compressed: bool) -> str:
    """Return the digest of a file; of one that gzip has compressed, that of the original."""
    with cast("IO[bytes]", gzip.open(path, "rb")) if is_compressed else path.open("rb") as file:
        return digest_of(file)


def _size(path: Path, is_compressed: bool) -> int:
    """Return the size of a file; of one that gzip has compressed, the original size modulo 2**32."""
    if not is_compressed:
        return path.stat().st_size
    with path.open("rb") as file:
        file.seek(-4, 2)
        return int.from_bytes(file.read(4), "little")
