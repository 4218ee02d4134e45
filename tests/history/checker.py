"""Compare what clients report with what the service did: one history, twelve properties, a list of violations.

P1 not twice, P2 not lost, P3 not uninvited, P4 `fail` is definitive, P5 `unknown` is resolved in the end, P6 bounded
load, P7 one outcome each, P8 in time, P9 nothing leaked, P10 self-check rooms are deleted, P11 `changed` is true,
P12 the audit claims what is true.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
        life: Number of the run or process, if runs are repeated or processes are killed and restarted.
        spec: Of an `ok`, what the input wanted the room to hold; None if not compared.
        changed: Of an `ok`, whether the client says that the room holds something else.
    """

    what: What
    cref: str
    at: float = 0.0
    room_id: str | None = None
    life: int = 0
    spec: str | None = None
    changed: bool = False


@attrs.frozen(kw_only=True)
class Audit:
    """What the report of a run claims about its rooms.

    Args:
        life: Number of the run.
        at: The moment for which it claims to know all rooms of the run; None if it makes no such claim.
        missing: IDs of acknowledged rooms that it reports as gone.
        duplicates: References that it reports as being on several rooms.
    """

    life: int = 0
    at: float | None = None
    missing: Collection[str] = ()
    duplicates: Collection[str] = ()


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
        executed_at: When each room was created, by its ID; a room that is not named was there from the start.
        removed: When each room that others deleted was deleted, by its ID.
        specs: What each room holds, by its ID.
        ended: Lives that ended by themselves, and so owe one outcome per create.
        checks: Self-check rooms that exist after the last run has ended.
        audits: The claims of the runs' reports.
    """

    executed: Sequence[tuple[str, str]] = ()
    live: Mapping[str, str] = attrs.field(factory=dict)
    arrived: int | None = None
    accounted: int | None = None
    left: Sequence[str] = ()
    healed_at: float = 0.0
    patience: float = float("inf")
    executed_at: Mapping[str, float] = attrs.field(factory=dict)
    removed: Mapping[str, float] = attrs.field(factory=dict)
    specs: Mapping[str, str] = attrs.field(factory=dict)
    ended: Collection[int] = ()
    checks: Sequence[str] = ()
    audits: Sequence[Audit] = ()


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
    executed = set(truth.executed)
    for event in events:
        room_id = event.room_id or ""
        deleted_by_others = room_id in truth.removed and (event.cref, room_id) in executed
        if event.what == "ok" and truth.live.get(room_id) != event.cref and not deleted_by_others:
            yield Violation("P2", event.cref, f"acknowledged room {event.room_id} is not there")


def _no_phantom(events: Sequence[Event], truth: Truth) -> Iterator[Violation]:
    invoked = {event.cref for event in events if event.what == "invoke"}
    for room_id, cref in truth.live.items():
        if cref not in invoked:
            yield Violation("P3", cref, f"room {room_id} was never requested")


def _fail_is_honest(events: Sequence[Event], truth: Truth) -> Iterator[Violation]:
    # A later run may create what an earlier one reported as failed, but only after it began.
    made: dict[str, float] = {}
    for cref, room_id in truth.executed:
        at = truth.executed_at.get(room_id, float("-inf"))
        made[cref] = min(at, made.get(cref, at))
    invoked: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.what == "invoke" and event.cref in made:
            invoked[event.cref].append(event)
    for event in events:
        if event.what != "fail" or event.cref not in made:
            continue
        later = (again.at for again in invoked[event.cref] if again.life > event.life)
        if made[event.cref] <= min(later, default=float("inf")):
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
        elif len(found) != 1 and (life == last_life or life in truth.ended or found):
            # A killed process need not report outcomes; one that ended must report one per create.
            yield Violation("P7", cref, f"has {len(found)} outcomes {found}")


def _ends_in_time(events: Sequence[Event], truth: Truth) -> Iterator[Violation]:
    for cref, event in _last(events).items():
        if event.at > truth.healed_at + truth.patience:
            yield Violation("P8", cref, f"ended {event.at - truth.healed_at:.1f} s after healing")


def _nothing_left(events: Sequence[Event], truth: Truth) -> Iterator[Violation]:
    for thing in truth.left:
        yield Violation("P9", "", f"leaked: {thing}")


def _checks_are_deleted(events: Sequence[Event], truth: Truth) -> Iterator[Violation]:
    for room_id in truth.checks:
        yield Violation("P10", "", f"self-check room {room_id} was left")


def _changed_is_true(events: Sequence[Event], truth: Truth) -> Iterator[Violation]:
    for event in events:
        held = truth.specs.get(event.room_id or "")
        if event.what != "ok" or event.spec is None or held is None:
            continue
        if (held != event.spec) is not event.changed:
            how = "reported as changed, but is not" if event.changed else "holds something else, unreported"
            yield Violation("P11", event.cref, f"room {event.room_id}: {how}")


def _audit_is_true(events: Sequence[Event], truth: Truth) -> Iterator[Violation]:
    rooms: dict[str, list[str]] = defaultdict(list)
    for cref, room_id in truth.executed:
        rooms[cref].append(room_id)
    for audit in truth.audits:
        for room_id in audit.missing:
            if room_id in truth.live:
                yield Violation("P12", truth.live[room_id], f"room {room_id} is reported as missing and exists")
        if audit.at is None:
            continue
        acknowledged = {
            event.room_id: event.cref for event in events if event.what == "ok" and event.life == audit.life
        }
        for room_id, at in truth.removed.items():
            if room_id in acknowledged and at < audit.at and room_id not in audit.missing:
                yield Violation("P12", acknowledged[room_id], f"room {room_id} was gone, and is not reported")
        for cref in {*acknowledged.values()} - {*audit.duplicates}:
            there = [it for it in rooms[cref] if it in truth.live and truth.executed_at.get(it, 0.0) <= audit.at]
            if len(there) > 1:
                yield Violation("P12", cref, f"{len(there)} rooms existed, and are not reported")


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
    _checks_are_deleted,
    _changed_is_true,
    _audit_is_true,
)
