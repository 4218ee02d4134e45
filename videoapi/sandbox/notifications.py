"""The notifications of the service, as it writes them. Pure.

Source: docs/contract.md 6 and 10.8.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from urllib.parse import quote

import attrs

from videoapi.sandbox.record_templates import milliseconds
from videoapi.sandbox.responses import dump
from videoapi.sandbox.settings import Json
from videoapi.sandbox.switches import Switches

TYPES = {
    "session-ended": "roomdrop",
    "recording-ready": "recording",
    "transcoded": "transcoded",
    "file-transfer": "file-transfer",
}
"""The types of the service, by their names on the command line."""
DESTINATION = {"name": "awss3", "host": "", "account": "sandbox"}


@attrs.frozen
class Notification:
    """What is announced: a session, and its files if there are any.

    Args:
        type: The type of the service.
        app_id: The project.
        room_id: The room.
        conf_num: The session.
        at: When it is sent.
        urls: The URLs of the files that it is about.
        size: The size of the file of a `transcoded`, in bytes.
    """

    type: str
    app_id: str
    room_id: str
    conf_num: str
    at: datetime
    urls: Sequence[str] = ()
    size: int = 0

    def body(self, switches: Switches) -> bytes:
        """Return the body that announces it."""
        fields: Json = {"type": self.type, "trans_date": self._time(switches), "app_id": self.app_id}
        fields |= {"room_id": self.room_id, "conf_num": self.conf_num}
        if self.type == "recording":
            fields["recording"] = list(self.urls)
        elif self.type == "transcoded":
            fields["recording"] = self.urls[0] if self.urls else ""
            fields |= {"stage": _value(1, switches), "file_size": _value(self.size, switches)}
        elif self.type == "file-transfer":
            fields |= {"destination": DESTINATION, "files": [{"url": url} for url in self.urls]}
        return dump(fields)

    def _time(self, switches: Switches) -> object:
        at = milliseconds(self.at)
        return _value(at if switches.webhook_time == "ms" else at // 1000, switches)


def _value(number: int, switches: Switches) -> object:
    return str(number) if switches.webhook_values == "string" else number


def on_demand(
    kind: str, *, app_id: str, room_id: str, conf_num: str, at: datetime, urls: Sequence[str] = ()
) -> Notification:
    """Return a notification of a room and a session that need not exist.

    Args:
        kind: A key of `TYPES`.
        app_id: The project.
        room_id: The room.
        conf_num: The session.
        at: When it is sent.
        urls: The URLs of its files; one of a reserved domain by default.
    """
    name = "stream-1.mkv" if kind == "recording-ready" else f"{conf_num}.mp4"
    example = "/".join(quote(part, safe="", errors="replace") for part in (room_id, conf_num, name))
    urls = urls or (f"https://files.example.com/{example}",)
    return Notification(TYPES[kind], app_id, room_id, conf_num, at, urls=urls, size=1_000_000)


def announcements(
    make: Callable[..., Notification], urls: Sequence[str], size: Callable[[str], int]
) -> list[Notification]:
    """Return what is announced of a session that has ended: the session, then its files if there are any.

    Args:
        make: Makes a notification of a type.
        urls: The URLs of the session's files, as in its archive.
        size: Returns the size of a file, in bytes.
    """
    made = [make("roomdrop")]
    if recordings := [url for url in urls if url.endswith(".mkv")]:
        made.append(make("recording", urls=recordings))
    made += [make("transcoded", urls=[url], size=size(url)) for url in urls if url.endswith(".mp4")]
    if urls:
        made.append(make("file-transfer", urls=urls))
    return made
