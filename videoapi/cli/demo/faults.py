"""The faults that the demo injects: of every kind for creates and reads, of safe kinds for tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import attrs

from videoapi.sandbox import Fault, Sandbox

_THROTTLED: Final = "429 throttled"
_WAIT: Final = "429 with Retry-After"
REFUSED: Final = "connections refused"
_LOST: Final = "connection dropped"
_RESET: Final = "connection reset"
_CUT: Final = "body cut"
_SHORT: Final = "body too short"
_PAGE: Final = "proxy's error page"
_UNAVAILABLE: Final = "503 unavailable"
_SLOW: Final = "slow answer"
_MADE: Final = "room created, response lost"


@attrs.frozen
class PlannedFault:
    """A fault to inject: its name in the report, its route, its kind, and its options."""

    name: str
    route: str
    kind: str
    told: dict[str, Any] = attrs.field(factory=dict)


def writes(rooms: int) -> Iterator[PlannedFault]:
    """Yield faults for creates, many of which leave the outcome unknown, and for tokens."""
    for place, (name, kind, options) in enumerate(_LOST_CREATES, 1):
        yield PlannedFault(name, "rooms.create", kind, {"times": 3, "after": rooms * place // 12, **options})
    yield PlannedFault(_WAIT, "rooms.create", "throttle", {"times": 3, "retry_after": 1, "after": rooms // 5})
    yield PlannedFault(_THROTTLED, "rooms.create", "throttle", {"times": 3, "after": rooms // 3})
    yield PlannedFault(REFUSED, "rooms.create", "refuse", {"seconds": 1.0, "after": rooms // 2})
    yield PlannedFault(_WAIT, "tokens.create", "throttle", {"times": 2, "retry_after": 1, "after": rooms // 2})
    yield PlannedFault(REFUSED, "tokens.create", "refuse", {"seconds": 0.5, "after": rooms})


def reads() -> Iterator[PlannedFault]:
    """Yield faults for reads, spread so that a call meets one or two of them."""
    for route in ("rooms.list", "rooms.users"):
        yield PlannedFault(_UNAVAILABLE, route, "status", {"status": 503})
        yield PlannedFault(_CUT, route, "cut", {"at": 0.6})
    yield PlannedFault(_LOST, "cdr.by_period", "drop_before")
    for after, (name, kind, options) in enumerate(_STREAMED):
        yield PlannedFault(name, "cdr.by_period", kind, {**options, "after": after % 3})
    yield PlannedFault(_PAGE, "archives.*", "html")
    yield PlannedFault(_CUT, "archives.*", "cut", {"after": 1})
    yield PlannedFault(_RESET, "archives.*", "reset_before", {"after": 1})
    yield PlannedFault(_CUT, "files.get", "cut", {"times": 3})
    yield PlannedFault(_UNAVAILABLE, "files.get", "status", {"status": 503, "after": 1})
    yield PlannedFault(_LOST, "files.get", "drop_before", {"after": 1})


_SILENT: Final = frozenset({"drop_before", "reset_before", "drop_after", "reset_after"})
_LOST_CREATES: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    (_LOST, "drop_before", {}),
    (_MADE, "drop_after", {}),
    (_RESET, "reset_before", {}),
    (_MADE, "reset_after", {}),
    (_UNAVAILABLE, "status", {"status": 503}),
    (_MADE, "status_after", {"status": 502}),
    (_CUT, "cut", {"at": 0.5}),
    (_PAGE, "html", {"status": 502}),
)
_STREAMED: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    (_UNAVAILABLE, "status", {"status": 503}),
    (_CUT, "cut", {"at": 0.7}),
    (_SLOW, "delay", {"seconds": 0.5}),
    (_PAGE, "html", {}),
    (_RESET, "reset_after", {}),
    (_CUT, "cut", {"at": 0.2}),
    (_WAIT, "throttle", {"retry_after": 1}),
    (_SHORT, "truncated", {}),
)


def script(sandbox: Sandbox, rooms: int) -> list[tuple[str, Fault]]:
    """Add all faults to the sandbox; return them with their names."""
    return [(one.name, sandbox.fault(one.route, one.kind, **one.told)) for one in (*writes(rooms), *reads())]


def met(faults: list[tuple[str, Fault]]) -> Counter[str]:
    """Return how many requests met a fault, by its name."""
    found: Counter[str] = Counter()
    for name, fault in faults:
        found[name] += fault.hits
    return +found


def unanswered(faults: list[tuple[str, Fault]]) -> int:
    """Return how many API requests met a fault that ends the connection without a response."""
    return sum(fault.hits for _, fault in faults if fault.kind in _SILENT and "files.get" not in fault.routes)
