"""Redaction of secrets in reprs and in exported values."""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

_SECRETS: Final = frozenset({"app_key", "auth", "password", "pin", "secret", "token", "username"})
_EXPORTED: Final = frozenset({"app_key", "auth", "password", "pin", "secret", "username"})
# The end may be missing, in a text that was cut.
_FIELD: Final = re.compile(rf'("(?:{"|".join(sorted(_SECRETS))})"\s*:\s*)("(?:[^"\\]|\\.?)*"?|[^\s",{{}}\[\]]+)')
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


def without_secrets(value: Any) -> Any:
    """Return a JSON value with keys, passwords and PINs replaced by `***`, at any depth."""
    if isinstance(value, Mapping):
        return {
            name: "***" if name in _EXPORTED and inner not in (None, "") else without_secrets(inner)
            for name, inner in value.items()
        }
    return [without_secrets(item) for item in value] if isinstance(value, list | tuple) else value


def room_without_secrets(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a room's fields without its telephone secrets; responses have `sip` at the top, or within `settings`."""
    return {**fields, **{name: without_secrets(fields[name]) for name in ("sip", "settings") if name in fields}}


def text_without_secrets(text: str) -> str:
    """Return JSON text, valid or not, with keys, passwords, PINs and tokens replaced by `***`."""
    return _FIELD.sub(r'\1"***"', text)


def secret_in(value: Any, path: str) -> str | None:
    """Return the dotted name of the first key, password or PIN in a JSON value; None if it has none.

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
        if name in _EXPORTED and inner not in (None, ""):
            return where
        if found := secret_in(inner, where):
            return found
    return None
