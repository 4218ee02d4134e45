"""Redaction of credentials in errors, as a gateway may echo the request. Pure."""

from __future__ import annotations

import base64
from typing import Final

import attrs
from yarl import URL

from videoapi.protocol.outcome import Outcome

_SHORTEST: Final = 8
"""Shorter keys occur only in tests, and redacting them would remove ordinary words."""


def redact_outcome(outcome: Outcome, authorization: str) -> Outcome:
    """Return an outcome with the credentials of the request removed from its error details.

    Args:
        outcome: The outcome of the request.
        authorization: The value of the request's `Authorization` header.
    """
    details = outcome.details
    if details is None or not (details.error or details.desc or details.request_id):
        return outcome
    encoded = authorization.partition(" ")[2]
    key = base64.b64decode(encoded).decode().partition(":")[2]
    secrets = [secret for secret in (encoded, encoded.rstrip("="), key) if len(secret) >= _SHORTEST]

    def redact(text: str | None) -> str | None:
        for secret in secrets:
            text = text.replace(secret, "…") if text else text
        return text

    redacted = attrs.evolve(
        details, error=redact(details.error), desc=redact(details.desc), request_id=redact(details.request_id)
    )
    return outcome if redacted == details else attrs.evolve(outcome, details=redacted)


def redact_url(url: URL) -> str:
    """Return a URL without user, query and fragment, which may contain secrets."""
    host = f"[{url.raw_host}]" if ":" in (url.raw_host or "") else url.raw_host
    port = f":{url.explicit_port}" if url.explicit_port is not None else ""
    return f"{url.scheme}://{host}{port}{url.raw_path}"
