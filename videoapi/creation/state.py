"""The create protocol as a pure state machine: stamp, send, settle, scan, send again.

The service has no idempotency keys, so a create whose answer was lost is settled by looking for its
reference in the list of rooms. Seeing it proves that the room was made, at any time. Not seeing it
proves something only in a complete scan that began one settle time after the last attempt could have
been sent, and that shows the control rooms: rooms of ours that are known to exist.

Why no room is made twice: attempt k + 1 is sent only after such a scan. Whatever attempt k did, it
had done by then (it takes effect within the settle time or never) and the list would show it.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

from videoapi.protocol.verdicts import Verdict

MOST_SENDS: Final = 3
"""Attempts that may take effect, for one reference and one process: the first and two more."""


class Step(enum.Enum):
    """What is to be done next for one create, or what it ended as."""

    SEND = "send"
    SCAN = "scan"
    MADE = "made"
    REFUSED = "refused"
    """An answer proves that it was not made."""
    NOT_MADE = "not made"
    """It was sent, and a proof of absence after the last attempt shows that it was not made."""
    UNKNOWN = "unknown"
    """No proof either way."""


FINAL: Final = frozenset({Step.MADE, Step.REFUSED, Step.NOT_MADE, Step.UNKNOWN})


@attrs.frozen
class CreatePolicy:
    """What a run may do.

    Args:
        settle: Seconds after which an attempt takes effect no more, and the list shows what it did.
        resend: Whether a create that is proven absent is sent again.
        most_sends: Attempts that may take effect, in all.
    """

    settle: float
    resend: bool = True
    most_sends: int = MOST_SENDS


@attrs.frozen
class Create:
    """One logical create.

    Args:
        step: What comes next.
        sends: Attempts so far that may have taken effect.
        doubtful_since: When the last of them can have been sent; None where none is in doubt.
        rooms: Ids of the rooms that carry its reference; the first is the one that counts.
    """

    step: Step = Step.SEND
    sends: int = 0
    doubtful_since: float | None = None
    rooms: tuple[str, ...] = ()


@attrs.frozen
class ScanResult:
    """What one scan shows of one create.

    Args:
        began: When the scan began.
        rooms: Ids of the rooms that carry the reference, the oldest first.
        proves_absence: Whether the scan was complete and showed the control rooms.
    """

    began: float
    rooms: tuple[str, ...]
    proves_absence: bool


def inherited(doubtful_since: float) -> Create:
    """Return a create that another process may have sent before it died, no later than then."""
    return Create(Step.SCAN, doubtful_since=doubtful_since)


def attempted(create: Create, verdict: Verdict, now: float, room_id: str = "") -> Create:
    """Return the create after an attempt was judged at `now`."""
    match verdict:
        case Verdict.DONE:
            return attrs.evolve(create, step=Step.MADE, rooms=(room_id,))
        case Verdict.REJECTED:
            return attrs.evolve(create, step=Step.REFUSED)
        case Verdict.NOT_SENT | Verdict.THROTTLED:
            return create
        case Verdict.UNKNOWN:
            return attrs.evolve(create, step=Step.SCAN, sends=create.sends + 1, doubtful_since=now)


def settled_at(create: Create, rules: CreatePolicy) -> float:
    """Return from when on a scan can prove absence."""
    return (create.doubtful_since or 0.0) + rules.settle


def scanned(create: Create, sight: ScanResult, rules: CreatePolicy) -> Create:
    """Return the create after a scan; `SCAN` again where that scan proves nothing."""
    if sight.rooms:
        return attrs.evolve(create, step=Step.MADE, rooms=sight.rooms)
    if not sight.proves_absence or sight.began < settled_at(create, rules):
        return create
    may_send = create.sends == 0 or (rules.resend and create.sends < rules.most_sends)
    return attrs.evolve(create, step=Step.SEND if may_send else Step.NOT_MADE, doubtful_since=None)


def given_up(create: Create) -> Create:
    """Return the create when nobody waits for proof any longer."""
    return create if create.step in FINAL else attrs.evolve(create, step=Step.UNKNOWN)
