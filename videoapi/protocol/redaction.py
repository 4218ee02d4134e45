"""What a gateway repeats of what it was sent must not travel on in an error. Pure."""

from __future__ import annotations

import base64
from typing import Final

import attrs
from yarl import URL

from videoapi.protocol.outcome import Outcome

_SHORTEST: Final = 8
"""A shorter key is a word of a test, and would be struck out of plain sentences."""


def redact_outcome(outcome: Outcome, authorization: str) -> Outcome:
    """Strike the credentials of a request out of what the service says of its failure.

    Args:
        outcome: What became of the request.
        authorization: The value of its `Authorization` header.
    """
    fault = outcome.details
    if fault is None or not (fault.error or fault.desc or fault.request_id):
        return outcome
    encoded = authorization.partition(" ")[2]
    key = base64.b64decode(encoded).decode().partition(":")[2]
    secrets = [secret for secret in (encoded, encoded.rstrip("="), key) if len(secret) >= _SHORTEST]

    def strike(text: str | None) -> str | None:
        for secret in secrets:
            text = text.replace(secret, "…") if text else text
        return text

    struck = attrs.evolve(
        fault, error=strike(fault.error), desc=strike(fault.desc), request_id=strike(fault.request_id)
    )
    return outcome if struck == fault else attrs.evolve(outcome, details=struck)


def redact_url(url: URL) -> str:
    """Return a URL as an error may show it: without user, query and fragment, which may be secrets."""
    host = f"[{url.raw_host}]" if ":" in (url.raw_host or "") else url.raw_host
    port = f":{url.explicit_port}" if url.explicit_port is not None else ""
    return f"{url.scheme}://{host}{port}{url.raw_path}"
