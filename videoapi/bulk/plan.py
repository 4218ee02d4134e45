"""What a kind of bulk run does: how an input becomes a request, an answer an outcome, a doubt a proof."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import attrs
import msgspec

from videoapi.bulk.report import BulkOutcome
from videoapi.protocol.routes import Options, Request

S = TypeVar("S")


class BulkItem(msgspec.Struct, frozen=True, kw_only=True):
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

    prepare: Callable[[int, S, Any], BulkItem]
    key_of: Callable[[S], Any]
    finish: Callable[[BulkItem, Any], BulkOutcome]


Emit = Callable[[BulkOutcome], Awaitable[None]]


def key_of(spec: object) -> Any:
    """Return the key that names an input, or None.

    Anything may stand among the inputs; what is no spec is refused as that input's outcome.
    """
    return getattr(spec, "key", None)


def single_attempt(options: Options) -> Options:
    """Return the limits of a bulk item: one attempt, as the run decides whether there is another."""
    return attrs.evolve(options, retry=attrs.evolve(options.retry, attempts=1))
