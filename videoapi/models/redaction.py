"""Redaction of secrets in reprs and in exported values."""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

_SECRETS: Final = frozenset({"app_key", "auth", "password", "pin", "secret", "token", "username"})
_NAMES: Final = "|".join(sorted(_SECRETS))
SECRET_FIELD: Final = rf'"(?:{_NAMES})\\*"\s*:'
"""Matches the start of a secret in JSON text, and in JSON text within it; a pattern for `re` and for Arrow."""
# Each quote in JSON text within JSON text has the same backslashes before it. The end of a value may be missing, in a
# text that was cut; where an object or a list ends is not looked for, as it may be missing, too.
_FIELD: Final = re.compile(
    rf"""
    ((?<!\\)(?P<escape>\\*+)"(?:{_NAMES})(?P=escape)"\s*:\s*)
    (?: (?P=escape)"(?:[^"\\]|(?P=escape)\\(?:(?P=escape)["\\]|[^"\\])?)*+(?:(?P=escape)")?
      | [{{\[].*
      | [^\s",{{}}\[\]\\]+
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def redact(value: object) -> str:
    """Return a placeholder that reveals nothing about the value."""
    return "'***'"


def redact_url(url: object) -> str:
    """Return the repr of a URL without its query, fragment and credentials."""
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
        opening, closing = "()" if isinstance(value, tuple) else "[]"
        return f"{opening}{', '.join(map(redact_within, value))}{closing}"
    return redact_url(value) if isinstance(value, str) and _URL.match(value) else repr(value)


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
    return text_without_secrets(value) if isinstance(value, str) and '"' in value else value


def field_without_secrets(name: str, value: Any, *, of_room: bool = False) -> Any:
    """Return the value of a field of an object, or of a room, like `without_secrets`."""
    if name in _SECRETS:
        return value if value in (None, "") else "***"
    return value if of_room and name == "data" else without_secrets(value, is_room=name == "room_details")


def text_without_secrets(text: str) -> str:
    """Return JSON text, valid or not, with keys, passwords, PINs and tokens replaced by `***`, also in texts in it."""
    return _FIELD.sub(r'\1\g<escape>"***\g<escape>"', text)


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
