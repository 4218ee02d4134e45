"""Redaction of credentials in texts of a response, as a gateway may echo the request, and in frames. Pure."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Protocol

from yarl import URL

_HOLD_HEADERS: Final = ("aiohttp.", "videoapi.transport.")
_SHORTEST: Final = 8
"""Shorter keys occur only in tests, and redacting them would remove ordinary words."""
_LONGEST_ESCAPE: Final = 16
"""More characters than one takes in any usual spelling; what goes beyond that is likely not a credential."""
_MOST_LEVELS: Final = 4
"""How many escapes of one another are undone, such as `%252F`."""
_ESCAPE: Final = re.compile(
    r"""
    % (?P<percent>[0-9a-f]{2})
    | \\u(?P<high>d[89ab][0-9a-f]{2}) \\u(?P<low>d[c-f][0-9a-f]{2})
    | \\u(?P<unicode>[0-9a-f]{4})
    | \\x(?P<hex>[0-9a-f]{2})
    | \\[nrt]?  # also before a character that needs none, as in JSON's `\/`
    | (?P<entity>&(?:\#x?[0-9a-f]{1,8}|[a-z][a-z0-9]{1,31});)
    | \s  # base64 may be wrapped
    """,
    re.VERBOSE | re.IGNORECASE,
)
_FOR_URLS: Final = str.maketrans("+/", "-_")
"""The alphabet of base64 in URLs. Source: RFC 4648, 5."""
_Places = list[tuple[int, int]]


def strip_frames(error: BaseException, modules: tuple[str, ...] = _HOLD_HEADERS) -> None:
    """Remove the frames that hold secrets from an error and those that led to it, as error trackers record variables.

    Args:
        error: The error.
        modules: How the names of the modules begin whose frames are removed.
    """
    seen: BaseException | None = error
    while seen is not None:
        seen.with_traceback(_without_frames(seen.__traceback__, modules))
        seen = seen.__cause__ or seen.__context__


def _without_frames(traceback: TracebackType | None, modules: tuple[str, ...]) -> TracebackType | None:
    if traceback is None:
        return None
    rest = _without_frames(traceback.tb_next, modules)
    if traceback.tb_frame.f_globals.get("__name__", "").startswith(modules):
        return rest
    return TracebackType(rest, traceback.tb_frame, traceback.tb_lasti, traceback.tb_lineno)


class HasAuthorization(Protocol):
    """Credentials of a request."""

    @property
    def authorization(self) -> str:
        """The value of the `Authorization` header."""
        ...


def redact(text: str, credentials: HasAuthorization, most: int | None = None) -> str:
    """Return a text without the credentials, however servers spell them: as they are, escaped, encoded or wrapped.

    Args:
        text: The text.
        credentials: Those of the request.
        most: Cut the text after so many characters. Before that, the credentials are removed: a part of them would
            not be recognized.
    """
    encoded = credentials.authorization.partition(" ")[2]
    key = base64.b64decode(encoded).decode().partition(":")[2]
    if most is not None:
        text = text[: most + _LONGEST_ESCAPE * len(encoded)]
    known = (encoded.rstrip("="), encoded.rstrip("=").translate(_FOR_URLS), key)
    secrets = [secret for secret in known if _SHORTEST <= len(secret) <= len(text)]
    shown, done = "", 0
    for start, end in sorted(_places_of(secrets, text)) if secrets else ():
        if most is not None and start >= most:
            break
        if start >= done:
            shown += f"{text[done:start]}…"
        done = max(done, end)
    return shown + text[done:most]


def _places_of(secrets: Sequence[str], text: str) -> Iterator[tuple[int, int]]:
    """Yield where a text has a secret, as it is or with escapes: from where to where."""
    plain, places = _without_escapes(text)
    for secret in secrets:
        # Gateways change the case of what they echo.
        for found in re.finditer(f"{re.escape(secret)}=*", text, re.IGNORECASE):
            yield found.span()
        # A key may look like an escape itself.
        unescaped, _ = _without_escapes(secret)
        if len(unescaped) >= _SHORTEST:
            for found in re.finditer(f"{re.escape(unescaped)}=*", plain, re.IGNORECASE):
                yield places[found.start()][0], places[found.end() - 1][1]


def _without_escapes(text: str) -> tuple[str, _Places]:
    """Return a text without escapes and spaces, one character per byte of its UTF-8, and where each comes from."""
    places = [(at, at + 1) for at in range(len(text))]
    if not text.isascii():
        places = [place for place, character in zip(places, text, strict=True) for _ in _as_bytes(character)]
        text = _as_bytes(text)
    for _ in range(_MOST_LEVELS):
        parts: list[str] = []
        origins: _Places = []
        done = 0
        for escape in _ESCAPE.finditer(text):
            start, end = escape.span()
            plain = _meaning(escape)
            parts += text[done:start], plain
            origins += places[done:start]
            origins += [(places[start][0], places[end - 1][1])] * len(plain)
            done = end
        if not done:
            break
        text, places = "".join([*parts, text[done:]]), origins + places[done:]
    return text, places


def _meaning(escape: re.Match[str]) -> str:
    """Return the characters of an escape, one character per byte of its UTF-8."""
    if byte := escape["percent"] or escape["hex"]:
        return chr(int(byte, 16))
    if escape["high"]:
        return _as_bytes(bytes.fromhex(escape["high"] + escape["low"]).decode("utf-16-be"))
    if escape["unicode"]:
        return _as_bytes(chr(int(escape["unicode"], 16)))
    return _as_bytes(html.unescape(escape["entity"])) if escape["entity"] else ""


def _as_bytes(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("latin-1")


def redact_url(url: URL) -> str:
    """Return a URL without user, query and fragment, which may contain secrets."""
    host = f"[{url.raw_host}]" if ":" in (url.raw_host or "") else url.raw_host
    port = f":{url.explicit_port}" if url.explicit_port is not None else ""
    return f"{url.scheme}://{host}{port}{url.raw_path}"
