"""Settings as they may be shown. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit, urlunsplit

_LONGEST: Final = 120
_SHORTEST: Final = 8


def app_id(value: str) -> str:
    """Return the first three characters of an APP_ID: enough to recognize it, too few if it is a key by mistake."""
    return f"{value[:3]}***"


def secret(value: str) -> str:
    """Return only the length of a key or password."""
    return f"(set, {len(value)} characters)"


def url(value: str) -> str:
    """Return a URL without user, password, query and fragment."""
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  # raises if it is not a number
    except ValueError:
        return "(set, not a URL)"
    if not parts.scheme or not parts.hostname:
        return "(set, not a URL)"
    user, at, host = parts.netloc.rpartition("@")
    bare = urlunsplit((parts.scheme, host, parts.path, "", ""))[:_LONGEST]
    return f"{bare} (with a user)" if at and user else bare


def redis(value: str) -> str:
    """Return the URL of a Redis server without user, password and options."""
    scheme, _, rest = value.partition("://")
    return f"unix:{rest.rpartition('@')[2].partition('?')[0][:_LONGEST]}" if scheme == "unix" else url(value)


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return a text with secrets replaced by `***`; short ones occur only in tests, and in ordinary words."""
    for value in secrets:
        if len(value) >= _SHORTEST:
            # A host is shown in lower case.
            text = re.sub(re.escape(value), "***", text, flags=re.IGNORECASE)
    return text


def plain(value: str) -> str:
    """Return a value that may be shown, shortened."""
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."


SHOWN: Final[Mapping[str, Callable[[str], str]]] = {
    "VIDEOAPI_APP_ID": app_id,
    "VIDEOAPI_APP_KEY": secret,
    "VIDEOAPI_BASE_URL": url,
    "VIDEOAPI_PROFILE": plain,
    "VIDEOAPI_PROXY": url,
    "VIDEOAPI_CA_FILE": plain,
    "VIDEOAPI_ALLOW_HTTP": plain,
    "VIDEOAPI_RECORDING_USER": app_id,
    "VIDEOAPI_RECORDING_PASSWORD": secret,
    "VIDEOAPI_REDIS": redis,
    "VIDEOAPI_PROCESSES": plain,
    "VIDEOAPI_RATE": plain,
    "VIDEOAPI_WEBHOOK_URL": url,
    "VIDEOAPI_WEBHOOK_USER": app_id,
    "VIDEOAPI_WEBHOOK_PASSWORD": secret,
}
"""The variables of the library, each with what may be shown of it."""
SECRETS: Final = tuple(name for name, mask in SHOWN.items() if mask is secret)
"""The variables with keys and passwords."""
