"""What a kind of bulk run does: how an input becomes a request, an answer an outcome, a doubt a proof."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

import attrs
import msgspec

from videoapi.bulk.report import BulkOutcome, BulkReport
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Options, Request

S = TypeVar("S")


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One input, ready to be sent."""

    index: int
    request: Request
    key: Any = None
    room_id: str | None = None
    given: Any = None


@attrs.frozen(kw_only=True)
class Plan(Generic[S]):
    """What a kind of run does: how an input becomes a request, and an answer an outcome.

    `prepare` gets an input's index, the input, and what `key_of` says of it.
    """

    prepare: Callable[[int, S, Any], Item]
    key_of: Callable[[S], Any]
    finish: Callable[[Item, Any], BulkOutcome]


Emit = Callable[[BulkOutcome], Awaitable[None]]


class Settling(Protocol):
    """What a run asks about items that may be done; without one they end as `unknown`."""

    @property
    def remembers(self) -> bool:
        """Whether items may be known from before; else there is nothing to recall."""
        ...

    async def open(self) -> None:
        """Learn what an earlier process may have done; called before the first input is read."""
        ...

    async def recall(self, item: Item) -> BulkOutcome | None:
        """Return what an item ended as earlier, or put it in doubt; None where it is to be sent."""
        ...

    def in_doubt(self, item: Item) -> bool:
        """Tell whether an item waits to be settled."""
        ...

    def ended(self, item: Item, outcome: Outcome) -> None:
        """Note what a send of an item has proved."""
        ...

    def torn_down(self, item: Item) -> None:
        """Note that an item was given up while it was in flight."""
        ...

    async def settle(self, emit: Emit, stopping: Callable[[], bool]) -> list[Item]:
        """Settle what is in doubt, hand out what is final, and return what may be sent again."""
        ...

    def unsettled(self) -> list[BulkOutcome]:
        """Return what is still in doubt where the run is torn down."""
        ...

    async def audit(self, report: BulkReport) -> None:
        """Look at the result as a whole."""
        ...

    async def aclose(self) -> None:
        """Release what the run needed."""
        ...


def key_of(spec: object) -> Any:
    """Return the key that names an input, or None.

    Anything may stand among the inputs; what is no spec is refused as that input's outcome.
    """
    return getattr(spec, "key", None)


def single_attempt(options: Options) -> Options:
    """Return the limits of a bulk item: one attempt, as the run decides whether there is another."""
    return attrs.evolve(options, retry=attrs.evolve(options.retry, attempts=1))
