"""Call records and archive items as the service writes them. Pure; one template per record, for speed.

Source: docs/contract.md 5.2 and 5.3.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from videoapi.sandbox.responses import dump

DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).toordinal()
_MINUTES = tuple(f"{minute // 60:02d}:{minute % 60:02d}" for minute in range(1440))
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) Chrome/131.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Firefox/133.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Safari/604.1",
    "Mozilla/5.0 (Linux; Android 15) Chrome/131.0 Mobile Safari/537.36",
)
_NETS = ("192.0.2", "198.51.100", "203.0.113")

_NEW = (
    '{"trans_date":"%s","conf_num":"%s","sip":false,"call_num":"%s","call_log_id":"%s",'
    '"parent_partner_id":"%s","room":{"room_id":"%s","connect_dt":"%s","disconnect_dt":"%s",'
    '"duration":%d,"room_details":%s,"sip":false},'
    '"user":{"role":"%s","ip":"%s","name":%s,"ref":%s,"agent":"%s"},'
    '"sigserver":{"disconnect_dt":"%s","connect_dt":"%s","ip":"203.0.113.9","duration":%.2f,'
    '"hold_duration":%.2f},'
    '"published_track":{"audio":true,"data":false,"video":%s,"screen":%s,"url":false},'
    '"usage":{"subscribed_minutes":%d,"published_minutes":%d,"screen_minutes":%d,"connect_minutes":%d,'
    '"connect_minutes_cal":%d,"room_connect_minutes":%d},'
    '"stats_quality":{"send":{"video":{"avg_bitrate":%d,"avg_bitrate_quality":"%s","max_bitrate":%d,'
    '"min_bitrate":%d},"sharing":{},"audio":{}},"receive":{"video":{"avg_bitrate":%d,'
    '"avg_bitrate_quality":"Good","max_bitrate":%d,"min_bitrate":%d,"bitrate_good_percent":%d}}},'
    '"app_id":"%s","cdr_id":"%s"}'
)
_OLD = (
    '{"trans_date":"%s","conf_num":"%s","call_num":"%s","call_log_id":"%s",'
    '"room":{"room_id":"%s","connect_dt":"%s","disconnect_dt":"%s","duration":%.3f},'
    '"user":{"ip":"%s","name":%s,"role":"%s","ref":%s,"agent":"%s","token":"%s","confName":%s},'
    '"sigserver":{"connect_dt":"%s","disconnect_dt":"%s","ip":"203.0.113.9","duration":%.3f,'
    '"hold_duration":%.3f},'
    '"published_track":{"audio":"true","data":"false","video":"%s","screen":"%s","url":"false"},'
    '"usage":{"subscribed_minutes":%.3f,"published_minutes":%.3f},"app_id":"%s","cdr_id":"%s"}'
)


class CallRow(NamedTuple):
    """One user's connection. Times are milliseconds since 1970; fields ending in `_json` hold JSON text."""

    at: int
    conf_num: str
    room_id: str
    room_name_json: str
    details_json: str
    connected: int
    left: int
    role: str
    name_json: str
    ref_json: str
    call_num: str
    call_log_id: str
    cdr_id: str
    random_bits: int


class ArchiveRow(NamedTuple):
    """One session's archive; `streams` is how many users were recorded, 0 if it has no files."""

    at: int
    conf_num: str
    room_id: str
    archive_id: str
    streams: int


def milliseconds(at: datetime) -> int:
    """Return a time in milliseconds since 1970."""
    return round(at.timestamp() * 1000)


def iso(at: int) -> str:
    """Format milliseconds since 1970 as the service does: UTC, `Z`."""
    day, rest = divmod(at, DAY_MS)
    minute, rest = divmod(rest, 60_000)
    return f"{_date(day)}T{_MINUTES[minute]}:{rest // 1000:02d}.{rest % 1000:03d}Z"


def call_record(row: CallRow, app_id: str, schema: str) -> bytes:
    """Return the JSON of a call record.

    Args:
        row: The user's connection.
        app_id: The project.
        schema: The `cdr_schema` switch.
    """
    random_bits = row.random_bits
    seconds = (row.left - row.connected) / 1000
    minutes = int(seconds // 60) + 1
    connected, left, at = iso(row.connected), iso(row.left), iso(row.at)
    ip = f"{_NETS[random_bits % 3]}.{1 + (random_bits >> 2) % 254}"
    agent = _AGENTS[(random_bits >> 10) & 3]
    video = "true" if random_bits & 0x1000 else "false"
    screen = "true" if not random_bits & 0xE000 else "false"
    hold = (random_bits >> 16) % 900 / 100
    if schema == "old":
        return (
            _OLD
            % (
                *(at, row.conf_num, row.call_num, row.call_log_id),
                *(row.room_id, connected, left, seconds),
                *(ip, row.name_json, row.role, row.ref_json, agent, row.call_num, row.room_name_json),
                *(connected, left, seconds + hold, hold),
                *(video, screen, seconds / 60, seconds / 60, app_id, row.cdr_id),
            )
        ).encode()
    send, receive = 200 + (random_bits >> 24) % 1800, 200 + (random_bits >> 36) % 1800
    return (
        _NEW
        % (
            *(at, row.conf_num, row.call_num, row.call_log_id, app_id),
            *(row.room_id, connected, left, seconds, row.details_json),
            *(row.role, ip, row.name_json, row.ref_json, agent),
            *(left, connected, seconds + hold, hold, video, screen),
            *(minutes, minutes, minutes if screen == "true" else 0, minutes, minutes, minutes),
            *(send, "Good" if send > 400 else "Bad", send * 2, send // 2),
            *(receive, receive * 2, receive // 2, 60 + (random_bits >> 48) % 40),
            *(app_id, row.cdr_id),
        )
    ).encode()


def archive_item(item: ArchiveRow, app_id: str, origin: str) -> bytes:
    """Return the JSON of an archive item, with the URLs of its files under `origin`."""
    body: dict[str, object] = {"_id": item.archive_id, "trans_date": iso(item.at), "conf_num": item.conf_num}
    body |= {"app_id": app_id, "room_id": item.room_id}
    if item.streams:
        *recordings, transcoded, chat, metadata = file_urls(item, origin)
        body["recording"] = [{"url": url} for url in recordings]
        body["transcoded"] = [{"url": transcoded}]
        body |= {"chatdata": chat, "metadata": metadata}
    return dump(body)


def file_urls(item: ArchiveRow, origin: str) -> list[str]:
    """Return the URLs of a session's files, in the order of their names."""
    return [f"{origin}/files/{item.room_id}/{item.conf_num}/{name}" for name in file_names(item)]


def file_names(item: ArchiveRow) -> tuple[str, ...]:
    """Return the names of a session's files: the recordings, then the transcoded one, chat and metadata."""
    if not item.streams:
        return ()
    streams = (f"stream-{place + 1}.mkv" for place in range(item.streams))
    return (*streams, f"{item.conf_num}.mp4", "chatdata.json", "metadata.json")


@lru_cache(maxsize=1024)
def _date(day: int) -> str:
    return datetime.fromordinal(_EPOCH + day).date().isoformat()
