"""The service's responses: bodies, error envelopes and the HTTP status of each result code."""

import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping

import attrs
import msgspec

from videoapi.protocol.codes import TEXTS
from videoapi.sandbox.switches import Switches

JSON = "application/json; charset=utf-8"
_SUCCESS = re.compile(rb'\A\{"result":(?:0|"0"),?')
_NAMES = {
    400: "INVALID_PARAM",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    429: "RATE_LIMITED",
    500: "INTERNAL_ERROR",
    503: "SERVICE_UNAVAILABLE",
}


class Refusal(Exception):
    """An error response: a documented code, a text for `desc`, and a status if it differs from the code's own."""

    def __init__(self, code: int, *, desc: str = "", status: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.desc = desc
        self.status = status


@attrs.frozen
class HttpResponse:
    """A response to be sent. Its body is bytes, or blocks that are generated while they are sent.

    `size` estimates the length in bytes of a body in blocks, before they are generated.
    """

    body: bytes | Iterable[bytes]
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = attrs.field(factory=dict)
    size: int | None = None


def dump(value: object) -> bytes:
    """Serialize JSON as the service does: UTF-8, no whitespace, lone surrogates escaped, numbers of any size."""
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError):
        return json.dumps(value, separators=(",", ":")).encode()


def status_of(code: int) -> int:
    """Return the HTTP status of a result code. Source: docs/contract.md 10.4."""
    if code == 10000:
        return 401
    if code == 40001:
        return 404
    if code in (10030, 50004):
        return 409
    if code in (10111, 10112, 10113, 10114, 40002):
        return 403
    if code == 10105:
        return 503
    return 400 if 10000 < code < 20000 else 500


def refuse(switches: Switches, refusal: Refusal) -> HttpResponse:
    """Return the error envelope of a refusal. Source: docs/contract.md 3 and 10.1."""
    status = refusal.status or status_of(refusal.code)
    text = TEXTS.get(refusal.code, "Internal Server Error")
    body: dict[str, object]
    if switches.envelope == "status":
        body = named_error(_NAMES.get(status, "INTERNAL_ERROR"), text)
    else:
        code = str(refusal.code) if switches.result_as == "string" else refusal.code
        body = {"result": code, "error": f"[Reason] {text}", "desc": refusal.desc}
    return HttpResponse(dump(body), 200 if switches.status_mode == "legacy200" else status)


def unauthorised(switches: Switches) -> HttpResponse:
    """Return the response to a request without valid credentials. Source: docs/contract.md 10.14."""
    kind = switches.auth_failure_body
    if kind == "result":
        return refuse(switches, Refusal(10000, status=401))
    status = 200 if switches.status_mode == "legacy200" else 401
    if kind == "empty":
        return HttpResponse(b"", status)
    if kind == "sms":
        failed = "Authentication failed"
        return HttpResponse(dump({"result": "1", "details": failed, "desc": failed}), status)
    return HttpResponse(dump(named_error("UNAUTHORIZED", "Authentication failed")), status)


def contradicted(answer: HttpResponse, code: int) -> HttpResponse:
    """Replace the `result` of a success with an error's envelope after the data.

    Args:
        answer: The response to change; an error is returned unchanged.
        code: The `result` that follows the data.
    """
    if answer.status >= 400:
        return answer
    whole = [answer.body] if isinstance(answer.body, bytes) else answer.body
    end = dump({"result": code, "error": f"[Reason] {TEXTS.get(code, 'Scripted fault')}", "desc": ""})
    body = _turned(iter(whole), end[1:])
    return attrs.evolve(answer, body=b"".join(body) if isinstance(answer.body, bytes) else body)


def _turned(blocks: Iterator[bytes], end: bytes) -> Iterator[bytes]:
    held = _SUCCESS.sub(b"{", next(blocks))
    for block in blocks:
        yield held
        held = block
    yield held[:-1] + (b"" if held == b"{}" else b",") + end


def named_error(name: str, message: str) -> dict[str, object]:
    """Return the newer error envelope, with a name instead of a number. Source: docs/contract.md 8.2."""
    return {
        "status": "error",
        "error_code": name,
        "message": message,
        "request_id": f"req_{secrets.token_hex(8)}",
    }
