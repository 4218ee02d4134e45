"""The OpenAPI document of the contract, served with the sandbox as its only server."""

import json
from functools import cache
from importlib.resources import files

from videoapi.sandbox.responses import HttpResponse, dump

PATH = "/openapi.json"
"""Outside of the service's prefixes, so that no route of the service is hidden."""
_PREFIXES = ("/video/v2", "/video/v1", "/v1", "/v2")


def is_request_for_document(method: str, path: str) -> bool:
    """Return whether a request is for the document instead of the service."""
    return path == PATH and method in ("GET", "HEAD")


def document_response(origin: str) -> HttpResponse:
    """Return the document, with the servers replaced by `origin` and each prefix of the service.

    Args:
        origin: The scheme, host and port of the sandbox; empty if it has several, so that the URLs are relative to
            that of the document.
    """
    servers = [{"url": f"{origin}{prefix}", "description": "This sandbox."} for prefix in _PREFIXES]
    return HttpResponse(dump({**_document(), "servers": servers}))


@cache
def _document() -> dict[str, object]:
    # Generated from docs/openapi.yaml by `make openapi`.
    text = files("videoapi.sandbox").joinpath("openapi.json").read_text(encoding="utf-8")
    document: dict[str, object] = json.loads(text)
    return document
