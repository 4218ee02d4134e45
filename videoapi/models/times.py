"""The two time formats of the service, both in UTC."""

from datetime import UTC, datetime

_WIRE_FORM = "%Y-%m-%d %H:%M:%S"


def parse_time(text: str | None) -> datetime | None:
    """Parse a time of the service into an aware datetime in UTC.

    Args:
        text: ISO 8601, or `YYYY-MM-DD HH:MM:SS`; UTC if it has no zone.

    Returns:
        The time; None if the text is missing or invalid, because a `0000-00-00` must not end a run.
    """
    if not text:
        return None
    try:
        return in_utc(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError):
        return None


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
