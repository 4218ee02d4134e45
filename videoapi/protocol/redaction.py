"""Redaction of credentials in errors, as a gateway may echo the request. Pure."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final

import attrs
from yarl import URL

if TYPE_CHECKING:
    from videoapi.protocol.outcome import Outcome

_SHORTEST: Final = 8
"""Shorter keys occur only in tests, and redacting them would remove ordinary words."""


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
