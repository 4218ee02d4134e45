"""Stored rooms as they appear in responses: with defaults, and altered according to the switches. Pure.

Source: docs/contract.md 4.3 to 4.5 and 10.10.
"""

import hashlib
from datetime import UTC, datetime

from videoapi.sandbox.settings import KNOWN_SETTINGS, Json, count
from videoapi.sandbox.switches import Switches

_RANK = {key: place for place, key in enumerate(KNOWN_SETTINGS)}
_KEYS_2018 = (
    *("description", "mode", "scheduled", "adhoc", "scheduled_time", "participants"),
    *("auto_recording", "active_talker", "quality"),
)


def stamp(at: datetime) -> str:
    """Format a time as the service does: UTC, milliseconds, `Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def filled(sent: Json, switches: Switches) -> Json:
    """Return the settings of a room with the service's defaults, in the service's order."""
    settings: Json = {"mode": "group", "scheduled": False, "adhoc": False, "auto_recording": False}
    settings |= {"active_talker": True, "quality": switches.project_quality}
    if switches.room_keys != "2018":
        participants = count(sent.get("participants")) or 6
        settings |= {"screen_share": True, "canvas": False, "media_configuration": "default", "moderators": 1}
        settings |= {"max_active_talkers": min(6, participants), "single_file_recording": False}
        settings["media_zone"] = "XX"
    if switches.room_keys == "v2":
        settings |= {"abwd": True, "facex": True, "knock": False, "wait_for_moderator": False}
        settings |= {
            "encryption": False,
            "viewers": 0,
            "watermark": False,
            "participants": "0",
            "duration": "0",
        }
        settings |= {"billing_code": "", "live_recording": {"auto_recording": False, "url": ""}}
        settings["role_based_recording"] = {"moderator": "audiovideo", "participant": "audiovideo"}
    settings |= sent
    if switches.room_keys == "2018":
        settings = {key: value for key, value in settings.items() if key in _KEYS_2018}
    if switches.room_keys == "v2":
        settings |= {key: str(settings[key]) for key in ("duration", "participants", "moderators")}
    return dict(sorted(settings.items(), key=lambda item: _RANK.get(item[0], len(_RANK))))


def sip(stored: Json, room_id: str, switches: Switches) -> Json | None:
    """Return the `sip` object of a response; None if the old format omits it."""
    shown = dict(stored)
    if switches.room_keys == "2018":
        if not shown.get("enabled"):
            return None
        return {**dict.fromkeys(("uri", "name", "auth", "secret", "proxy"), ""), **shown}
    if shown.get("enabled"):
        digest = int.from_bytes(hashlib.blake2s(room_id.encode()).digest()[:8], "big")
        pin, meeting = 10_000 + digest % 90_000, 1_000_000 + digest // 90_000 % 9_000_000
        shown["pin"] = str(pin) if switches.sip_ids == "string" else pin
        shown["meeting_id"] = str(meeting) if switches.sip_ids == "string" else meeting
    return shown


def echoed(body: Json, switches: Switches) -> Json:
    """Return `name`, `owner_ref` and `data` as the service echoes them."""
    shown: Json = {"name": body["name"], "owner_ref": body["owner_ref"]}
    owner_ref = body["owner_ref"]
    if isinstance(owner_ref, str):
        if switches.echo == "lower":
            shown["owner_ref"] = owner_ref.lower()
        elif switches.echo == "truncate":
            shown["owner_ref"] = owner_ref[:16]
    data = body.get("data")
    if data is not None and switches.echo != "no_data":
        lower = switches.echo == "lower" and isinstance(data, dict)
        shown["data"] = _lowered(data) if lower else data
    return shown


def created(body: Json, room_id: str, app_id: str, at: str, switches: Switches) -> Json:
    """Return the room in the response to its create."""
    echo = echoed(body, switches)
    room: Json = {"name": echo["name"]}
    if switches.room_keys != "2018":
        room["service_id"] = app_id
    room["owner_ref"] = echo["owner_ref"]
    room["settings"] = filled(_mapping(body["settings"]), switches)
    shown = sip(_mapping(body["sip"]), room_id, switches)
    if shown is not None:
        room["sip"] = shown
    if "data" in echo:
        room["data"] = echo["data"]
    if switches.room_keys == "v2":
        room["isMediaServerAvailable"] = False
    room["created"] = at
    room["room_id"] = room_id
    return room


def shown(
    body: Json,
    room_id: str,
    app_id: str,
    at: str,
    switches: Switches,
    *,
    updated: str | None = None,
    controller: str | None = None,
) -> Json:
    """Return the room in the response to a get, and as an item of the list."""
    room = created(body, room_id, app_id, at, switches)
    ends: Json = {key: room.pop(key) for key in ("room_id", "sip") if key in room}
    if updated is not None:
        room["updated"] = updated
    if switches.room_keys != "2018":
        room["isMediaServerAvailable"] = False
    if controller is not None:
        room["enablexControllerId"] = controller
    return {**room, **ends}


def _lowered(data: object) -> object:
    if not isinstance(data, dict):
        return data
    return {key: value.lower() if isinstance(value, str) else value for key, value in data.items()}


def _mapping(value: object) -> Json:
    return value if isinstance(value, dict) else {}
