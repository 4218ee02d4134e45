"""Redaction of credentials in errors: in their text, as a gateway may echo the request, and in their frames. Pure."""

from __future__ import annotations

import base64
import re
from types import TracebackType
from typing import TYPE_CHECKING, Final

import attrs
from yarl import URL

if TYPE_CHECKING:
    from videoapi.protocol.outcome import Outcome

_HOLD_HEADERS: Final = ("aiohttp.", "videoapi.transport.")
_SHORTEST: Final = 8
"""Shorter keys occur only in tests, and redacting them would remove ordinary words."""


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


def redact_outcome(outcome: Outcome, authorization: str) -> Outcome:
    """Return an outcome with the credentials of the request removed from its error details and its reason.

    Args:
        outcome: The outcome of the request.
        authorization: The value of the request's `Authorization` header.
    """
    details = outcome.details
    texts = (outcome.reason, *((details.error, details.desc, details.request_id) if details is not None else ()))
    redacted = [redact(text, authorization) if text else text for text in texts]
    if redacted == [*texts]:
        return outcome
    reason, *rest = redacted
    if details is not None:
        details = attrs.evolve(details, error=rest[0], desc=rest[1], request_id=rest[2])
    return attrs.evolve(outcome, reason=reason or "", details=details)


def redact(text: str, authorization: str) -> str:
    """Return a text without the credentials of an `Authorization` header."""
    encoded = authorization.partition(" ")[2]
    key = base64.b64decode(encoded).decode().partition(":")[2]
    for secret in (encoded, encoded.rstrip("="), key):
        if len(secret) >= _SHORTEST:
            # Gateways change the case of what they echo.
            text = re.sub(re.escape(secret), "…", text, flags=re.IGNORECASE)
    return text


def redact_url(url: URL) -> str:
    """Return a URL without user, query and fragment, which may contain secrets."""
    host = f"[{url.raw_host}]" if ":" in (url.raw_host or "") else url.raw_host
    port = f":{url.explicit_port}" if url.explicit_port is not None else ""
    return f"{url.scheme}://{host}{port}{url.raw_path}"
