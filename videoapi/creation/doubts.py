"""Unresolved creates, whose response was lost, and their errors."""

from __future__ import annotations

from typing import Any

import attrs

from videoapi.creation.references import variants
from videoapi.creation.scan import ListedRoom
from videoapi.creation.state import Create, Step
from videoapi.errors import CreateOutcomeUnknown, VideoAPIError, text_of
from videoapi.models.rooms import Room
from videoapi.protocol.error_mapping import error_from_outcome
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request
from videoapi.protocol.types import Verdict


@attrs.define
class Doubt:
    """An unresolved create, which may or may not have been executed.

    Args:
        request: The create request.
        create: Its state in the protocol.
        outcome: The inconclusive outcome; None if this process has not sent it.
        listed: The room, if a list has shown it.
        item: The item of a bulk run, if it belongs to one.
        later: The error that ended the search for the room.
    """

    request: Request
    create: Create
    outcome: Outcome | None = None
    listed: ListedRoom | None = None
    item: Any = None
    later: Exception | None = None

    @property
    def room(self) -> Room | None:
        """The room, if a list or a response has shown it."""
        if self.listed is not None:
            return self.listed.room
        made = self.outcome is not None and self.outcome.verdict is Verdict.DONE
        room: Room | None = self.outcome.value if made and self.outcome is not None else None
        return room

    @property
    def reference(self) -> str:
        assert self.request.reference is not None
        return self.request.reference

    @property
    def references(self) -> tuple[str, ...]:
        """The references to look for: an earlier run may have sent a spec that had, or lacked, an `owner_ref`."""
        return (self.reference,) if self.outcome is not None else variants(self.reference)

    @property
    def forms(self) -> set[bool]:
        """Whether these are in `data`."""
        return {self.request.reference_in_data} if self.outcome is not None else {True, False}

    def error(self) -> VideoAPIError:
        """Return the error of a create that ended without a room."""
        outcome = self.outcome
        if outcome is None:
            error = CreateOutcomeUnknown(
                f"{self.request.method} {self.request.route.template}: an earlier run may have created this room, "
                f"and nothing proves it{f' ({text_of(self.later)})' if self.later is not None else ''}. "
                f'Before creating it again, call rooms.resolve("{self.reference}").',
                method=self.request.method,
                path=self.request.route.template,
                reference=self.reference,
                may_have_executed=True,
            )
            error.__cause__ = self.later
            return error
        if self.create.step is Step.NOT_MADE:
            reason = f"{outcome.reason or 'no answer that proves anything'}; the room was looked for and is not there"
            outcome = attrs.evolve(outcome, may_have_executed=False, reason=reason)
        elif self.later is not None:
            outcome = still_unknown(outcome, self.later)
        return error_from_outcome(
            self.request, attrs.evolve(outcome, attempts=max(outcome.attempts, self.create.sends))
        )


def still_unknown(outcome: Outcome, error: Exception) -> Outcome:
    """Return the outcome of a create that stays unknown, with the error that ended the search for its room."""
    # Only what failed: the rest of its text says whether the list was read, not what became of the room.
    failed = text_of(error).partition(". ")[0]
    reason = f"{outcome.reason or 'unknown outcome'}; then, looking for the room: {failed}"
    return attrs.evolve(outcome, reason=reason, cause=error)
