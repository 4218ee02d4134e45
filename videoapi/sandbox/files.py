"""Recordings and other archive files: generated from their paths while they are sent, with support for ranges.

Source: docs/contract.md 5.4 and 10.6; how long files are kept is the switch `file_hours`.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from urllib.parse import unquote

from videoapi.sandbox.record_templates import ArchiveRow, file_names, iso, milliseconds
from videoapi.sandbox.records import Records
from videoapi.sandbox.responses import HttpResponse, dump
from videoapi.sandbox.switches import Switches

_BLOCK = 64 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")
_TYPES = {"mkv": "video/x-matroska", "mp4": "video/mp4", "json": "application/json"}
_TEXT = "text/plain; charset=utf-8"


class Files:
    """The download endpoint.

    Args:
        records: The sessions whose files exist.
        switches: The switches, read for each download.
        clock: Returns the service's time, an aware datetime.
        auth: The user name and password for recordings.
    """

    def __init__(
        self,
        records: Records,
        switches: Switches,
        clock: Callable[[], datetime],
        auth: tuple[str, str],
    ) -> None:
        self._records = records
        self._switches = switches
        self._clock = clock
        self._login = base64.b64encode(":".join(auth).encode()).decode()

    def answer(self, path: str, headers: Mapping[str, str]) -> HttpResponse:
        """Return a file, or the part requested by `Range`.

        Args:
            path: The path as sent.
            headers: The request's headers, case-insensitive.
        """
        scheme, _, login = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic" or login.strip() != self._login:
            return self._refused()
        parts = [unquote(part) for part in path.split("/") if part]
        item = self._item(parts)
        if item is None:
            return HttpResponse(b"File not found", 404, _TEXT)
        whole = self._whole(item, parts[-1])
        size = len(whole) if whole is not None else self.size(path)
        etag = f'"{hashlib.blake2s(f"{path} {size}".encode()).hexdigest()[:32]}"'
        response_headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        start, stop, status = 0, size, 200
        requested = headers.get("Range")
        if requested is not None and headers.get("If-Range", etag) == etag:
            span = _span(requested, size)
            if span is None:
                return HttpResponse(b"", 416, _TEXT, {**response_headers, "Content-Range": f"bytes */{size}"})
            if span != (0, -1):
                (start, stop), status = span, 206
                response_headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        response_headers["Content-Length"] = str(stop - start)
        content_type = _TYPES.get(parts[-1].rpartition(".")[2], "application/octet-stream")
        if whole is not None:
            return HttpResponse(whole[start:stop], status, content_type, response_headers)
        return HttpResponse(content(path, start, stop), status, content_type, response_headers, size=stop - start)

    def _refused(self) -> HttpResponse:
        if self._switches.file_refusal == 401:
            return HttpResponse(b"Unauthorized", 401, _TEXT, {"WWW-Authenticate": 'Basic realm="recordings"'})
        return HttpResponse(b"Forbidden", 403, _TEXT)

    def _item(self, parts: list[str]) -> ArchiveRow | None:
        if len(parts) != 4:
            return None
        _, room_id, conf_num, name = parts
        item = self._records.item(conf_num)
        if item is None or item.room_id != room_id or name not in file_names(item):
            return None
        hours = self._switches.file_hours
        if hours is not None and milliseconds(self._clock()) - item.at > hours * 3_600_000:
            return None
        return item

    def _whole(self, item: ArchiveRow, name: str) -> bytes | None:
        if name == "chatdata.json":
            at = iso(item.at)
            return dump([{"at": at, "from": f"User {turn}", "text": f"Message {turn}"} for turn in range(3)])
        if name == "metadata.json":
            return dump({"conf_num": item.conf_num, "room_id": item.room_id, "files": file_names(item)})
        return None

    def size(self, path: str) -> int:
        """Return the size of a recording in bytes, by its path."""
        if self._switches.file_size is not None:
            return self._switches.file_size
        return 48 * 1024 + int(hashlib.blake2s(path.encode()).hexdigest()[:5], 16) % (512 * 1024)


def content(path: str, start: int, stop: int) -> Iterator[bytes]:
    """Yield bytes `start` to `stop` of a generated file, in blocks. The content depends only on the path."""
    for block in range(start // _BLOCK, -(-stop // _BLOCK)):
        whole = hashlib.shake_128(f"{path}#{block}".encode()).digest(_BLOCK)
        yield whole[max(0, start - block * _BLOCK) : stop - block * _BLOCK]


def _span(requested: str, size: int) -> tuple[int, int] | None:
    # None: not satisfiable. (0, -1): not a valid range, so the complete file is sent.
    match = _RANGE.match(requested.strip())
    if match is None or match.groups() == ("", ""):
        return 0, -1
    first, last = match.groups()
    if first == "":
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
    return (start, stop) if start < stop else None
