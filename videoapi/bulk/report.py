"""What became of each input of a bulk run, and of the run as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import attrs

from videoapi.errors import VideoAPIError

Status = Literal["created", "deleted", "failed", "unknown", "not_sent"]


@attrs.frozen(kw_only=True)
class BulkOutcome:
    """What one input of a bulk run ended as.

    Args:
        index: The input's place, from 0.
        key: The input's key as it was given, or None where it has none; a delete's key is its room id.
        reference: The mark of a create; the room carries it if it exists.
        status: `created`, `deleted`, `failed` (certainly not done), `unknown` (may be done) or
            `not_sent`.
        room_id: The room made, deleted, or that the token is for.
        token: The token issued; its text comes only from `.value`.
        error: Why not.
        room: The room made, where the run keeps rooms.
    """

    index: int
    key: Any = None
    reference: str | None = None
    status: Status
    room_id: str | None = None
    token: Any = None
    error: VideoAPIError | None = None
    room: Any = None


@attrs.define(kw_only=True)
class BulkReport:
    """What a run has done; it grows while the run goes on.

    Args:
        total: Inputs that have an outcome.
        counts: How many ended as what, by status.
        made: Outcomes that are `created` or `deleted`, by index.
        failures: Outcomes that are `failed`, by index.
        unknown: Outcomes that nobody knows, by index; a create's `reference` finds its room.
        not_sent: Outcomes of inputs that were read but not sent, by index.
        exhausted: Whether the inputs were read to their end.
        stopped: What stopped the run before that, if anything did.
        concurrency: How many may be in flight now; it falls when the service is overloaded.
        audited: Whether the list of rooms was read whole at the end of a run of creates.
        duplicates: Ids of the rooms that carry the same reference, by reference, the oldest first.
        missing: Outcomes that are `created`, but whose room is gone at the end.
        removed: Ids of the surplus rooms that `dedupe="delete"` has deleted.
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
    audited: bool = False
    duplicates: dict[str, tuple[str, ...]] = attrs.field(factory=dict, repr=False)
    missing: list[BulkOutcome] = attrs.field(factory=list, repr=False)
    removed: list[str] = attrs.field(factory=list, repr=False)

    def count(self, outcome: BulkOutcome, *, keep: bool = True) -> None:
        """Count an outcome, and add its row unless it is handed out."""
        self.total += 1
        self.counts[outcome.status] += 1
        if keep:
            self.keep(outcome)

    def keep(self, outcome: BulkOutcome) -> None:
        """Add an outcome's row."""
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
        """Put the rows into the order of the inputs."""
        for rows in (self.made, self.failures, self.unknown, self.not_sent):
            rows.sort(key=lambda outcome: outcome.index)


BulkProgress = Callable[[BulkReport], object]
"""Called after each outcome with the report so far; it must not block."""
