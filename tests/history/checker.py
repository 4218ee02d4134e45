"""Compare what clients report with what the service did: one history, nine properties, a list of violations."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

import attrs

MOST_SENDS: Final = 3

What = Literal["invoke", "send", "ok", "fail", "unknown"]


@attrs.frozen
class Event:
    """An action of a client, or the outcome that it reports.

    Args:
        what: `invoke`; `send` for an attempt that may have taken effect; then one of `ok`, `fail`, `unknown`.
        cref: The create's reference.
        at: Time in seconds.
        room_id: The room of an `ok`.
        life: Number of the process, if processes are killed and restarted.
    """

    what: What
    cref: str
    at: float = 0.0
    room_id: str | None = None
    life: int = 0


@attrs.frozen(kw_only=True)
class Truth:
    """What the service executed, and what the client leaked.

    Args:
        executed: Reference and room of every executed create, in order.
        live: Reference of every room that exists at the end, by its ID.
        arrived: Number of requests of any kind that reached the service; None if not counted.
        accounted: Number of requests that the client reports as sent; None if not counted.
        left: Connections, tasks and files that are still open.
        healed_at: When the faults ended.
        patience: Seconds after that within which every create must end.
    """

    executed: Sequence[tuple[str, str]] = ()
    live: Mapping[str, str] = attrs.field(factory=dict)
    arrived: int | None = None
    accounted: int | None = None
    left: Sequence[str] = ()
    healed_at: float = 0.0
    patience: float = float("inf")


@attrs.frozen
class Violation:
    """A property that a history breaks, and how."""

    broken: str
    cref: str
    how: str


def check(history: Iterable[Event], truth: Truth) -> list[Violation]:
    """Return all violations of a history."""
    events = list(history)
    return [violation for find in _CHECKS for violation in find(events, truth)]


def properties(violations: Iterable[Violation]) -> set[str]:
    """Return the names of the properties that were broken."""
    return {violation.broken for violation in violations}


def _last(events: Sequence[Event]) -> dict[str, Event]:
    return {event.cref: event for event in events if event.what in ("ok", "fail", "unknown")}


def _no_duplicate(events: Sequence[Event], truth: Truth) -> Iterator[Violation]:
    for cref, times in Counter(cref for cref, _ in truth.executed).items():
        if times > 1:
            yield Violation("P1", cref, f"executed {times} times")
    for cref, times in Counter(truth.live.values()).items():
        if times > 1:
            yield Violation("P1", cref, f"{times} rooms exist")


def _no_loss(events: Sequence[Event], truth: Truth) -> Iterator[Violation]:
    for event in events:
        if event.what == "ok" and truth.live.get(event.room_id or "") != event.cref:
            yield Violation("P2", event.cref, f"acknowledged room {event.room_id} is not there")


def _no_phantom(events: Sequence[Event], truth: Truth) -> Iterator[Violation]:
    invoked = {event.cref for event in events if event.what == "invoke"}
    for room_id, cref in truth.live.items():
        if cref not in invoked:
            yield Violation("P3", cref, f"room {room_id} was never requested")


def _fail_is_honest(events: Sequence[Event], truth: Truth) -> Iterator[Violation]:
    made = {cref for cref, _ in truth.executed}
    for event in events:
        if event.what == "fail" and event.cref in made:
            yield Violation("P4", event.cref, "reported as failed, but was executed")


def _unknown_is_resolved(events: Sequence[Event], truth: Truth) -> Iterator[Violation]:
    for cref, event in _last(events).items():
        if event.what == "unknown":
            yield Violation("P5", cref, "still unknown after healing")


def _load_is_bounded(events: Sequence[Event], truth: Truth) -> Iterator[Violation]:
    sends = Counter((event.cref, event.life) for event in events if event.what == "send")
    for (cref, life), times in sends.items():
        if times > MOST_SENDS:
            yield Violation("P6", cref, f"sent {times} times in life {life}")
    if truth.arrived is not None and truth.accounted is not None and truth.arrived > truth.accounted:
        yield Violation("P6", "", f"{truth.arrived} requests arrived, the client knows of {truth.accounted}")


def _one_outcome_each(events: Sequence[Event], truth: Truth) -> Iterator[Violation]:
    ends: dict[tuple[str, int], list[str]] = defaultdict(list)
    invoked = {(event.cref, event.life) for event in events if event.what == "invoke"}
    for event in events:
        if event.what in ("ok", "fail", "unknown"):
            ends[event.cref, event.life].append(event.what)
    last_life = max((event.life for event in events), default=0)
    for cref, life in invoked | set(ends):
        found = ends.get((cref, life), [])
        if (cref, life) not in invoked:
            yield Violation("P7", cref, f"ended as {found} and never began")
        elif len(found) != 1 and (life == last_life or found):
            # A killed process need not report outcomes; the last one must report one per create.
            yield Violation("P7", cref, f"has {len(found)} outcomes {found}")


def _ends_in_time(events: Sequence[Event], truth: Truth) -> Iterator[Violation]:
    for cref, event in _last(events).items():
        if event.at > truth.healed_at + truth.patience:
            yield Violation("P8", cref, f"ended {event.at - truth.healed_at:.1f} s after healing")


def _nothing_left(events: Sequence[Event], truth: Truth) -> Iterator[Violation]:
    for thing in truth.left:
        yield Violation("P9", "", f"leaked: {thing}")


_CHECKS: Final = (
    _no_duplicate,
    _no_loss,
    _no_phantom,
    _fail_is_honest,
    _unknown_is_resolved,
    _load_is_bounded,
    _one_outcome_each,
    _ends_in_time,
    _nothing_left,
)
