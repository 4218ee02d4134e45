"""Resuming a download: range requests and their responses. Source: RFC 9110, 13 and 14."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Self

import attrs

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_LENGTH: Final = re.compile(r"\d{1,18}")
_STRONG_TAG: Final = re.compile(r'"[!#-~\x80-\xff]*"')
_PAGES: Final = frozenset({"text/html", "application/xhtml+xml"})
_MEDIA: Final = (".mkv", ".mov", ".mp4", ".webm", ".m4a", ".mp3", ".wav", ".ogg")


@attrs.frozen(kw_only=True)
class Version:
    """The version of a file, as far as its server identifies it.

    Args:
        total: Length in bytes, or None.
        etag: Strong entity tag, or None.
        modified: `Last-Modified`, or None.
    """

    total: int | None = None
    etag: str | None = None
    modified: str | None = None

    @property
    def validator(self) -> str | None:
        """The value of `If-Range`: entity tag or date, None without either."""
        return self.etag or self.modified

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], total: int | None) -> Self:
        """Return the version in response headers; weak entity tags are ignored, as they do not identify bytes."""
        etag = headers.get("ETag", "").strip()
        modified = headers.get("Last-Modified", "").strip()
        return cls(
            total=total,
            etag=etag if _STRONG_TAG.fullmatch(etag) else None,
            modified=modified if modified.isascii() and modified.isprintable() and modified else None,
        )

    @classmethod
    def parse(cls, document: Any) -> Self | None:
        """Parse a version stored on disk; return None if it is not valid."""
        if not isinstance(document, dict):
            return None
        total, etag, modified = (document.get(name) for name in ("total", "etag", "modified"))
        if total is not None and (type(total) is not int or total < 0):
            return None
        headers = {"ETag": etag, "Last-Modified": modified}
        texts = {name: value for name, value in headers.items() if isinstance(value, str)}
        return cls.from_headers(texts, total)


@attrs.frozen
class FullBody:
    """The file from its first byte; discard the bytes kept."""

    version: Version


@attrs.frozen
class RemainingBody:
    """The bytes that follow those kept, up to `stop` (exclusive)."""

    stop: int
    version: Version


@attrs.frozen
class Restart:
    """A response that cannot be joined to the bytes kept: request the complete file."""

    message: str


@attrs.frozen
class UnusableResponse:
    """A response that is not the file."""

    message: str
    reason: str


Head = FullBody | RemainingBody | Restart | UnusableResponse


def range_headers(received: int, version: Version) -> dict[str, str]:
    """Return the headers that request the rest of a file; empty if the download must restart.

    Args:
        received: Number of bytes kept.
        version: Version of the file they belong to.
    """
    if not received or version.validator is None:
        return {}
    return {"Range": f"bytes={received}-", "If-Range": version.validator}


def interpret_head(
    status: int, headers: Mapping[str, str], *, received: int, version: Version, asked: bool, name: str
) -> Head:
    """Return what a response 200, 206 or 416 means for the bytes kept. Never joins two versions.

    Args:
        status: The response status.
        headers: The response headers.
        received: Number of bytes kept.
        version: Version of the file they belong to.
        asked: Whether only the rest was requested.
        name: The file name; its extension reveals a web page sent in place of the file.
    """
    if status == 416:
        return Restart("the server has no such range") if asked else UnusableResponse("HTTP 416", "refused")
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if unusable := _not_the_file(kind, headers, name):
        return unusable
    if status == 206:
        if not asked:
            return UnusableResponse("the server sent a part of the file, unasked", "incomplete")
        return _rest(kind, headers, received, version)
    return _whole(headers)


def _not_the_file(kind: str, headers: Mapping[str, str], name: str) -> UnusableResponse | None:
    ending = name.lower()
    if kind in _PAGES and not ending.endswith((".html", ".htm", ".xhtml")):
        return UnusableResponse("a web page came in place of the file, likely a login", "credentials")
    if kind == "application/json" and ending.endswith(_MEDIA):
        return UnusableResponse("a JSON document came in place of the file", "refused")
    if headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        return UnusableResponse("the server compressed the file, though asked not to", "refused")
    return None


def _whole(headers: Mapping[str, str]) -> Head:
    length = headers.get("Content-Length", "").strip()
    framed = "chunked" in headers.get("Transfer-Encoding", "").lower()
    if framed:
        # Chunked framing marks its own end, and overrides Content-Length (RFC 9112, 6.3).
        return FullBody(Version.from_headers(headers, None))
    if not _LENGTH.fullmatch(length):
        return UnusableResponse(
            "the server does not say where the file ends, so a part could pass for it", "incomplete"
        )
    return FullBody(Version.from_headers(headers, int(length)))


def _rest(kind: str, headers: Mapping[str, str], received: int, version: Version) -> Head:
    if kind == "multipart/byteranges":
        return Restart("the server sent several ranges")
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if found is None:
        return Restart("the server does not say which part it sent")
    first, last, total = (int(number) for number in found.groups())
    if first != received or not first <= last < total:
        return Restart("the server sent another part than was requested")
    length = headers.get("Content-Length", "").strip()
    if length and "Transfer-Encoding" not in headers and length != str(last - first + 1):
        return Restart("the server announced two lengths for the part")
    if version.total not in (None, total):
        return Restart("the file's length has changed")
    now = Version.from_headers(headers, total)
    same = now.etag == version.etag if version.etag else now.modified == version.modified
    if not same:
        return Restart("the file has changed")
    return RemainingBody(last + 1, attrs.evolve(version, total=total))
