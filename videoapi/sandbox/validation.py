"""Validation of request bodies, and the code of the first field that fails. Pure.

Source: docs/contract.md 4.2, 5.1 and 10.11.
"""

from collections.abc import Mapping
from datetime import datetime
from math import inf
from typing import TypedDict

from videoapi.sandbox.responses import Refusal
from videoapi.sandbox.settings import KNOWN_SETTINGS, UNCODED, Json, count, moment

_QUALITIES = ("LD", "SD", "HD")
_MODES = ("group", "lecture")
_ROLES = ("moderator", "participant", "viewer", "audience")


class ValidationRules(TypedDict):
    """The validation options of rooms: the project's quality, strictness, and the handling of unknown keys."""

    quality: str
    strict: bool
    drop_unknown: bool


def check_create(body: Json, *, now: datetime, quality: str, strict: bool, drop_unknown: bool) -> Json:
    """Validate the body of a create.

    Args:
        body: The parsed body.
        now: The service's time.
        quality: The project's quality, the highest that a room may have.
        strict: Validate by the documented table instead of by observed behavior.
        drop_unknown: Drop unknown settings instead of rejecting them.

    Returns:
        The room to store: `name`, `owner_ref`, `settings`, `sip` and, if sent, `data`.

    Raises:
        Refusal: If a field is invalid, with the code of the first one.
    """
    if not _text(body.get("name")):
        raise Refusal(10002)
    if not _reference(body.get("owner_ref")):
        raise Refusal(10010)
    settings = _settings(body, drop_unknown)
    if strict:
        _required(settings)
    _check_kind(settings, now, strict=strict)
    _check_values(settings, quality)
    if strict:
        _check_uncoded(settings)
    room: Json = {"name": body["name"], "owner_ref": body["owner_ref"], "settings": _kept(settings)}
    room["sip"] = sip_of(body.get("sip"))
    if body.get("data") is not None:
        room["data"] = body["data"]
    return room


def check_update(body: Json, stored: Json, *, now: datetime, quality: str, strict: bool, drop_unknown: bool) -> Json:
    """Validate the body of an update against the stored room.

    Returns:
        The room with the changes.

    Raises:
        Refusal: If a field is invalid, with the code of the first one.
    """
    if "name" in body and not _text(body["name"]):
        raise Refusal(10002)
    if "owner_ref" in body and not _reference(body["owner_ref"]):
        raise Refusal(10010)
    changes = _settings(body, drop_unknown)
    if "mode" in changes:
        raise Refusal(10020)
    if "scheduled" in changes or "adhoc" in changes:
        raise Refusal(10106)
    before = stored["settings"]
    settings = {**(before if isinstance(before, dict) else {}), **changes}
    if settings.get("scheduled") and ("scheduled_time" in changes or "duration" in changes):
        _check_schedule(settings, now if "scheduled_time" in changes else None)
    _check_values(changes, quality)
    if strict:
        _check_uncoded(changes)
    room = {**stored, "settings": _kept(settings)}
    for key in ("name", "owner_ref", "data"):
        if body.get(key) is not None:
            room[key] = body[key]
    if "sip" in body:
        room["sip"] = sip_of(body["sip"])
    return room


def check_token(body: Json) -> str:
    """Validate the body of a token request.

    Returns:
        The role.

    Raises:
        Refusal: If a field is invalid, with the first code that applies, 10101 to 10104.
    """
    if not _text(body.get("name")):
        raise Refusal(10101)
    if not _reference(body.get("user_ref")):
        raise Refusal(10102)
    role = body.get("role")
    if role is None or role == "":
        raise Refusal(10103)
    if role not in _ROLES:
        raise Refusal(10104)
    return str(role)


def sip_of(sent: object) -> Json:
    """Return the `sip` object to store. A missing `sip`, `false` and `{}` all disable it."""
    if not isinstance(sent, Mapping) or not sent:
        return {"enabled": False}
    return {"enabled": False, **sent}


def _settings(body: Json, drop_unknown: bool) -> Json:
    sent = body.get("settings")
    if sent is None:
        return {}
    if not isinstance(sent, dict):
        raise Refusal(10009)
    unknown = sent.keys() - set(KNOWN_SETTINGS) - {"video"}
    if unknown and not drop_unknown:
        raise Refusal(10009)
    return {key: sent[key] for key in KNOWN_SETTINGS if sent.get(key) is not None}


def _kept(settings: Json) -> Json:
    empty = {"description"} if settings.get("scheduled") else {"description", "scheduled_time"}
    return {
        key: value for key, value in settings.items() if key != "wait_moderator" and not (key in empty and value == "")
    }


def _required(settings: Json) -> None:
    for key, code in (
        ("scheduled", 10003),
        ("adhoc", 10016),
        ("mode", 10019),
        ("moderators", 10022),
        ("participants", 10007),
    ):
        if key not in settings:
            raise Refusal(code)


def _check_kind(settings: Json, now: datetime, *, strict: bool) -> None:
    for key, code in (("scheduled", 10003), ("adhoc", 10016)):
        if not isinstance(settings.get(key, False), bool):
            raise Refusal(code)
    if settings.get("scheduled") and settings.get("adhoc"):
        raise Refusal(10017)
    mode = settings.get("mode", "group")
    if not isinstance(mode, str) or (mode if strict else mode.lower()) not in _MODES:
        raise Refusal(10019)
    if settings.get("scheduled"):
        _check_schedule(settings, now)


def _check_schedule(settings: Json, now: datetime | None) -> None:
    time = settings.get("scheduled_time")
    if time is None or time == "":
        raise Refusal(10004)
    starts = moment(time)
    if starts is None:
        raise Refusal(10005)
    if now is not None and starts <= now:
        raise Refusal(10006)
    if not count(settings.get("duration")):
        raise Refusal(10011)


def _check_values(settings: Json, quality: str) -> None:
    if "duration" in settings and settings["duration"] != "" and count(settings["duration"]) is None:
        raise Refusal(10011)
    if "participants" in settings and count(settings["participants"]) is None:
        raise Refusal(10007)
    if "moderators" in settings:
        moderators = count(settings["moderators"])
        if moderators is None:
            raise Refusal(10022)
        if not 1 <= moderators <= 5:
            raise Refusal(10023)
    for key, code in (
        ("auto_recording", 10008),
        ("active_talker", 10012),
        ("wait_moderator", 10013),
        ("knock", 10025),
        ("peep", 10024),
    ):
        if not isinstance(settings.get(key, False), bool):
            raise Refusal(code)
    if "quality" in settings:
        requested = settings["quality"]
        if requested not in _QUALITIES:
            raise Refusal(10014)
        if _QUALITIES.index(str(requested)) > _QUALITIES.index(quality):
            raise Refusal(10021)
    if not isinstance(settings.get("aor", ""), str):
        raise Refusal(10026)


def _check_uncoded(settings: Json) -> None:
    for key, check in UNCODED.items():
        if key in settings and not check(settings[key]):
            raise Refusal(10018)


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _reference(value: object) -> bool:
    return _text(value) or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < inf)
