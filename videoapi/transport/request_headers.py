"""Writes the headers of one client's requests; the constant parts are built once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from yarl import URL

from videoapi.errors import ConfigurationError
from videoapi.protocol.routes import CREATE_ROOM, Request

USER_AGENT: Final = "videoapi"
_JSON: Final = "application/json"
_PATH: Final = re.compile(r"/[!-\"$-~]*")
"""Paths that need no encoding in a request line."""


class RequestWriter:
    """A writer of request headers for one base URL.

    `authorization` is the `Authorization` header of the latest request.
    """

    __slots__ = ("_common", "_create", "_host", "_lines", "_path", "authorization")

    def __init__(self, base: str) -> None:
        url = URL(base)
        self._path, self._host = url.raw_path.rstrip("/"), url.host_port_subcomponent
        self.authorization = self._lines = ""
        self._common: dict[str, str] = {}
        self._create = b""

    def headers(self, request: Request, authorization: str) -> dict[str, str]:
        """Return the headers of a request, including those added by a middleware.

        Raises:
            ConfigurationError: If a middleware added a header that is not allowed.
        """
        self._write_for(authorization)
        fields = dict(self._common)
        if request.body is not None:
            fields["Content-Type"] = _JSON
        if request.headers:
            fields.update(_checked(request.headers))
        return fields

    def serialize(self, request: Request, authorization: str) -> bytes | None:
        """Return the complete serialized request, or None if it must go through the session."""
        if request.stream or request.headers or _PATH.fullmatch(request.path) is None:
            return None
        self._write_for(authorization)
        body = request.body
        if body is None:
            length = "" if request.method == "GET" else "Content-Length: 0\r\n"
            return f"{self._line(request)}{self._lines}{length}\r\n".encode()
        is_create = request.route is CREATE_ROOM and request.path == CREATE_ROOM.template
        prefix = self._create if is_create else b""
        if not prefix:
            prefix = f"{self._line(request)}{self._lines}Content-Type: {_JSON}\r\nContent-Length: ".encode()
            self._create = prefix if is_create else self._create
        return b"%b%d\r\n\r\n%b" % (prefix, len(body), body)

    def _line(self, request: Request) -> str:
        return f"{request.method} {self._path}{request.path} HTTP/1.1\r\n"

    def _write_for(self, authorization: str) -> None:
        if authorization == self.authorization:
            return
        self.authorization = authorization
        self._common = {"Authorization": authorization, "Accept": _JSON, "Accept-Encoding": "gzip, deflate"}
        lines = {"Host": self._host, "User-Agent": USER_AGENT, **self._common}
        self._lines = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._create = b""


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers; reject those that aiohttp would reject only after connecting."""
    for name, value in headers.items():
        if any(character in "\r\n\0" for character in f"{name}{value}"):
            raise ConfigurationError(f"Header {name!r} holds a line end or NUL.")
        if name.lower() == "authorization":
            raise ConfigurationError("A middleware must not set Authorization; give `credentials=` instead.")
    return dict(headers)
