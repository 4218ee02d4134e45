"""Client-side validation: rejects what the service would reject, before anything is sent.

The checks follow what the service enforces, not what its tables call required: a key that deployed
programs omit may be omitted. Each error names the field and the service's error code.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final, Literal, cast

import msgspec

from videoapi.errors import ValidationError
from videoapi.models.fields import field_types
from videoapi.models.ids import is_id
from videoapi.models.settings import EffectiveSettings, RoomSettings
from videoapi.models.times import in_utc, is_wire_time, parse_time, wire_time
from videoapi.models.tokens import Role

# Deployed programs send two more keys; their effect is unknown, so the service decides.
_KNOWN_SETTINGS = frozenset(field_types(EffectiveSettings)) | {"video", "sip"}
_QUALITIES = ("HD", "SD", "LD")
_MODES = ("group", "lecture")
_COUNT = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LONGEST_CONF_NUM = 256
_NOT_IN_URLS = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_MOST_DATA_KEYS = 5
CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far a start may lie in the past: the clocks of this machine and of the service may differ."""

# Settings that an update cannot change, with the error code and the default of each. Source: docs/contract.md 4.6, 8.1.
_FIXED = {"mode": (10020, "group"), "scheduled": (10106, False), "adhoc": (10106, False)}

# Settings that must be true or false, with the error code of each. Source: docs/contract.md 8.1.
_TRUTHS = {
    "scheduled": 10003,
    "auto_recording": 10008,
    "active_talker": 10012,
    "wait_moderator": 10013,
    "adhoc": 10016,
    "peep": 10024,
    "knock": 10025,
}


def check_room(
    payload: Mapping[str, Any], *, partial: bool = False, allow: Collection[str] | RoomSettings = ()
) -> None:
    """Check the body of a room create or update.

    Args:
        payload: The body, by API field name.
        partial: True for an update: nothing is required.
        allow: White-label settings to accept, or a `RoomSettings` whose `extra_keys` are accepted.

    Raises:
        ValidationError: If the service would reject it; see `field` and `code`.

    Source: docs/contract.md 4.2, 4.6, 8.1.
    """
    settings = payload.get("settings")
    if type(settings) is not dict or not _is_common(payload):
        settings = _check_fields(payload, partial, allow)
    if partial:
        _check_new_time(settings)
    elif settings.get("scheduled") or settings.get("adhoc"):
        _check_kind(settings)


def _check_fields(
    payload: Mapping[str, Any], partial: bool, allow: Collection[str] | RoomSettings
) -> Mapping[str, Any]:
    """Check each field of a room by itself; return the settings."""
    if not partial or "name" in payload:
        _require_text(payload, "name", 10002)
    if not partial or "owner_ref" in payload:
        _require_reference(payload, "owner_ref", 10010)
    settings = payload.get("settings")
    if settings is None:
        return {}
    if isinstance(settings, RoomSettings):
        allow = settings.extra_keys.union(allow.extra_keys if isinstance(allow, RoomSettings) else allow)
        settings = settings.to_dict()
    if not isinstance(settings, Mapping):
        raise _invalid("settings", None, "must be a mapping or RoomSettings")
    settings = dict(settings)
    for name, value in settings.items():
        _check_setting(name, value, allow)
    return settings


def check_start(settings: Mapping[str, Any], now: datetime) -> None:
    """Check that a room to be created does not start in the past, by more than `CLOCK_SKEW`.

    Not a part of `check_room`: a later run of a job finds its rooms by specs whose start has passed.

    Args:
        settings: The settings, by API field name.
        now: The time of this machine, aware.

    Raises:
        ValidationError: If the start has passed (10006).

    Source: docs/contract.md 4.2, 8.1.
    """
    time = settings.get("scheduled_time")
    starts_at = parse_time(time) if settings.get("scheduled") is True and isinstance(time, str) else None
    if starts_at is not None and now - starts_at > CLOCK_SKEW:
        now_utc = wire_time(now)
        problem = f"must be in the future: {time} UTC has passed; the clock of this machine shows {now_utc} UTC"
        raise _invalid("settings.scheduled_time", 10006, problem)


def names_fixed(settings: Mapping[str, Any]) -> bool:
    """Return whether settings name a room's kind or mode, which an update cannot change."""
    return any(settings.get(name) is not None for name in _FIXED)


def without_fixed(settings: Mapping[str, Any], current: EffectiveSettings, *, validate: bool) -> dict[str, Any]:
    """Return the settings of an update without the room's kind and mode, if they are those of the room.

    Args:
        settings: The settings to send, by API field name.
        current: The settings of the room.
        validate: False keeps those that differ.

    Raises:
        ValidationError: If one differs.
    """
    # Source: docs/contract.md 4.6. Whether the service accepts an unchanged one is unknown.
    changed = dict(settings)
    for name, (code, default) in _FIXED.items():
        value, found = changed.get(name), getattr(current, name)
        if value is None:
            continue
        if str(value).casefold() == str(default if found is None else found).casefold():
            del changed[name]
        elif validate:
            raise _invalid(f"settings.{name}", code, f"is {found!r} and cannot be changed: a room keeps its kind")
    return changed


def check_token(payload: Mapping[str, Any]) -> None:
    """Check the body of a token request.

    Raises:
        ValidationError: If the service would reject it; see `field` and `code`.

    Source: docs/contract.md 5.1, 8.1.
    """
    _require_text(payload, "name", 10101)
    _require_reference(payload, "user_ref", 10102)
    role = payload.get("role")
    if role is None or role == "":
        raise _invalid("role", 10103, "is required")
    if role not in tuple(Role):
        raise _invalid("role", 10104, f"must be one of {', '.join(Role)}")
    data = payload.get("data")
    if isinstance(data, Mapping) and len(data) > _MOST_DATA_KEYS:
        raise _invalid("data", None, f"holds at most {_MOST_DATA_KEYS} keys")


def check_room_id(text: object) -> str:
    """Check a room ID before it is used in a path.

    Raises:
        ValidationError: If it is missing (10001), or unsafe in a path.
    """
    checked = _check_text(text, "room_id", 10001)
    if not is_id(checked):
        raise _invalid("room_id", None, "is not an ID: 1 to 128 letters, digits, - and _")
    return checked


def check_conf_num(text: object) -> str:
    """Check a conference number before it is used in a path.

    Raises:
        ValidationError: If it is missing (10201), or cannot be a segment of a path.
    """
    checked = _check_text(text, "conf_num", 10201)
    # The service chooses conference numbers, so any text is valid that keeps its meaning percent-encoded.
    if len(checked) > _LONGEST_CONF_NUM:
        problem = f"is longer than {_LONGEST_CONF_NUM} characters"
    elif _NOT_IN_URLS.search(checked):
        problem = "contains a control character or a lone surrogate"
    elif checked in (".", ".."):
        problem = "is a dot segment of a URL"
    else:
        return checked
    raise _invalid("conf_num", None, f"{problem}: read the period and filter its records by conf_num")


def period_day(value: object, *, field: str = "date") -> date:
    """Return one end of a period as a day in UTC.

    Args:
        value: A date, `YYYY-MM-DD`, or an aware datetime (or its ISO text) at midnight UTC.
        field: The name to use in an error.

    Raises:
        ValidationError: If it is not a day, such as a datetime without a zone or not at midnight UTC.

    Source: docs/contract.md 5.2.
    """
    if value is None or value == "":
        raise _invalid(field, 10203 if field == "to_date" else None, "is required")
    if isinstance(value, str):
        value = _parsed_day(value, field)
    # Not-a-time values of data frames are datetimes that do not equal themselves.
    if value != value:
        raise _invalid(field, None, "is not a time")
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise _invalid(field, None, "has no time zone: give a date, or a datetime at midnight UTC")
        try:
            moved = in_utc(value)
        except OverflowError:
            raise _invalid(field, None, "is not within the years 1 to 9999 in UTC") from None
        if moved.time() != datetime.min.time():
            raise _invalid(field, None, "is not at midnight UTC: periods are whole days in UTC")
        return moved.date()
    if isinstance(value, date):
        return value
    raise _invalid(field, None, "must be a date, YYYY-MM-DD, or an aware datetime at midnight UTC")


def _parsed_day(text: str, field: str) -> date:
    try:
        return date.fromisoformat(text) if _DAY.fullmatch(text) else datetime.fromisoformat(text)
    except ValueError:
        raise _invalid(field, None, "is not a day: write YYYY-MM-DD") from None


def _check_text(text: object, field: str, missing: int) -> str:
    if text is None or text == "":
        raise _invalid(field, missing, "is required")
    if not isinstance(text, str):
        raise _invalid(field, None, f"must be text, not {type(text).__name__}")
    return text


def _require_text(payload: Mapping[str, Any], field: str, code: int) -> None:
    value = payload.get(field)
    if not (isinstance(value, str) and value):
        raise _invalid(field, code, "must be text that is not empty")


def _require_reference(payload: Mapping[str, Any], field: str, code: int) -> None:
    value = payload.get(field)
    # Deployed programs send numbers.
    if type(value) is not int and type(value) is not float:
        _require_text(payload, field, code)


def _check_setting(name: str, value: object, allow: Collection[str] | RoomSettings) -> None:
    if check := _CHECKS.get(name):
        if value is not None:
            check(value)
    elif name not in _KNOWN_SETTINGS and name not in (allow.extra_keys if isinstance(allow, RoomSettings) else allow):
        raise _invalid(f"settings.{name}", 10009, "is not a setting of the service")


def _check_kind(settings: Mapping[str, Any]) -> None:
    if settings.get("adhoc") and settings.get("scheduled"):
        raise _invalid("settings.adhoc", 10017, "cannot be true together with scheduled")
    if not settings.get("scheduled"):
        return
    time = settings.get("scheduled_time")
    if time is None or time == "":
        raise _invalid("settings.scheduled_time", 10004, "is required in a scheduled room")
    _check_time(time)
    if settings.get("duration") in (None, ""):
        raise _invalid("settings.duration", 10011, "is required in a scheduled room")


def _check_new_time(settings: Mapping[str, Any]) -> None:
    time = settings.get("scheduled_time")
    if time is not None and time != "":
        _check_time(time)


def _check_time(time: object) -> None:
    if not isinstance(time, str) or not is_wire_time(time):
        shown = f", not {time[:40]!r}" if isinstance(time, str) else ""
        raise _invalid("settings.scheduled_time", 10005, f"must be YYYY-MM-DD HH:MM:SS, in UTC{shown}")


def _check_truth(name: str, code: int, value: object) -> None:
    if not isinstance(value, bool):
        raise _invalid(f"settings.{name}", code, "must be true or false")


def _check_participants(value: object) -> None:
    if not _is_count(value):
        raise _invalid("settings.participants", 10007, "must be a number of 0 or more (0: unlimited)")


def _check_duration(value: object) -> None:
    if value != "" and not _is_count(value):
        raise _invalid("settings.duration", 10011, "must be a number of minutes")


def _check_moderators(value: object) -> None:
    if not _is_count(value):
        raise _invalid("settings.moderators", 10022, "must be a number from 1 to 5")
    if not 1 <= float(str(value)) <= 5:
        raise _invalid("settings.moderators", 10023, "must be from 1 to 5")


def _check_quality(value: object) -> None:
    if value not in _QUALITIES:
        raise _invalid("settings.quality", 10014, f"must be one of {', '.join(_QUALITIES)}")


def _check_mode(value: object) -> None:
    if not isinstance(value, str) or value.lower() not in _MODES:
        raise _invalid("settings.mode", 10019, f"must be one of {', '.join(_MODES)}")


_CHECKS: dict[str, Callable[[object], None]] = {
    **{name: partial(_check_truth, name, code) for name, code in _TRUTHS.items()},
    "participants": _check_participants,
    "duration": _check_duration,
    "moderators": _check_moderators,
    "quality": _check_quality,
    "mode": _check_mode,
}

# Fields that are valid, in half the time of checking them one by one: what most rooms have, not all that is valid.
_COUNTS: Any = Annotated[int, msgspec.Meta(ge=0)] | cast(Any, Literal)[tuple(map(str, range(1000)))]
_COMMON: dict[str, Any] = {
    **dict.fromkeys(_KNOWN_SETTINGS, Any),
    **dict.fromkeys(_TRUTHS, bool | None),
    "participants": _COUNTS,
    "duration": _COUNTS,
    "moderators": Annotated[int, msgspec.Meta(ge=1, le=5)],
    "quality": Literal[_QUALITIES],
    "mode": Literal[_MODES],
}
_CommonSettings = msgspec.defstruct(
    "_CommonSettings",
    [(name, kind, msgspec.UNSET) for name, kind in _COMMON.items()],
    forbid_unknown_fields=True,
)
_TEXT: Any = Annotated[str, msgspec.Meta(min_length=1)]
_CommonRoom = msgspec.defstruct("_CommonRoom", [("name", _TEXT), ("owner_ref", _TEXT), ("settings", _CommonSettings)])


def _is_common(payload: Mapping[str, Any]) -> bool:
    try:
        msgspec.convert(payload, _CommonRoom)
    except (msgspec.ValidationError, UnicodeEncodeError):
        return False
    return True


def _is_count(value: object) -> bool:
    if isinstance(value, str):
        return _COUNT.fullmatch(value.strip()) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def _invalid(field: str, code: int | None, problem: str) -> ValidationError:
    return ValidationError(f"{field} {problem}.", field=field, code=code)
