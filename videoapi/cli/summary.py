"""What a bulk run prints at its end: counts, failures, and the commands that continue it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from heapq import nsmallest
from pathlib import Path
from typing import Any, Final

import attrs

from videoapi.bulk import BulkOutcome, BulkReport
from videoapi.bulk.audit import NOT_CHECKED
from videoapi.cli.id_column import IdColumn
from videoapi.cli.inputs import InputFile
from videoapi.cli.job_rooms import JobRoom, earlier_outcomes, rooms_without_line
from videoapi.cli.outcomes import MOST_SHOWN, OutcomeFile
from videoapi.cli.terminal import clean, counted, for_people, print_command, print_json, print_status
from videoapi.creation.references import is_in_data, prefix_of
from videoapi.errors import ConfigurationError
from videoapi.models.rooms import RoomSpec

_STATUSES: Final = ("created", "deleted", "not_found", "failed", "unknown", "not_sent")


@attrs.frozen(kw_only=True)
class BulkOptions:
    """The output options of a bulk run.

    Args:
        out: The outcome file.
        as_json: Whether to print a report as JSON.
        quiet: Whether to print neither progress nor a summary.
        again: The words of the command that continues the run; empty if none does.
        to_continue: What that command is for.
        resolve: The words of `rooms resolve` with its options for this account, without the reference.
        with_ids: A copy of the input to write at the end, or None.
        settled: Whether the list of rooms was to prove the result.
        audit: The words of `rooms audit` for the job of this run; empty if it cannot be audited.
        same_rooms: By the outcome file of a job, the keys of lines whose room it seems to have under other keys.
    """

    out: Path
    as_json: bool
    quiet: bool
    again: Sequence[str]
    to_continue: str = "To continue:"
    resolve: Sequence[str] = ()
    with_ids: IdColumn | None = None
    settled: bool = False
    audit: Sequence[str] = ()
    same_rooms: dict[str, AbstractSet[str | int]] = attrs.field(factory=dict)

    def tell_same_rooms(self) -> list[str]:
        """Return what is said of these lines, as one text for each job."""
        return [
            f"Lines with the name and start of rooms that {'this job' if out == str(self.out) else f'the job {out}'} "
            f"has created under other keys: {len(keys):,}. By their keys, they are other rooms."
            for out, keys in self.same_rooms.items()
        ]


class Summary:
    """The summary of a run.

    Args:
        options: The output options.
        given: The inputs.
        file: The outcomes.
    """

    def __init__(self, options: BulkOptions, given: InputFile[Any], file: OutcomeFile) -> None:
        self.report: BulkReport = BulkReport()
        self.stopped: str | None = ""
        """Why the run ended early, unless its report says it; None if it never began."""
        self.to_continue: str = options.to_continue
        self.warnings: list[str] = []
        """What the library has logged about the run as a whole."""
        self.throttled: str = ""
        """What to do about responses with HTTP 429, if there were many."""
        self._options = options
        self._given = given
        self._file = file
        self._earlier = 0
        self._changed = 0
        self._unknown: str | None = None
        self._known: dict[bool, str] = {}

    def note(self, outcome: BulkOutcome, given: object, *, earlier: bool) -> None:
        """Note the outcome of an input; `earlier` says that this run has not sent its create."""
        if outcome.status == "created":
            self._earlier += earlier
            self._changed += outcome.changed
            if isinstance(given, RoomSpec) and outcome.reference and outcome.room_id and _is_permanent(given):
                self._known[is_in_data(outcome.reference)] = outcome.room_id
        elif outcome.status == "unknown" and self._unknown is None:
            self._unknown = outcome.reference

    def tell(self, seconds: float) -> None:
        """Print the summary."""
        report, file, options = self.report, self._file, self._options
        unread = 0 if report.exhausted else max(0, self._given.total - file.total)
        stopped = self.stopped
        if stopped is None:
            return
        if not stopped and (report.stopped is not None or not report.exhausted):
            stopped = (
                "Stopped before the end"
                if report.stopped is None
                else f"Stopped before the end: {for_people(report.stopped)}"
            )
        if not stopped and file.error is not None:
            stopped = "The outcome file could not be completed"
        for line in file.shown:
            print_status(line, quiet=options.quiet)
        if file.not_shown:
            print_status(
                f"{file.not_shown:,} more did not succeed; the outcome file has them all.", quiet=options.quiet
            )
        self._tell_audit(complete=not stopped)
        for warning in self.warnings:
            print_status(f"Warning: {warning}")
        if self._not_checked and options.audit and not stopped:
            print_status("To check them:")
            print_command(options.audit)
        if self.throttled:
            print_status(self.throttled)
        surplus = [] if stopped else self._without_line()
        self._tell_differences(surplus)
        same_rooms = self._lines_of_same_rooms()
        for text, lines in zip(options.tell_same_rooms(), same_rooms.values(), strict=True):
            print_status(text, quiet=options.quiet)
            if not options.quiet:
                _tell_first([f"line {line}" for line in lines])
        if stopped:
            print_status(f"{stopped.rstrip('.')}.")
        done = words(file.counts)
        if self._earlier and report.missing:
            # Not "created": they do not exist.
            now = file.counts["created"] - self._earlier
            first = f"{now:,} created, " if now else ""
            earlier = counted(self._earlier, "was created earlier", "were created earlier")
            lost = f"{first}{earlier}, {counted(len(report.missing), 'no longer exists', 'no longer exist')}"
            done = done.replace(f"{file.counts['created']:,} created", lost)
        elif self._earlier:
            done = done.replace(" created", f" created ({self._earlier:,} of them earlier)")
        done = done.replace(" not found", " not found (deleted earlier, or never existed)")
        never_read = counted(unread, "line never read", "lines never read") if unread else ""
        done = ", ".join(filter(None, (done, never_read))) or "nothing to do"
        there = "No outcome could be written" if file.there is None else f"Outcomes: {file.there}"
        if file.there is not None and file.unwritten:
            there += f", without {file.unwritten:,} that could not be written"
        print_status(f"{done}, in {seconds:.1f} s. {there}", quiet=options.quiet and not stopped)
        if stopped or file.counts["unknown"]:
            self._advise()
        if options.as_json:
            summary = {
                "total": file.total,
                "counts": {status: file.counts[status] for status in _STATUSES if file.counts[status]},
                "unread": unread,
                "exhausted": report.exhausted,
                "stopped": stopped or None,
                "changed": self._changed,
                "without_line": [room.to_dict() for room in surplus],
                "audited": None if report.audited is None else report.audited.isoformat(),
                "duplicates": report.duplicates,
                "removed": report.removed,
                "missing": [outcome.room_id for outcome in report.missing],
                "same_rooms": same_rooms,
                "outcomes": None if file.there is None else str(file.there),
                "seconds": round(seconds, 3),
            }
            print_json(summary)

    def _without_line(self) -> list[JobRoom]:
        """Return the rooms that earlier runs of this job have created for lines that its table no longer has."""
        if not self._options.audit or not earlier_outcomes(self._file.path):
            return []
        keys: set[str | int | None] = set()
        reference = ""
        for row in self._file.rows():
            keys.add(row["key"])
            reference = reference or row["reference"] or ""
        return rooms_without_line(self._file.path, keys, prefix_of(reference)) if reference else []

    def _tell_differences(self, surplus: Sequence[JobRoom]) -> None:
        """Print the lines that differ from their rooms, the rooms that have no line, and which command lists them."""
        options = self._options
        if options.quiet or not (self._changed or surplus):
            return
        if self._changed:
            print_status(
                f"Lines that changed since their room was created: {self._changed:,}. The rooms stay as they are."
            )
            if options.audit:
                changed = ((row["line"], row["key"]) for row in self._file.rows() if row["changed"])
                _tell_first([f"line {line}: {key}" for line, key in nsmallest(MOST_SHOWN, changed)], self._changed)
        if surplus:
            print_status(
                "Rooms that earlier runs of this job created for lines that the file no longer has: "
                f"{len(surplus):,}. This run has not deleted them."
            )
            _tell_first([f"{room}" for room in surplus[:MOST_SHOWN]], len(surplus))
        if options.audit:
            print_status("To list all differences between the file and the rooms of this job:")
            print_command(options.audit)

    def write_ids(self) -> bool:
        """Write the copy of the input with the IDs of its rooms, if there is to be one.

        Returns:
            Whether it was written. If not, prints why; an error would hide why the run ended.
        """
        copy = self._options.with_ids
        if copy is None:
            return True
        is_early = (
            self.stopped != ""
            or self.report.stopped is not None
            or not self.report.exhausted
            or self._file.error is not None
        )
        if is_early and copy.path.exists():
            # It may have IDs that this run has not read.
            print_status(f"{copy.path} is as before, because the run ended early.", quiet=self._options.quiet)
            return True
        gone = {outcome.room_id for outcome in self.report.missing if outcome.room_id}
        try:
            with_id, total = copy.write(self._file.rows(), gone)
        except ConfigurationError as error:
            print_status(f"{copy.path} was not written: {error}")
            return False
        except OSError as error:
            print_status(f"{copy.path} was not written: {error.strerror or type(error).__name__}")
            return False
        without = f", {len(gone):,} without one because the room no longer exists" if gone else ""
        print_status(f"{with_id:,} of {total:,} lines have a room_id{without}: {copy.path}", quiet=self._options.quiet)
        return True

    @property
    def exact(self) -> bool:
        """Whether no room exists twice, and no room that was created is missing."""
        return not (self._left_twice() or self.report.missing)

    @property
    def _not_checked(self) -> bool:
        return any(warning.startswith(NOT_CHECKED) for warning in self.warnings)

    def _left_twice(self) -> dict[str, list[str]]:
        """Return the IDs of the rooms that exist twice, by reference, without those that were deleted."""
        removed = set(self.report.removed)
        left = {
            reference: [room_id for room_id in ids if room_id not in removed]
            for reference, ids in self.report.duplicates.items()
        }
        return {reference: ids for reference, ids in left.items() if len(ids) > 1}

    def _tell_audit(self, *, complete: bool) -> None:
        """Print the rooms that exist twice, those that are missing, and what a settled audit has proved.

        Args:
            complete: Whether the run has ended, so that it was audited.
        """
        report = self.report
        if self._options.settled and complete and (self._file.counts["created"] or self._file.counts["unknown"]):
            if report.audited is None:
                text = "Not proven that each room of this job exists once"
                if not self._not_checked:
                    text += (
                        ": the list of rooms lags, or lacks rooms that exist, or the run ended before the settle time"
                    )
                text += "."
            else:
                proven = (
                    "no room of this job exists twice or is missing"
                    if self.exact
                    else "rooms of this job exist twice or are missing"
                )
                text = f"Proven by the list of rooms at {report.audited:%Y-%m-%d %H:%M:%S} UTC: {proven}."
            print_status(text, quiet=self._options.quiet)
        if report.removed:
            print_status(f"Duplicate rooms deleted: {len(report.removed):,}.")
        if left := self._left_twice():
            print_status(
                f"References with more than one room: {len(left):,}. --dedupe delete deletes the surplus rooms, except "
                "of creates that an earlier run began and did not finish. Delete those with rooms delete-many."
            )
            _tell_first([f"reference {reference}: rooms {', '.join(ids)}" for reference, ids in left.items()])
        if report.missing:
            print_status(f"Rooms that were created and no longer exist: {len(report.missing):,}.")
            ids = [str(outcome.room_id) for outcome in report.missing]
            lines = self._file.lines_of(ids[:MOST_SHOWN])
            _tell_first([f"line {lines.get(room_id, '?')}: room {room_id}" for room_id in ids])

    def _lines_of_same_rooms(self) -> dict[str, list[int]]:
        """Return, by outcome file, the numbers of the lines whose room a job seems to have under another key."""
        found: dict[str, list[int]] = {out: [] for out in self._options.same_rooms}
        if found:
            for row in self._file.rows():
                for out, keys in self._options.same_rooms.items():
                    if row["key"] in keys:
                        found[out].append(row["line"])
        return {out: sorted(lines) for out, lines in found.items()}

    def _advise(self) -> None:
        """Print the commands that continue the run, and that find an unknown room."""
        if not self._options.again:
            print_status("This run cannot be continued: no job files are next to its outcome file.")
            return
        print_status(self.to_continue)
        print_command(self._options.again)
        if not self._options.resolve or self._unknown is None:
            return
        # Only a room with its reference in the same field can prove that another one does not exist.
        known = self._known.get(is_in_data(self._unknown))
        if known is None or known in {outcome.room_id for outcome in self.report.missing}:
            print_status("Unknown rooms may exist. The command above looks for all of them.")
            return
        print_status("Unknown rooms may exist. The command above looks for all of them; to look for the first alone:")
        print_command((*self._options.resolve, self._unknown, "--control", clean(known)))


def _tell_first(texts: Sequence[str], total: int | None = None) -> None:
    """Print the first texts, and how many there are in addition.

    Args:
        texts: The texts; of all, unless `total` is given.
        total: How many there are, if what follows lists them; by default, --json does.
    """
    for text in texts[:MOST_SHOWN]:
        print_status(f"  {text}")
    more = (len(texts) if total is None else total) - MOST_SHOWN
    if more > 0:
        print_status(f"  and {more:,} more{'; --json lists them all' if total is None else ''}.")


def _is_permanent(spec: RoomSpec) -> bool:
    return str(spec.to_wire()["settings"].get("adhoc", False)).lower() not in ("true", "1")


def words(counts: Mapping[str, int], *, but: str = "") -> str:
    """Return counts as text, such as `998 created, 2 failed`."""
    return ", ".join(
        f"{counts[status]:,} {status.replace('_', ' ')}" for status in _STATUSES if counts.get(status) and status != but
    )
