"""Redaction of secrets in reprs and in exported values."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

_SECRETS: Final = frozenset({"app_key", "auth", "password", "pin", "secret", "token", "username"})
_NAMES: Final = "|".join(sorted(_SECRETS))
SECRET_FIELD: Final = rf'"(?:{_NAMES})\\*"(?:\s|\\+[nrt])*:|\\u00(?:0|2[02]|3[0-9aA]|5[cCfF]|[67])'
"""Matches what may be a secret in JSON text, and in JSON text within it; a pattern for `re` and for Arrow.

Also an escape that may be a part of a secret's name, or of what is next to one.
"""
_FIELD: Final = re.compile(SECRET_FIELD)
_STRING: Final = re.compile(
    r"""
    "(?P<inner>(?:[^"\\]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+)
    (?: (?P<end>")[ \t\r\n]*
      | (?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z  # the text was cut
    )
    """,
    re.VERBOSE,
)
_MOST_LEVELS: Final = 8
"""How many texts in one another are looked into: the backslashes of each double those of the next."""
_SPACE: Final = re.compile(r"[ \t\r\n]*+")
_DECODER: Final = json.JSONDecoder(strict=False)
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def redact(value: object) -> str:
    """Return a placeholder that reveals nothing about the value."""
    return "'***'"


def redact_url(url: object) -> str:
    """Return the repr of a URL without its query, fragment and credentials."""
    if isinstance(url, Mapping | list | tuple):
        return redact_within(url)
    try:
        split = urlsplit(str(url))
        host = split.netloc.rpartition("@")[2]
    except ValueError:
        return redact(url)
    tail = "?…" if split.query or split.fragment else ""
    return repr(f"{split.scheme}://{host}{split.path}{tail}" if split.scheme else f"{host}{split.path}{tail}")


def redact_urls(value: object) -> str:
    """Return the repr of a URL, or of a list of URLs and link objects, each URL redacted."""
    if isinstance(value, str):
        return redact_url(value)
    if isinstance(value, (list, tuple)):
        return f"({', '.join(redact_urls(item) for item in value)})"
    return redact_within(value)


def redact_within(value: object) -> str:
    """Return the repr of a value whose shape is open: what is a secret by its name is redacted, and each URL."""
    if isinstance(value, Mapping):
        shown = (
            f"{name!r}: {redact(item) if name in _SECRETS else redact_within(item)}" for name, item in value.items()
        )
        return f"{{{', '.join(shown)}}}"
    if isinstance(value, (list, tuple)):
        items = ", ".join(map(redact_within, value))
        if isinstance(value, list):
            return f"[{items}]"
        return f"({items},)" if len(value) == 1 else f"({items})"
    return redact_url(value) if isinstance(value, str) and _URL.match(value) else repr(without_secrets(value))


def without_secrets(value: Any, *, is_room: bool = False) -> Any:
    """Return a JSON value with the keys, passwords, PINs and tokens in it replaced by `***`.

    The name of a field says whether it is one, at any depth: a response may have a part in another place or form.

    Args:
        value: The value.
        is_room: Whether it is a room, or several, whose `data` is the user's own.
    """
    if isinstance(value, Mapping):
        return {name: field_without_secrets(name, inner, of_room=is_room) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item, is_room=is_room) for item in value]
    return text_without_secrets(value) if isinstance(value, str) else value


def field_without_secrets(name: str, value: Any, *, of_room: bool = False) -> Any:
    """Return the value of a field of an object, or of a room, like `without_secrets`."""
    if name in _SECRETS:
        return value if value in (None, "") else "***"
    return value if of_room and name == "data" else without_secrets(value, is_room=name == "room_details")


def text_without_secrets(text: str, levels: int = _MOST_LEVELS) -> str:
    """Return JSON text, valid or not, with keys, passwords, PINs and tokens replaced by `***`, also in texts in it.

    All else stays as it is. If the end of a secret is not clear, because the text is not valid JSON, the rest of it is
    replaced, too, and so is a text below `levels` texts in one another that may have one.
    """
    if not _FIELD.search(text):
        return text
    if not levels:
        return "***"
    shown: list[str] = []
    done = kept = begun = 0
    while (start := text.find('"', done)) >= 0:
        before = text[done:start]
        string = _STRING.match(text, start)
        after = text[string.end() : string.end() + 1] if string is not None else ""
        # A quote in the wrong place would turn what is a string, and what is not, around from there on.
        if string is None or "\\" in before or before.rstrip()[-1:] not in ":,{[" or after not in ":,}]":
            # Nor is the end of the string before it sure.
            del shown[kept:]
            done = begun
            break
        kept, begun = len(shown), done
        inner = _DECODER.decode(f'"{string["inner"]}"')
        if inner in _SECRETS and after == ":":
            start = _space_end(text, string.end() + 1)
            shown.append(text[done:start])
            done = _plain_end(text, start)
            shown.append('"***"' if text[start:done] not in ("null", '""') else text[start:done])
            continue
        end = string.end("end") if string["end"] else string.end()
        masked = text_without_secrets(inner, levels - 1)
        if masked == inner:
            shown.append(text[done:end])
        else:
            # As ASCII, because the text may have half a surrogate pair.
            shown.append(before + json.dumps(masked)[: None if string["end"] else -1])
        done = end
    rest = text[done:]
    found = _FIELD.search(rest)
    return "".join([*shown, f"{rest[: found.start()]}***" if found else rest])


def _plain_end(text: str, start: int) -> int:
    """Return where a JSON value ends; the end of the text if that is not clear."""
    try:
        _, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return len(text)
    after = _space_end(text, end)
    return end if text[after : after + 1] in ",}]" else len(text)


def _space_end(text: str, start: int) -> int:
    return _SPACE.match(text, start).end()  # type: ignore[union-attr]


def secret_in(value: Any, path: str) -> str | None:
    """Return the dotted name of the first key, password, PIN or token in a JSON value; None if it has none.

    Args:
        value: The value.
        path: Its own name.
    """
    if isinstance(value, list | tuple):
        return next((found for item in value if (found := secret_in(item, path))), None)
    if not isinstance(value, Mapping):
        return None
    for name, inner in value.items():
        where = f"{path}.{name}"
        if name in _SECRETS and inner not in (None, ""):
            return where
        if found := secret_in(inner, where):
            return found
    return None
