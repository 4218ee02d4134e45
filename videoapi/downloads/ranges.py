"""Going on where a download broke: what to ask for, what the answer allows. Source: RFC 9110, 13 and 14."""

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
    """Which bytes a file consists of, as far as its server tells.

    Args:
        total: Its length in bytes, or None.
        etag: Its strong entity tag, or None.
        modified: Its `Last-Modified`, or None.
    """

    total: int | None = None
    etag: str | None = None
    modified: str | None = None

    @property
    def validator(self) -> str | None:
        """What proves to the server which version we have part of; None where nothing does."""
        return self.etag or self.modified

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], total: int | None) -> Self:
        """Read the version from an answer's headers; a weak tag proves nothing about bytes."""
        etag = headers.get("ETag", "").strip()
        modified = headers.get("Last-Modified", "").strip()
        return cls(
            total=total,
            etag=etag if _STRONG_TAG.fullmatch(etag) else None,
            modified=modified if modified.isascii() and modified.isprintable() and modified else None,
        )

    @classmethod
    def parse(cls, document: Any) -> Self | None:
        """Read a version back from what was kept on disk; None where it is not plainly one."""
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
    """The file from its first byte; what was kept is worthless."""

    version: Version


@attrs.frozen
class RemainingBody:
    """The bytes that follow those kept, up to `stop` (exclusive)."""

    stop: int
    version: Version


@attrs.frozen
class Restart:
    """The answer cannot be joined to the bytes kept: ask for the whole file."""

    message: str


@attrs.frozen
class UnusableResponse:
    """The answer is not the file."""

    message: str
    reason: str


Head = FullBody | RemainingBody | Restart | UnusableResponse


def range_headers(received: int, version: Version) -> dict[str, str]:
    """Return the headers that ask for the rest of a file, or none where it must begin anew.

    Args:
        received: Bytes kept.
        version: The version they are of.
    """
    if not received or version.validator is None:
        return {}
    return {"Range": f"bytes={received}-", "If-Range": version.validator}


def interpret_head(
    status: int, headers: Mapping[str, str], *, received: int, version: Version, asked: bool, name: str
) -> Head:
    """Decide what the answer 200, 206 or 416 means for the bytes kept; two versions are never joined.

    Args:
        status: The answer's status.
        headers: The answer's headers.
        received: Bytes kept.
        version: The version they are of.
        asked: Whether only the rest was asked for.
        name: The file's name, by which a page in its place is told.
    """
    if status == 416:
        return Restart("the server has no such range") if asked else UnusableResponse("HTTP 416", "refused")
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if trouble := _not_the_file(kind, headers, name):
        return trouble
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
        # Chunks tell their own end, and a length beside them is void (RFC 9112, 6.3).
        return FullBody(Version.from_headers(headers, None))
    if not _LENGTH.fullmatch(length):
        return UnusableResponse(
            "the server does not say where the file ends, so nobody could tell it from a part", "incomplete"
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
        return Restart("the server sent another part than was asked for")
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
