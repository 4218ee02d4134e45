"""The keys of `settings` that the service knows, and the parsing of their values. Pure.

Source: docs/contract.md 4.2.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime

Json = dict[str, object]

_NUMERIC = re.compile(r"\d{1,15}\Z")
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\Z")

# In the order of the service's responses.
KNOWN_SETTINGS = (
    "description",
    "mode",
    "scheduled",
    "adhoc",
    "scheduled_time",
    "duration",
    "participants",
    "audiences",
    "send_audiences_stats",
    "hls_view_url",
    "auto_recording",
    "screen_share",
    "canvas",
    "media_configuration",
    "encryption",
    "viewers",
    "knock",
    "wait_for_moderator",
    "quality",
    "moderators",
    "billing_code",
    "abwd",
    "facex",
    "active_talker",
    "max_active_talkers",
    "single_file_recording",
    "role_based_recording",
    "live_recording",
    "live_transcription",
    "media_zone",
    "watermark",
    "peep",
    "aor",
    "wait_moderator",
)


def count(value: object) -> int | None:
    """Return a number or numeric string as a non-negative integer; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if value >= 0 else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and value >= 0 else None
    if isinstance(value, str) and _NUMERIC.match(value):
        return int(value)
    return None


def moment(value: object) -> datetime | None:
    """Return a `scheduled_time` as an aware datetime; None if its format is wrong."""
    if not isinstance(value, str) or not _TIME.match(value):
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _talkers(value: object) -> bool:
    number = count(value)
    return number is not None and 1 <= number <= 16


def _view_url(value: object) -> bool:
    return isinstance(value, str) and (value == "DEFAULT" or value.startswith("https://"))


def _recorded_roles(value: object) -> bool:
    return isinstance(value, dict) and all(
        role in ("moderator", "participant") and kind in ("audio", "audiovideo") for role, kind in value.items()
    )


# Documented constraints that have no result code of their own.
UNCODED: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(("screen_share", "canvas", "wait_for_moderator", "abwd", "facex"), _flag),
    **dict.fromkeys(("single_file_recording", "watermark", "send_audiences_stats"), _flag),
    "description": lambda value: isinstance(value, str),
    "billing_code": lambda value: isinstance(value, str | int | float),
    "audiences": lambda value: count(value) is not None,
    "max_active_talkers": _talkers,
    "hls_view_url": _view_url,
    "media_zone": lambda value: value in ("IN", "SG", "US", "XX"),
    "role_based_recording": _recorded_roles,
    "live_recording": lambda value: isinstance(value, dict),
    "live_transcription": lambda value: isinstance(value, dict),
}
