"""Unresolved creates, whose response was lost, and their errors."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, Final

import attrs

from videoapi.creation.state import Create, Step
from videoapi.errors import CreateOutcomeUnknown, VideoAPIError
from videoapi.models.rooms import Room
from videoapi.protocol.error_mapping import error_from_outcome
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request

_REMEMBERED: Final = 10_000


@attrs.define
class Doubt:
    """An unresolved create, which may or may not have been executed.

    Args:
        request: The create request.
        create: Its state in the protocol.
        outcome: The inconclusive outcome; None if another process sent it.
        room: The room, if a list or a response has shown it.
        item: The item of a bulk run, if it belongs to one.
        later: The error that ended the search for the room.
    """

    request: Request
    create: Create
    outcome: Outcome | None = None
    room: Room | None = None
    item: Any = None
    later: Exception | None = None

    @property
    def reference(self) -> str:
        assert self.request.reference is not None
        return self.request.reference

    def error(self) -> VideoAPIError:
        """Return the error of a create that ended without a room."""
        outcome = self.outcome
        if outcome is None:
            error = CreateOutcomeUnknown(
                f"{self.request.method} {self.request.route.template}: an earlier run may have made this room, "
                f"and nothing proves it{f' ({self.later})' if self.later is not None else ''}. "
                "Look for its reference before creating it again.",
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
    failed = str(error).partition(". ")[0].rstrip(".") or type(error).__name__
    reason = f"{outcome.reason or 'unknown outcome'}; then, looking for the room: {failed}"
    return attrs.evolve(outcome, reason=reason, cause=error)


class Memory:
    """When each unresolved create of this process was last sent, for the latest 10,000."""

    def __init__(self) -> None:
        self._sent: OrderedDict[str, tuple[float, bool]] = OrderedDict()

    def note(self, request: Request) -> None:
        """Record that a create may have been executed, and was sent no later than now."""
        if request.reference is None:
            return
        self._sent[request.reference] = (asyncio.get_running_loop().time(), request.reference_in_data)
        self._sent.move_to_end(request.reference)
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)

    def of(self, reference: str) -> tuple[float, bool] | None:
        """Return when it was last sent and whether its reference is in `data`, or None if unknown."""
        return self._sent.get(reference)

    def latest(self, mark: str) -> float:
        """Return when a job's last unresolved create was sent, or minus infinity if it has none."""
        return max(
            (at for reference, (at, _) in self._sent.items() if reference.startswith(mark)),
            default=float("-inf"),
        )
