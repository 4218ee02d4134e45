"""The outcomes and the report of a bulk run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Literal

import attrs

from videoapi.errors import VideoAPIError

Status = Literal["created", "deleted", "failed", "unknown", "not_sent"]


@attrs.frozen(kw_only=True)
class BulkOutcome:
    """The outcome of one input of a bulk run.

    Args:
        index: The input's position, from 0.
        key: The input's key as given, or None if it has none; for a delete, the room ID.
        spec: The input as given, so that you can run the failures again; None if the input succeeded.
        reference: The reference of a create; the room carries it if it exists.
        status: `created`, `deleted`, `failed` (definitely not done), `unknown` (may be done) or
            `not_sent`.
        room_id: ID of the room that was created or deleted, or that the token is for.
        token: The issued token; only `.value` reveals its text.
        error: The error of an input that did not succeed, or None.
        room: The created room, if the run keeps rooms.
        changed: Whether the room was created by an earlier run of the job, and its settings or data differ from
            the spec; the room was not updated.
    """

    index: int
    key: Any = None
    reference: str | None = None
    status: Status
    room_id: str | None = None
    token: Any = None
    error: VideoAPIError | None = None
    room: Any = None
    changed: bool = False
    spec: Any = attrs.field(default=None, repr=False)


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
        stopped: The error that stopped the run early, or None.
        concurrency: Number of items that may be in flight now; decreases when the service is overloaded.
        in_doubt: Number of creates that wait for proof now.
        settles_at: While the run waits for proof: when the settle time ends, in seconds of the event loop's clock.
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
    def totals(self) -> dict[str, int | bool]:
        """The numbers of a run, without what identifies its rooms."""
        return {
            "total": self.total,
            **self.counts,
            "duplicates": len(self.duplicates),
            "missing": len(self.missing),
            "exhausted": self.exhausted,
        }

    def count(self, outcome: BulkOutcome, *, keep: bool = True) -> None:
        """Count an outcome.

        Args:
            outcome: The outcome.
            keep: Whether to keep its row; not if it is yielded instead.
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


BulkProgress = Callable[[BulkReport], Awaitable[object] | object]
"""Callback or coroutine function that receives the report after each outcome. What it raises is logged."""
