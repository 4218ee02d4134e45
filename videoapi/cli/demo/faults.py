"""The trouble that the demo's requests meet: creates and reads meet everything, tokens what is safe."""

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
_MADE: Final = "room made, answer lost"


@attrs.frozen
class PlannedFault:
    """One script: a name for the report, the route, the kind, and what the sandbox is told."""

    name: str
    route: str
    kind: str
    told: dict[str, Any] = attrs.field(factory=dict)


def writes(rooms: int) -> Iterator[PlannedFault]:
    """Trouble for creates, of which nobody hears whether they were carried out, and for tokens."""
    for place, (name, kind, told) in enumerate(_LOST_CREATES, 1):
        yield PlannedFault(name, "rooms.create", kind, {"times": 3, "after": rooms * place // 12, **told})
    yield PlannedFault(_WAIT, "rooms.create", "throttle", {"times": 3, "retry_after": 1, "after": rooms // 5})
    yield PlannedFault(_THROTTLED, "rooms.create", "throttle", {"times": 3, "after": rooms // 3})
    yield PlannedFault(REFUSED, "rooms.create", "refuse", {"seconds": 1.0, "after": rooms // 2})
    yield PlannedFault(_WAIT, "tokens.create", "throttle", {"times": 2, "retry_after": 1, "after": rooms // 2})
    yield PlannedFault(REFUSED, "tokens.create", "refuse", {"seconds": 0.5, "after": rooms})


def reads() -> Iterator[PlannedFault]:
    """Trouble for reads, spread so that a call meets it once or twice, as it would in a bad week."""
    for route in ("rooms.list", "rooms.users"):
        yield PlannedFault(_UNAVAILABLE, route, "status", {"status": 503})
        yield PlannedFault(_CUT, route, "cut", {"at": 0.6})
    yield PlannedFault(_LOST, "cdr.by_period", "drop_before")
    for after, (name, kind, told) in enumerate(_STREAMED):
        yield PlannedFault(name, "cdr.by_period", kind, {**told, "after": after % 3})
    yield PlannedFault(_PAGE, "archives.*", "html")
    yield PlannedFault(_CUT, "archives.*", "cut", {"after": 1})
    yield PlannedFault(_RESET, "archives.*", "reset_before", {"after": 1})
    yield PlannedFault(_CUT, "files.get", "cut", {"times": 3})
    yield PlannedFault(_UNAVAILABLE, "files.get", "status", {"status": 503, "after": 1})
    yield PlannedFault(_LOST, "files.get", "drop_before", {"after": 1})


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
    """Put all of it in force; returns the faults with their names."""
    return [(one.name, sandbox.fault(one.route, one.kind, **one.told)) for one in (*writes(rooms), *reads())]


def met(faults: list[tuple[str, Fault]]) -> Counter[str]:
    """Count the requests that met trouble, by its name."""
    found: Counter[str] = Counter()
    for name, fault in faults:
        found[name] += fault.hits
    return +found
