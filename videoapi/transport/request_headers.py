"""Writes the headers of one client's requests; the constant parts are built once."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Final

from yarl import URL

from videoapi.config import Credentials, __version__, exact_text
from videoapi.errors import ConfigurationError
from videoapi.protocol.routes import CREATE_ROOM, Request

USER_AGENT: Final = f"videoapi/{__version__} Python/{sys.version_info.major}.{sys.version_info.minor}"
_JSON: Final = "application/json"
_TYPE: Final = "content-type"
_PATH: Final = re.compile(r"/[!-\"$-~]*")
"""Paths that need no encoding in a request line."""
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""Names of headers. Source: RFC 9110, 5.6.2."""
_OWN: Final = {
    "User-Agent": USER_AGENT,
    "Authorization": "",
    "Accept": _JSON,
    "Accept-Encoding": "gzip, deflate",
}
_WITHOUT_BODY: Final = frozenset({"GET", "OPTIONS", "TRACE"})
_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
_RESERVED: Final = frozenset(
    {"authorization", "connection", "content-length", "expect", "host", "transfer-encoding", "upgrade"}
)


class RequestWriter:
    """A writer of request headers for one base URL.

    Args:
        base: The base URL.
        headers: Headers for every request.

    Raises:
        ConfigurationError: If a header is not allowed.
    """

    __slots__ = (
        "_common",
        "_create",
        "_credentials",
        "_headers",
        "_host",
        "_lines",
        "_names",
        "_path",
        "_written_names",
    )

    def __init__(self, base: str, headers: object) -> None:
        url = URL(base)
        self._path, self._host = url.raw_path.rstrip("/"), url.host_port_subcomponent or ""
        self._headers = _checked(headers)
        self._credentials: Credentials | None = None
        self._common: dict[str, str] = {}
        self._names: set[str] = {name.lower() for name in (*_OWN, *self._headers)}
        self._written_names: set[str] = self._names | {_TYPE}
        self._lines = ""
        self._create = b""

    def headers(self, request: Request, credentials: Credentials) -> dict[str, str]:
        """Return the headers of a request, including those added by a middleware.

        Raises:
            ConfigurationError: If a middleware added a header that is not allowed.
        """
        # First, so that an error leaves no frame with the Authorization header.
        added = _checked(request.headers) if request.headers else {}
        self._write_for(credentials)
        fields = dict(self._common)
        if request.body is not None and _TYPE not in self._names:
            fields["Content-Type"] = _JSON
        return _merged(fields, added) if added else fields

    def serialize(self, request: Request, credentials: Credentials) -> bytes | None:
        """Return the complete serialized request, or None if it must go through the session.

        Raises:
            ConfigurationError: If a middleware added a header that is not allowed.
        """
        is_create = request.route is CREATE_ROOM and request.path == CREATE_ROOM.template
        if request.stream or not (is_create or _PATH.fullmatch(request.path)):
            return None
        # First, so that an error leaves no frame with the Authorization header.
        added, taken, replaces = "", self._written_names, False
        for name, value in _items(request.headers) if request.headers else ():
            name, value = _checked_header(name, value)
            added += f"{name}: {value}\r\n"
            lowered = name.lower()
            replaces = replaces or lowered in taken
            if len(request.headers) > 1:
                taken = taken | {lowered}
        self._write_for(credentials)
        if replaces:
            lines = _written({"Host": self._host, **self.headers(request, credentials)})
            return b"%b%b" % (f"{self._line(request)}{lines}{_length(request)}\r\n".encode(), request.body or b"")
        body, more = request.body, added.encode()
        if body is None:
            return b"%b%b\r\n" % (f"{self._line(request)}{self._lines}{_length(request)}".encode(), more)
        prefix = self._create if is_create else b""
        if not prefix:
            kind = "" if _TYPE in self._names else f"Content-Type: {_JSON}\r\n"
            prefix = f"{self._line(request)}{self._lines}{kind}Content-Length: ".encode()
            self._create = prefix if is_create else self._create
        return b"%b%d\r\n%b\r\n%b" % (prefix, len(body), more, body)

    def _line(self, request: Request) -> str:
        return f"{request.method} {self._path}{request.path} HTTP/1.1\r\n"

    def _write_for(self, credentials: Credentials) -> None:
        if credentials is self._credentials:
            return
        self._credentials = credentials
        self._common = _merged({**_OWN, "Authorization": credentials.authorization}, self._headers)
        self._lines = _written({"Host": self._host, **self._common})
        self._create = b""


def _checked(headers: object) -> dict[str, str]:
    checked: dict[str, str] = {}
    for item in _items(headers):
        name, value = _checked_header(*item)
        # The last one of a name counts, in any case.
        checked = _merged(checked, {name: value})
    return checked


def _items(headers: object) -> Iterable[tuple[object, object]]:
    if type(headers) is dict:
        return headers.items()
    if not isinstance(headers, Mapping):
        raise ConfigurationError(f"headers must be a mapping of names to text, not {type(headers).__name__}.")
    # A multidict may have a name more than once.
    return dict(headers.items()).items()


def _checked_header(name: object, value: object) -> tuple[str, str]:
    if type(name) is not str or type(value) is not str:
        name, value = exact_text(name), exact_text(value)
    if not isinstance(name, str):
        raise ConfigurationError(_not_a_name(name))
    if fault := _fault_of_name(name):
        raise ConfigurationError(fault)
    # Line ends would start another header; a lone surrogate cannot be encoded.
    if not isinstance(value, str) or not (value.isprintable() or _VALUE.fullmatch(value)):
        raise ConfigurationError(f"Invalid value of header {name}: expected text without control characters. Not sent.")
    return name, value


def _length(request: Request) -> str:
    if request.body is None and request.method in _WITHOUT_BODY:
        return ""
    return f"Content-Length: {len(request.body or b'')}\r\n"


@functools.lru_cache(maxsize=256)
def _fault_of_name(name: str) -> str:
    """Return why no header of this name can be added, or an empty text; most requests add the same few."""
    if _TOKEN.fullmatch(name) is None:
        return _not_a_name(name)
    if name.lower() not in _RESERVED:
        return ""
    advice = " Use credentials=." if name.lower() == "authorization" else ""
    return f"Header {name} is set by the client and cannot be added. Not sent.{advice}"


def _not_a_name(name: object) -> str:
    return f"Invalid header name {name!r}: expected a token such as X-Request-ID. Not sent."


def _merged(fields: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Return fields with others added; names are compared without case."""
    replaced = {name.lower() for name in more}
    return {**{name: value for name, value in fields.items() if name.lower() not in replaced}, **more}


def _written(fields: Mapping[str, str]) -> str:
    lines = ""
    for name, value in fields.items():
        lines += f"{name}: {value}\r\n"
    return lines
