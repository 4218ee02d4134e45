"""Creates whose answer was lost, and the error of those that stay so."""

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
    """One create that may or may not have been carried out.

    Args:
        request: The create.
        create: Where it stands in the protocol.
        outcome: The answer that proved nothing; None where another process sent it.
        room: The room, where a list or an answer has shown it.
        item: What a bulk run knows it by.
    """

    request: Request
    create: Create
    outcome: Outcome | None = None
    room: Room | None = None
    item: Any = None

    @property
    def reference(self) -> str:
        assert self.request.reference is not None
        return self.request.reference

    def error(self) -> VideoAPIError:
        """Return the error of a create that ended without a room."""
        outcome = self.outcome
        if outcome is None:
            return CreateOutcomeUnknown(
                f"{self.request.method} {self.request.route.template}: an earlier run may have made this room, "
                "and nothing proves it. Look for its reference before creating it again.",
                method=self.request.method,
                path=self.request.route.template,
                reference=self.reference,
                may_have_executed=True,
            )
        if self.create.step is Step.NOT_MADE:
            reason = f"{outcome.reason or 'no answer that proves anything'}; the room was looked for and is not there"
            outcome = attrs.evolve(outcome, may_have_executed=False, reason=reason)
        return error_from_outcome(
            self.request, attrs.evolve(outcome, attempts=max(outcome.attempts, self.create.sends))
        )


class Memory:
    """When each doubtful create of this process was last sent, bounded; `resolve` asks it."""

    def __init__(self) -> None:
        self._sent: OrderedDict[str, tuple[float, bool]] = OrderedDict()

    def note(self, request: Request) -> None:
        """Note that a create may have been carried out, and that it was not sent later than now."""
        if request.reference is None:
            return
        self._sent[request.reference] = (asyncio.get_running_loop().time(), request.reference_in_data)
        self._sent.move_to_end(request.reference)
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)

    def of(self, reference: str) -> tuple[float, bool] | None:
        """Return when it was last sent, and whether the reference stands in `data`; None if not known."""
        return self._sent.get(reference)

    def latest(self, mark: str) -> float:
        """Return when the last doubtful create of a job was sent; minus infinity without one."""
        return max(
            (at for reference, (at, _) in self._sent.items() if reference.startswith(mark)),
            default=float("-inf"),
        )
