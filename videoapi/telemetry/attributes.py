"""The attributes of spans and metrics: no IDs, no query strings, nothing from a body but known result codes.

They follow OpenTelemetry's semantic conventions for HTTP clients, version 1.36.
"""

from __future__ import annotations

import re
from typing import Final

import attrs
from yarl import URL

from videoapi.errors import CreateOutcomeUnknown, VideoAPIError
from videoapi.protocol.error_mapping import error_from_outcome
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request, Route
from videoapi.protocol.types import ErrorKind, Verdict

Value = str | int | float | bool
Attributes = dict[str, Value]

_METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_FIELD: Final = re.compile(r"\{[^}]*\}")
_CODE: Final = re.compile(r"[A-Z][A-Z_]{0,47}")
REDACTED: Final = "REDACTED"


@attrs.frozen
class Target:
    """Where requests go, as attributes.

    Args:
        origin: Scheme, host and port of the API.
        prefix: The path of the base URL.
    """

    origin: str
    prefix: str
    server: Attributes = attrs.field(
        init=False, default=attrs.Factory(lambda target: _server(target.origin), takes_self=True)
    )

    def of_route(self, route: Route) -> Attributes:
        """Return what is known of a request before it is sent."""
        method = route.method if route.method in _METHODS else "_OTHER"
        known: Attributes = {"http.request.method": method, **self.server}
        if route.custom:
            # Its path may hold IDs anywhere.
            return {**known, "url.full": f"{self.origin}{self.prefix}/{REDACTED}"}
        template = self.prefix + route.template
        return {
            **known,
            "url.template": template,
            "url.full": self.origin + _FIELD.sub(REDACTED, template),
        }


def _server(origin: str) -> Attributes:
    url = URL(origin)
    return {"server.address": url.host or "", "server.port": url.port or 0}


def attempt_name(known: Attributes) -> str:
    """Return the name of an attempt's span."""
    method = "HTTP" if known["http.request.method"] == "_OTHER" else known["http.request.method"]
    template = known.get("url.template")
    return f"{method}" if template is None else f"{method} {template}"


def of_attempt(outcome: Outcome) -> Attributes:
    """Return what an attempt has shown, for spans and metrics."""
    found: Attributes = {}
    if outcome.status is not None:
        found["http.response.status_code"] = outcome.status
        found["network.protocol.version"] = "1.1"
    if outcome.verdict is not Verdict.DONE:
        failed = outcome.status is not None and outcome.status >= 400
        found["error.type"] = str(outcome.status) if failed else _kind(outcome.classification.kind)
    return found


def _kind(kind: ErrorKind) -> str:
    return "_OTHER" if kind is ErrorKind.NONE else kind.value.replace(" ", "_").lower()


def of_outcome(request: Request, outcome: Outcome) -> Attributes:
    """Return what a call has shown, for its span."""
    found: Attributes = {"videoapi.verdict": outcome.verdict.value}
    if outcome.status is not None:
        found["http.response.status_code"] = outcome.status
    if outcome.verdict is not Verdict.DONE:
        found |= of_error(error_from_outcome(request, outcome))
    return found


def of_error(error: BaseException) -> Attributes:
    """Return the class of an error and the service's result code, never its text."""
    found: Attributes = {"error.type": type(error).__name__}
    if isinstance(error, VideoAPIError):
        if isinstance(error, CreateOutcomeUnknown):
            found["videoapi.verdict"] = Verdict.UNKNOWN.value
        if error.status is not None:
            found["http.response.status_code"] = error.status
        if isinstance(error.code, int) or (isinstance(error.code, str) and _CODE.fullmatch(error.code)):
            found["videoapi.result_code"] = error.code
    return found
