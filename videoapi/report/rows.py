"""What a report reads of a call record. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from videoapi.models.decoded import Decoded
from videoapi.models.flat import SOURCES, flat_reader, read_number, read_time, with_parts

QUALITY: Final = tuple(
    f"{direction}_{media}_avg_bitrate_quality"
    for direction in ("send", "receive")
    for media in ("video", "audio", "sharing")
)
"""The columns with a quality in words: one for each direction and kind of media."""
TIMES: Final = ("trans_at", "room_connected_at", "room_disconnected_at", "user_connected_at", "user_disconnected_at")
TEXTS: Final = ("cdr_id", "call_log_id", "conf_num", "room_id", "room_name", "owner_ref", "user_ref", "user_role")
NUMBERS: Final = ("user_seconds", "room_seconds", "connect_minutes", "receive_video_bitrate_good_percent")
COLUMNS: Final = (*TEXTS, *TIMES, *NUMBERS, *QUALITY)
"""The columns of a call record that a report reads, in this order."""
READ: Final = with_parts(SOURCES[name] for name in COLUMNS)
"""The fields of these columns, and the parts of a record that contain them: if one is unreadable, a figure lacks it."""
NEEDED: Final = frozenset({"conf_num", "room_id", *TIMES[:3], "user_seconds"})
"""The columns that every report needs."""


class UsageRow(NamedTuple):
    """One connection of one user.

    Args:
        record_id: The ID of the record, or of its log entry.
        conf_num: The session.
        room_id: The room.
        room_name: The room's name.
        owner_ref: Your reference of the room.
        user_ref: Your reference of the user.
        user_role: The user's role.
        at: When the record was created, in milliseconds since 1970, as all times.
        room_from: When the session began.
        room_to: When the session ended.
        user_from: When the user connected.
        user_to: When the user disconnected.
        user_seconds: How long the user was connected.
        room_seconds: How long the session lasted; None while it runs.
        connect_minutes: The minutes that the service counts.
        good_percent: The share of the time with a good bit rate of the video that was received, in percent.
        quality: The qualities in words, in the order of `QUALITY`.
    """

    record_id: str | None = None
    conf_num: str | None = None
    room_id: str | None = None
    room_name: str | None = None
    owner_ref: str | None = None
    user_ref: str | None = None
    user_role: str | None = None
    at: int | None = None
    room_from: int | None = None
    room_to: int | None = None
    user_from: int | None = None
    user_to: int | None = None
    user_seconds: float | None = None
    room_seconds: float | None = None
    connect_minutes: float | None = None
    good_percent: float | None = None
    quality: tuple[str | None, ...] = (None,) * len(QUALITY)


def is_identified(row: UsageRow) -> bool:
    """Return whether a row with the same values as this one is of the same record.

    It is if the record has an ID. Without one, the row must be of a user who connects to a session, which no user does
    twice in one millisecond. The service does not say that IDs are unique: the same ID alone is not enough.
    """
    return row.record_id is not None or bool(row.conf_num and row.user_ref and row.user_from is not None)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_IDS: Final = 2
_FIRST_TIME: Final = len(TEXTS)
_FIRST_NUMBER: Final = _FIRST_TIME + len(TIMES)
_FIRST_QUALITY: Final = _FIRST_NUMBER + len(NUMBERS)
_MEDIA: Final = ("video", "audio", "sharing")
_MOST_MINUTES: Final = 50_000
_NONE: Final[dict[str, Any]] = {}
_minutes: Final[dict[str, int]] = {}
_read: Final = flat_reader(COLUMNS)


def row_of(record: object) -> UsageRow:
    """Return the row of a CallRecord."""
    decoded = getattr(record, "_decoded", record)
    if isinstance(decoded, Decoded) and (row := _row_of_decoded(decoded)) is not None:
        return row
    return row_of_cells(_read(record), milliseconds)


def row_of_cells(cells: list[Any], time: Callable[[Any], int | None]) -> UsageRow:
    """Return the row of the values of `COLUMNS`.

    Args:
        cells: The values.
        time: Converts a time to milliseconds since 1970.
    """
    return UsageRow._make(
        (
            cells[0] or cells[1],
            *cells[_IDS:_FIRST_TIME],
            *map(time, cells[_FIRST_TIME:_FIRST_NUMBER]),
            *cells[_FIRST_NUMBER:_FIRST_QUALITY],
            tuple(cells[_FIRST_QUALITY:]),
        )
    )


def milliseconds(when: datetime | None) -> int | None:
    """Return an aware datetime in whole milliseconds since 1970, so that none is moved to the next day."""
    return None if when is None else (when - _EPOCH) // _MILLISECOND


def milliseconds_of(text: str | None) -> int | None:
    """Return a time of the service in milliseconds since 1970; None if it is missing or in another format."""
    if text is None:
        return None
    # 2026-01-31T10:20:30.123Z, as the service writes it: each minute is parsed once.
    if len(text) == 24 and text[23] == "Z" and text[16] == ":" and text[19] == "." and text.isascii():
        rest = text[17:19] + text[20:23]
        if rest.isdigit() and (after := int(rest)) < 60_000:
            minute = _minutes.get(text[:16])
            if minute is None:
                minute = milliseconds(read_time(f"{text[:16]}:00.000Z"))
                if minute is None:
                    return None
                if len(_minutes) >= _MOST_MINUTES:
                    _minutes.clear()
                _minutes[text[:16]] = minute
            return minute + after
    return milliseconds(read_time(text))


def _row_of_decoded(record: Any) -> UsageRow | None:
    """Return the row of a decoded record, whose values are of the declared types; None if it lacks a part."""
    room, user, connection, usage = record.room, record.user, record.sigserver, record.usage
    if room is None or user is None or connection is None:
        return None
    details = room.room_details or _NONE
    owner_ref, room_name = details.get("owner_ref"), details.get("name")
    if (owner_ref is not None and type(owner_ref) is not str) or (room_name is not None and type(room_name) is not str):
        return None
    quality: tuple[Any, ...] = _NOTHING
    percent = None
    if (stats := record.stats_quality) is not None:
        try:
            send, receive = stats.get("send") or _NONE, stats.get("receive") or _NONE
            shown = [direction.get(media) or _NONE for direction in (send, receive) for media in _MEDIA]
            quality = tuple([media.get("avg_bitrate_quality") for media in shown])
            percent = read_number(shown[3].get("bitrate_good_percent"))
        except AttributeError:
            return None
        if not _TEXT_OR_NONE.issuperset(map(type, quality)):
            return None
    return UsageRow(
        record.cdr_id or record.call_log_id,
        record.conf_num,
        room.room_id,
        user.confName if room_name is None else room_name,
        owner_ref,
        user.ref,
        user.role,
        milliseconds_of(record.trans_date),
        milliseconds_of(room.connect_dt),
        milliseconds_of(room.disconnect_dt),
        milliseconds_of(connection.connect_dt),
        milliseconds_of(connection.disconnect_dt),
        connection.duration,
        room.duration,
        None if usage is None else usage.connect_minutes,
        percent,
        quality,
    )


_NOTHING: Final = (None,) * len(QUALITY)
_TEXT_OR_NONE: Final = frozenset({str, type(None)})
