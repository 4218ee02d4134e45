"""Call records in the shapes of contract 5.2, with values of realistic length, generated deterministically."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

Record = dict[str, Any]

_AGENT: Final = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36 Edg/126.0.2592.68"
)
_GRADES: Final = ("Excellent", "Good", "Fair", "Poor")


def new(n: int) -> Record:
    """Return the nth record in the shape of the newer documentation, about 1,400 bytes long."""
    joined, left, minutes = _time(n), _time(n + 700), 11 + n % 50
    return {
        "trans_date": _time(n + 710),
        "conf_num": f"{_id(n // 3, 7)}-{n % 97}",
        "sip": False,
        "call_num": _id(n, 1),
        "call_log_id": _id(n, 2),
        "parent_partner_id": _id(1, 3),
        "room": {
            "room_id": _id(n // 3, 4),
            "connect_dt": joined,
            "disconnect_dt": left,
            "duration": minutes * 60 + n % 60,
            "room_details": {},
            "sip": False,
        },
        "user": {
            "role": "moderator" if n % 3 == 0 else "participant",
            "ip": f"203.0.113.{n % 256}",
            "name": f"Participant {n:07} of team {n % 500:03}",
            "ref": f"user-{n:09}",
            "agent": _AGENT,
        },
        "sigserver": {
            "disconnect_dt": left,
            "connect_dt": joined,
            "ip": f"198.51.100.{n % 256}",
            "duration": minutes * 60 + n % 100 / 100,
            "hold_duration": n % 1000 / 100,
        },
        "published_track": {"audio": True, "data": False, "video": n % 2 == 0, "screen": n % 7 == 0, "url": False},
        "usage": {
            "subscribed_minutes": minutes * 2,
            "published_minutes": minutes,
            "screen_minutes": n % 7,
            "connect_minutes": minutes,
            "connect_minutes_cal": minutes + 1,
            "room_connect_minutes": minutes + 2,
        },
        "stats_quality": {
            "send": {"video": _quality(n), "sharing": {}, "audio": {}},
            "receive": {"video": _quality(n + 1) | {"bitrate_good_percent": n % 101}},
        },
        "app_id": _id(1, 5),
        "cdr_id": _id(n, 6),
    }


def detailed(n: int) -> Record:
    """Return the nth record in the newer shape, with its room definition."""
    record = new(n)
    record["room"]["room_details"] = {
        "owner_ref": f"team-{n % 500}",
        "name": f"Room of team {n % 500}",
        "settings": {"mode": "group", "participants": 10, "duration": 60, "moderators": "2", "auto_recording": False},
        "created": _time(n // 3),
    }
    return record


def old(n: int) -> Record:
    """Return the nth record in the shape of the older documentation: fewer fields, booleans as strings."""
    record = new(n)
    kept = ("trans_date", "conf_num", "call_num", "call_log_id", "app_id", "cdr_id")
    usage = {name: record["usage"][name] + 0.25 for name in ("subscribed_minutes", "published_minutes")}
    return {
        **{name: record[name] for name in kept},
        "room": {name: record["room"][name] for name in ("room_id", "connect_dt", "disconnect_dt", "duration")},
        "user": record["user"] | {"token": _id(n, 8) * 3, "confName": f"Conference of team {n % 500}"},
        "sigserver": record["sigserver"],
        "published_track": {name: str(value).lower() for name, value in record["published_track"].items()},
        "usage": usage,
    }


SHAPES: Final[dict[str, Callable[[int], Record]]] = {"new": new, "details": detailed, "old": old}


def odd(record: Record) -> Record:
    """Set the user's reference to a number: the typed decoder rejects such a record, cattrs accepts it."""
    record["user"]["ref"] = 4711
    return record


def texts(make: Callable[[int], Record], count: int, odd_every: int = 0) -> Iterator[bytes]:
    """Yield encoded records; with `odd_every=100`, one in a hundred is odd."""
    for n in range(count):
        record = odd(make(n)) if odd_every and n % odd_every == odd_every // 2 else make(n)
        yield json.dumps(record, separators=(",", ":")).encode()


def body(make: Callable[[int], Record], count: int, odd_every: int = 0) -> bytes:
    """Return a complete response body."""
    return b'{"result":"0","cdr":[%b]}' % b",".join(texts(make, count, odd_every))


def _quality(n: int) -> Record:
    bitrate = 300 + n % 900
    return {
        "avg_bitrate": bitrate,
        "avg_bitrate_quality": _GRADES[n % 4],
        "max_bitrate": bitrate + n % 250,
        "min_bitrate": bitrate - n % 200,
    }


def _id(n: int, kind: int) -> str:
    # Spread over all 24 digits, like the service's IDs; the same n gives the same ID.
    return f"{(n * 0x9E3779B97F4A7C15 + kind * 0xD1B54A32D192ED03) % 2**96:024x}"


def _time(n: int) -> str:
    # Within the first seven days of a month, a few seconds apart.
    seconds = n * 5 % (6 * 86_400)
    minutes, hours = seconds // 60, seconds // 3600
    return f"2026-01-{1 + hours // 24:02}T{hours % 24:02}:{minutes % 60:02}:{seconds % 60:02}.{n % 1000:03}Z"
