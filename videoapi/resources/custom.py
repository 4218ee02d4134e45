"""`client.request`: routes that only a white-label has."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote, urlencode

from videoapi.errors import ValidationError
from videoapi.events import log_cancelled, log_unknown
from videoapi.models.codec import encode
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.error_mapping import error_from_outcome
from videoapi.protocol.response import Response
from videoapi.protocol.routes import Request, Route
from videoapi.protocol.types import Operation, Verdict

_OPERATIONS: Final = {
    "read": Operation.SAFE,
    "update": Operation.IDEMPOTENT,
    "create": Operation.NON_REPEATABLE,
    "delete": Operation.IDEMPOTENT,
}
_METHOD: Final = re.compile(r"[A-Z]{1,16}")
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f\\?#\ud800-\udfff]")


async def send(
    pipeline: Pipeline,
    method: str,
    path: str,
    *,
    json: object,
    params: Mapping[str, object] | None,
    headers: Mapping[str, str] | None,
    operation: str,
) -> Response:
    """Send a request to a path below the base URL; see `VideoClient.request`."""
    try:
        route, target = _route(method, path, operation)
        query = _query(params)
        request = Request(
            route=route,
            path=f"{target}?{query}" if query else target,
            options=pipeline.options,
            body=None if json is None else encode(json),
            headers=headers or {},
        )
    finally:
        # The request does not show them in the frames of an error.
        del headers
    creates = route.operation is Operation.NON_REPEATABLE
    try:
        outcome = await pipeline.send(request)
    except asyncio.CancelledError as error:
        if creates:
            log_cancelled(error, f"{method} {target}", None)
        raise
    if outcome.verdict is not Verdict.DONE:
        if creates and outcome.may_have_executed:
            log_unknown(f"{method} {target}", None)
        raise error_from_outcome(request, outcome)
    request_id = outcome.headers.get("X-Request-Id")
    return Response(status=outcome.status or 200, headers=outcome.headers, request_id=request_id, body=outcome.body)


def _route(method: object, path: object, operation: object) -> tuple[Route, str]:
    if not isinstance(method, str) or _METHOD.fullmatch(method.upper()) is None or method.upper() == "CONNECT":
        raise ValidationError(f"Invalid method {method!r}: expected GET, POST, PATCH or the like.", field="method")
    if not isinstance(operation, str) or operation not in _OPERATIONS:
        raise ValidationError(f"Invalid operation {operation!r}: expected {', '.join(_OPERATIONS)}.", field="operation")
    target = _target(path)
    return Route("request", method.upper(), target, _OPERATIONS[operation], custom=True), target


def _target(path: object) -> str:
    """Return the path below the base URL, percent-encoded; it cannot lead elsewhere."""
    if not isinstance(path, str) or not path.strip("/"):
        raise ValidationError(f"Invalid path {path!r}: expected one such as /rooms.", field="path")
    if _UNSAFE.search(path) or path.startswith("//") or "://" in path:
        raise ValidationError(
            f"Invalid path {path!r}: expected a path below the base URL; put a query into params.", field="path"
        )
    segments = unquote(path).replace("\\", "/").split("/")
    if "." in segments or ".." in segments:
        raise ValidationError(f"Invalid path {path!r}: it must not contain . or .. as a segment.", field="path")
    return "/" + quote(path.removeprefix("/"), safe="/%:@!$&'()*+,;=-._~")


def _query(params: object) -> str:
    if params is None:
        return ""
    if not isinstance(params, Mapping):
        raise ValidationError(f"params must be a mapping, not {type(params).__name__}.", field="params")
    try:
        return urlencode([(_name(name), _text(name, value)) for name, value in params.items()])
    except UnicodeEncodeError:
        raise ValidationError("params contain a lone surrogate, which UTF-8 cannot encode.", field="params") from None


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise ValidationError(f"Names in params must be text, not {type(name).__name__}.", field="params")
    return name


def _text(name: str, value: object) -> str:
    """Return the value of a parameter as it is sent."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        raise ValidationError(f"Invalid parameter {name!r}: {value} is not a finite number.", field="params")
    if not isinstance(value, str | int | float):
        raise ValidationError(
            f"Invalid parameter {name!r}: expected text or a number, not {type(value).__name__}.", field="params"
        )
    try:
        return str(value)
    except ValueError:
        # Python writes no longer ones.
        raise ValidationError(f"Invalid parameter {name!r}: a number of too many digits.", field="params") from None
