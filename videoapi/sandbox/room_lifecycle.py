"""The life cycle of rooms: when each kind is open, over and gone. Pure.

Source: docs/contract.md 4.1 and 10.3. How long a used-up ad-hoc room remains visible is an assumption.
"""

from datetime import UTC, datetime, timedelta

from videoapi.sandbox.settings import Json, count, moment

EARLY = timedelta(minutes=15)
LINGER = timedelta(minutes=1)
# A duration has no upper limit, but a datetime does.
_NEVER = datetime(9999, 12, 31, tzinfo=UTC)


def over_at(settings: Json, first_start: datetime | None, first_end: datetime | None, rule: str) -> datetime | None:
    """Return when an ad-hoc room is used up; None while that is unknown, and for other kinds of room.

    Args:
        settings: The stored settings.
        first_start: When the room's first session began.
        first_end: When that session ended.
        rule: The `adhoc_rule` switch.
    """
    if not settings.get("adhoc") or first_start is None:
        return None
    minutes = count(settings.get("duration")) if rule == "duration" else None
    if minutes:
        return _after(first_start, minutes)
    return first_end


def denial(settings: Json, now: datetime, *, inside: bool, over: datetime | None) -> int | None:
    """Return the code with which a token is denied at this time, or None.

    Args:
        settings: The stored settings.
        now: The service's time.
        inside: Whether any user is in the room.
        over: When the room was or will be used up, from `over_at`.
    """
    if over is not None and now >= over and not inside:
        return 10111
    if not settings.get("scheduled"):
        return None
    starts = moment(settings.get("scheduled_time"))
    if starts is None:
        return None
    if now < starts - EARLY:
        return 10113
    ends = _after(starts, count(settings.get("duration")) or 0)
    return 10112 if now > ends and not inside else None


def gone(now: datetime, *, inside: bool, over: datetime | None) -> bool:
    """Return whether the service has deleted the room on its own."""
    return over is not None and not inside and now >= over + LINGER


def seats(settings: Json, role: str) -> int | None:
    """Return the maximum number of users with a role; None if unlimited."""
    if role == "moderator":
        return count(settings.get("moderators", 1)) or 1
    if role == "participant":
        return count(settings.get("participants")) or None
    if role == "audience":
        return count(settings.get("audiences")) or None
    return None


def _after(start: datetime, minutes: int) -> datetime:
    try:
        return min(start + timedelta(minutes=minutes), _NEVER)
    except OverflowError:
        return _NEVER
