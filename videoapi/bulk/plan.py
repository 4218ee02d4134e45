"""Bulk operations: how an input becomes a request, and a response an outcome."""

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
    """One kind of bulk operation: how an input becomes a request, and a response an outcome.

    `prepare` receives an input's index, the input, and its key from `key_of`.
    """

    prepare: Callable[[int, S, Any], BulkItem]
    key_of: Callable[[S], Any]
    finish: Callable[[BulkItem, Any], BulkOutcome]


Emit = Callable[[BulkOutcome], Awaitable[None]]


def key_of(spec: object) -> Any:
    """Return the key of an input, or None.

    Accepts any object: an input that is not a spec fails later, with its own outcome.
    """
    return getattr(spec, "key", None)


def single_attempt(options: Options) -> Options:
    """Return the options of a bulk item: a single attempt, because the run itself decides about retries."""
    return attrs.evolve(options, retry=attrs.evolve(options.retry, attempts=1), must_stop=lambda: False)
