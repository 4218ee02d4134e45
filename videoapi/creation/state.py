"""The create protocol as a pure state machine: send, settle, scan, send again.

The service has no idempotency keys, so a create whose response was lost is resolved by looking for
its reference in the room list. Finding it proves at any time that the room was created. Not finding it
proves absence only if the scan is complete, began one settle time after the last attempt could have
been sent, and shows the known rooms: rooms created by this library that exist.

Why no room is created twice: attempt k + 1 is sent only after such a scan. Attempt k took effect
before it (within the settle time, or never), so the list would have shown its room.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

from videoapi.protocol.types import Verdict

MOST_SENDS: Final = 3
"""Maximum attempts that may take effect, per reference and process: the first and two more."""


class Step(enum.Enum):
    """The next step of a create, or its final state."""

    SEND = "send"
    SCAN = "scan"
    MADE = "made"
    REFUSED = "refused"
    """A response proves that the room was not created."""
    NOT_MADE = "not made"
    """The create was sent, but a proof of absence after the last attempt shows that no room was created."""
    UNKNOWN = "unknown"
    """No proof either way."""


FINAL: Final = frozenset({Step.MADE, Step.REFUSED, Step.NOT_MADE, Step.UNKNOWN})


@attrs.frozen
class CreatePolicy:
    """The limits of the create protocol.

    Args:
        settle: Seconds after which an attempt no longer takes effect and the list shows its result.
        resend: Whether a create that is proven absent is sent again.
        most_sends: Maximum attempts that may take effect, in total.
    """

    settle: float
    resend: bool = True
    most_sends: int = MOST_SENDS


@attrs.frozen
class Create:
    """The state of one logical create.

    Args:
        step: The next step, or the final state.
        sends: Attempts so far that may have taken effect.
        doubtful_since: The latest time at which the last of them was sent; None if none is unresolved.
        rooms: IDs of the rooms that carry its reference; the first one counts.
    """

    step: Step = Step.SEND
    sends: int = 0
    doubtful_since: float | None = None
    rooms: tuple[str, ...] = ()


@attrs.frozen
class ScanResult:
    """The result of a scan for one create.

    Args:
        began: When the scan began.
        rooms: IDs of the rooms that carry the reference, oldest first.
        proves_absence: Whether the scan was complete and showed the known rooms.
    """

    began: float
    rooms: tuple[str, ...]
    proves_absence: bool


def inherited(doubtful_since: float) -> Create:
    """Return a create that another process may have sent, no later than `doubtful_since`."""
    return Create(Step.SCAN, doubtful_since=doubtful_since)


def attempted(create: Create, verdict: Verdict, now: float, room_id: str = "") -> Create:
    """Return the create after an attempt was classified at `now`."""
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
    """Return the earliest time at which a scan can prove absence."""
    return (create.doubtful_since or 0.0) + rules.settle


def scanned(create: Create, sight: ScanResult, rules: CreatePolicy) -> Create:
    """Return the create after a scan; it stays at `SCAN` if the scan proves nothing."""
    if sight.rooms:
        return attrs.evolve(create, step=Step.MADE, rooms=sight.rooms)
    if not sight.proves_absence or sight.began < settled_at(create, rules):
        return create
    may_send = create.sends == 0 or (rules.resend and create.sends < rules.most_sends)
    return attrs.evolve(create, step=Step.SEND if may_send else Step.NOT_MADE, doubtful_since=None)


def given_up(create: Create) -> Create:
    """Return the create once no more proof is awaited: `UNKNOWN`, unless it is final already."""
    return create if create.step in FINAL else attrs.evolve(create, step=Step.UNKNOWN)
