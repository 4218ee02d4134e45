"""The times of the service, all in UTC."""

import re
from datetime import UTC, date, datetime

_WIRE_FORM = "%Y-%m-%d %H:%M:%S"
# Seconds or milliseconds since 1970, for the years 2001 to 2286.
_EPOCH = re.compile(r"([1-9][0-9]{9})([0-9]{3})?(\.[0-9]*)?")
_BASIC = re.compile(r"[0-9]{8}(?:[T ][0-9]{4}.*)?")


def parse_time(text: str | None) -> datetime | None:
    """Parse a time of the service into an aware datetime in UTC.

    Args:
        text: ISO 8601, `YYYY-MM-DD HH:MM:SS`, or seconds or milliseconds since 1970; UTC if it has no zone.

    Returns:
        The time; None if the text is missing or in another format, because a `0000-00-00` must not end a run
        and the order of day and month in `03/04/2026` is unknown.
    """
    if not text:
        return None
    try:
        if text[4:5] == "-":
            return in_utc(datetime.fromisoformat(text.rstrip()))
        return _parse_unusual(text.strip())
    except (ValueError, OverflowError):
        return None


def utc_day(text: str | None) -> date | None:
    """Return the UTC day of a time of the service, or None if it is missing or in another format."""
    when = parse_time(text)
    return None if when is None else when.date()


def in_utc(when: datetime) -> datetime:
    """Convert a datetime to UTC; a naive one is in UTC. Raises OverflowError beyond years 1 to 9999."""
    return when.replace(tzinfo=UTC) if when.utcoffset() is None else when.astimezone(UTC)


def wire_time(when: datetime) -> str:
    """Format an aware datetime as `YYYY-MM-DD HH:MM:SS` in UTC. Source: docs/contract.md 4.2."""
    return in_utc(when).strftime(_WIRE_FORM)


def is_wire_time(text: str) -> bool:
    """Return whether the text is in the format that the service accepts."""
    try:
        datetime.strptime(text, _WIRE_FORM)  # noqa: DTZ007 - only checks the format
    except ValueError:
        return False
    return True


def _parse_unusual(text: str) -> datetime | None:
    # Python reads a number of 13 digits as a date of the year that its first four digits give.
    if epoch := _EPOCH.fullmatch(text):
        seconds, thousandths, _ = epoch.groups()
        return datetime.fromtimestamp(int(seconds) + int(thousandths or 0) / 1000, UTC)
    if text[4:5] == "-" or _BASIC.fullmatch(text):
        return in_utc(datetime.fromisoformat(text))
    return None
