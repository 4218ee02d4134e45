"""The service's two ways to write a moment, both UTC."""

from datetime import UTC, datetime

_WIRE_FORM = "%Y-%m-%d %H:%M:%S"


def parse_time(text: str | None) -> datetime | None:
    """Read a time of the service as an aware datetime in UTC.

    Args:
        text: ISO 8601, or `YYYY-MM-DD HH:MM:SS`. Without a zone it is UTC.

    Returns:
        None where there is no text, or no moment in it: `0000-00-00` must not end a run.
    """
    if not text:
        return None
    try:
        return in_utc(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError):
        return None


def in_utc(when: datetime) -> datetime:
    """Move to UTC; a naive time of the service is UTC already. Raises OverflowError at the ends of time."""
    return when.replace(tzinfo=UTC) if when.utcoffset() is None else when.astimezone(UTC)


def wire_time(when: datetime) -> str:
    """Write an aware moment as `YYYY-MM-DD HH:MM:SS` in UTC. Source: docs/contract.md 4.2."""
    return in_utc(when).strftime(_WIRE_FORM)


def is_wire_time(text: str) -> bool:
    """Whether the service reads this as a time."""
    try:
        datetime.strptime(text, _WIRE_FORM)  # noqa: DTZ007 - only the form is of interest
    except ValueError:
        return False
    return True
