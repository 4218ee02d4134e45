"""When a room of which kind is open, over and gone. Pure.

Source: docs/contract.md 4.1 and 10.3. How long a used-up ad-hoc room still answers is an assumption.
"""

from datetime import datetime, timedelta

from videoapi.sandbox.settings import Json, count, moment

EARLY = timedelta(minutes=15)
LINGER = timedelta(minutes=1)


def over_at(settings: Json, first_start: datetime | None, first_end: datetime | None, rule: str) -> datetime | None:
    """When an ad-hoc room is used up; None while that is not known, and for rooms of other kinds.

    Args:
        settings: the stored settings.
        first_start: when the room's first session began.
        first_end: when that session ended.
        rule: the `adhoc_rule` switch.
    """
    if not settings.get("adhoc") or first_start is None:
        return None
    minutes = count(settings.get("duration")) if rule == "duration" else None
    if minutes:
        return first_start + timedelta(minutes=minutes)
    return first_end


def denial(settings: Json, now: datetime, *, inside: bool, over: datetime | None) -> int | None:
    """The code with which a token is denied for the time of asking, or None.

    Args:
        settings: the stored settings.
        now: what the service's clock says.
        inside: somebody is in the room.
        over: when the room was or will be used up, of `over_at`.
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
    ends = starts + timedelta(minutes=count(settings.get("duration")) or 0)
    return 10112 if now > ends and not inside else None


def gone(now: datetime, *, inside: bool, over: datetime | None) -> bool:
    """Whether the service has deleted the room by itself."""
    return over is not None and not inside and now >= over + LINGER


def seats(settings: Json, role: str) -> int | None:
    """How many users of a role fit in; None for any number."""
    if role == "moderator":
        return count(settings.get("moderators", 1)) or 1
    if role == "participant":
        return count(settings.get("participants")) or None
    if role == "audience":
        return count(settings.get("audiences")) or None
    return None
