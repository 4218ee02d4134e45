"""The report of a bulk run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Self

import attrs

from videoapi.bulk.outcome import BulkOutcome
from videoapi.bulk.report_document import ReportDocument, document_from, error_document, outcome_document
from videoapi.errors import ConfigurationError, VideoAPIError


@attrs.define(kw_only=True)
class BulkReport:
    """The result of a bulk run, updated while it runs.

    Args:
        total: Number of inputs that have an outcome.
        counts: Number of outcomes by status.
        made: Outcomes `created` and `deleted`, in input order.
        failures: Outcomes `failed`, in input order.
        unknown: Outcomes `unknown`, in input order; a create's `reference` finds its room.
        not_sent: Outcomes of inputs that were read but not sent, in input order.
        exhausted: Whether the inputs were read to the end.
        stopped: The error that stopped the run early, or None. A timeout that only cut the final audit short is not
            one.
        concurrency: Number of items that may be in flight now; decreases when the service is overloaded.
        in_doubt: Number of creates that wait for proof now.
        settles_at: When the settle time ends, in seconds of the event loop's clock; None unless the run waits for
            proof.
        audited: The moment for which the room list proves that `duplicates` and `missing` are complete. None if it
            was not read, could not be read, does not show the known rooms, or was read less than a settle time
            after the last create: then `duplicates` and `missing` name only what was found.
        duplicates: IDs of the rooms that carry the same reference, by reference, oldest first.
        missing: Outcomes `created` whose room no longer exists at the end, by index. `create_each` keeps no
            outcomes: these name the index and the room ID only.
        removed: IDs of the duplicate rooms that `dedupe="delete"` has deleted.
    """

    total: int = 0
    counts: Counter[str] = attrs.field(factory=Counter)
    made: list[BulkOutcome] = attrs.field(factory=list, repr=False)
    failures: list[BulkOutcome] = attrs.field(factory=list, repr=False)
    unknown: list[BulkOutcome] = attrs.field(factory=list, repr=False)
    not_sent: list[BulkOutcome] = attrs.field(factory=list, repr=False)
    exhausted: bool = False
    stopped: VideoAPIError | None = None
    concurrency: int = 0
    in_doubt: int = 0
    settles_at: float | None = None
    audited: datetime | None = None
    duplicates: dict[str, tuple[str, ...]] = attrs.field(factory=dict, repr=False)
    missing: list[BulkOutcome] = attrs.field(factory=list, repr=False)
    removed: list[str] = attrs.field(factory=list, repr=False)

    @property
    def has_rows(self) -> bool:
        """Whether it has outcomes, not only their number."""
        return bool(self.made or self.failures or self.unknown or self.not_sent)

    @property
    def is_done(self) -> bool:
        """Whether every input was read and has an outcome that is final."""
        return self.exhausted and not self.counts["not_sent"] and not self.counts["unknown"]

    @property
    def totals(self) -> dict[str, int | bool]:
        """The numbers of a run, without the IDs of its rooms."""
        return {
            "total": self.total,
            **self.counts,
            "duplicates": len(self.duplicates),
            "missing": len(self.missing),
            "exhausted": self.exhausted,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dictionary of JSON values, for `from_dict` in another process.

        Outcomes keep their index, key, reference, status, room ID, error and `changed`. They lose specs, rooms, tokens,
        and the `__cause__` of errors. A key of a type that no job accepts becomes text.
        """
        return ReportDocument(
            total=self.total,
            counts=dict(self.counts),
            made=[outcome_document(outcome) for outcome in self.made],
            failures=[outcome_document(outcome) for outcome in self.failures],
            unknown=[outcome_document(outcome) for outcome in self.unknown],
            not_sent=[outcome_document(outcome) for outcome in self.not_sent],
            exhausted=self.exhausted,
            stopped=error_document(self.stopped),
            concurrency=self.concurrency,
            in_doubt=self.in_doubt,
            audited=self.audited,
            duplicates={reference: list(rooms) for reference, rooms in self.duplicates.items()},
            missing=[outcome_document(outcome) for outcome in self.missing],
            removed=self.removed,
        ).to_dict()

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Return the report from the result of `to_dict`; fields of later versions are ignored.

        Args:
            document: The result of `to_dict`, even if it was encoded as JSON and decoded in between.

        Raises:
            ConfigurationError: If it is not such a dictionary, or contradicts itself.
        """
        read = document_from(document)
        report = cls(
            total=read.total,
            made=[row.outcome() for row in read.made],
            failures=[row.outcome() for row in read.failures],
            unknown=[row.outcome() for row in read.unknown],
            not_sent=[row.outcome() for row in read.not_sent],
            exhausted=read.exhausted,
            stopped=None if read.stopped is None else read.stopped.error(),
            concurrency=read.concurrency,
            in_doubt=read.in_doubt,
            audited=read.audited,
            duplicates={reference: tuple(rooms) for reference, rooms in read.duplicates.items()},
            missing=[row.outcome() for row in read.missing],
            removed=read.removed,
        )
        report.counts.update(read.counts)
        return report

    def merge(*reports: BulkReport | Iterable[BulkReport]) -> BulkReport:
        """Merge the reports of several runs with different inputs, such as the shards of a job, into one.

        Call `BulkReport.merge(reports)` or `report.merge(other)`. Counts are added up. The inputs of each report follow
        those of the report before it, so its indexes increase by the totals of all earlier ones. `stopped` is the first
        error, `exhausted` is true if it is true in all reports, and `audited` is the earliest moment if all have one.

        Args:
            reports: Reports, or iterables of reports, in the order of their inputs.

        Raises:
            ConfigurationError: If one of them is not a report.
        """
        merged = BulkReport(exhausted=True)
        audited: list[datetime | None] = []
        for report in _flat(reports):
            first = merged.total
            merged.total += report.total
            merged.counts.update(report.counts)
            for name in ("made", "failures", "unknown", "not_sent", "missing"):
                rows: list[BulkOutcome] = getattr(report, name)
                moved = rows if first == 0 else [attrs.evolve(row, index=row.index + first) for row in rows]
                getattr(merged, name).extend(moved)
            merged.exhausted = merged.exhausted and report.exhausted
            merged.stopped = merged.stopped or report.stopped
            merged.concurrency = max(merged.concurrency, report.concurrency)
            merged.in_doubt += report.in_doubt
            audited.append(report.audited)
            for reference, rooms in report.duplicates.items():
                known = merged.duplicates.get(reference, ())
                merged.duplicates[reference] = tuple(dict.fromkeys((*known, *rooms)))
            merged.removed.extend(report.removed)
        moments = [moment for moment in audited if moment is not None]
        merged.audited = min(moments) if moments and len(moments) == len(audited) else None
        return merged

    def count(self, outcome: BulkOutcome, *, keep: bool = True) -> None:
        """Count an outcome.

        Args:
            outcome: The outcome.
            keep: Whether to keep its row; false if it is yielded instead.
        """
        self.total += 1
        self.counts[outcome.status] += 1
        if keep:
            self.keep(outcome)

    def keep(self, outcome: BulkOutcome) -> None:
        """Keep an outcome's row.

        Args:
            outcome: The outcome.
        """
        match outcome.status:
            case "created" | "deleted":
                self.made.append(outcome)
            case "failed":
                self.failures.append(outcome)
            case "unknown":
                self.unknown.append(outcome)
            case "not_sent":
                self.not_sent.append(outcome)

    def sort(self) -> None:
        """Sort the rows by input order."""
        for rows in (self.made, self.failures, self.unknown, self.not_sent):
            rows.sort(key=lambda outcome: outcome.index)


def _flat(reports: Iterable[BulkReport | Iterable[BulkReport]]) -> Iterator[BulkReport]:
    for given in reports:
        several: Iterable[object] = (given,) if isinstance(given, BulkReport) else given
        if isinstance(given, str | Mapping) or not isinstance(several, Iterable):
            raise ConfigurationError(f"A merged report is one of reports, not of {type(given).__name__}.")
        for report in several:
            if not isinstance(report, BulkReport):
                raise ConfigurationError(f"A merged report is one of reports, not of {type(report).__name__}.")
            yield report


BulkProgress = Callable[[BulkReport], Awaitable[object] | object]
"""A function or coroutine function that receives the report after each outcome. Its errors are logged."""
