"""The meaning of HTTP statuses, as a table. Source: docs/contract.md 8.2, RFC 9110, RFC 6585."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from videoapi.protocol.types import ALWAYS, NEVER, ONCE, ErrorKind, Rule, Scope, Verdict

_REFUSED = Rule(Verdict.REJECTED, ErrorKind.REQUEST)
_GONE = Rule(Verdict.REJECTED, ErrorKind.NOT_FOUND)
_LATER = Rule(Verdict.THROTTLED, ErrorKind.RATE, safe=ALWAYS, idempotent=ALWAYS, repeatable=ALWAYS)
_FAULT = Rule(Verdict.UNKNOWN, ErrorKind.FAULT, safe=ALWAYS, idempotent=ALWAYS, repeatable=ONCE)
_REDIRECT = Rule(Verdict.UNKNOWN, ErrorKind.PROTOCOL)
_PROXY = Rule(Verdict.REJECTED, ErrorKind.PROXY, Scope.ACCOUNT)

STATUSES: Final[Mapping[int, Rule]] = MappingProxyType(
    {
        101: Rule(Verdict.UNKNOWN, ErrorKind.PROTOCOL),
        # A gateway redirected; the service may have executed the request before.
        **dict.fromkeys(range(300, 400), _REDIRECT),
        **dict.fromkeys((400, 402, 405, 406, 411, 413, 414, 415, 417, 421, 422, 426, 431, 451), _REFUSED),
        401: Rule(Verdict.REJECTED, ErrorKind.AUTHENTICATION, Scope.ACCOUNT),
        403: Rule(Verdict.REJECTED, ErrorKind.PERMISSION, Scope.ACCOUNT),
        404: _GONE,
        407: _PROXY,
        410: _GONE,
        # A server may send 408 when it closes an idle connection, so it proves nothing about this request.
        408: Rule(Verdict.UNKNOWN, ErrorKind.FAULT, safe=ALWAYS, idempotent=ALWAYS, repeatable=ONCE),
        # On a create, an earlier attempt of the same call may be the cause.
        409: Rule(Verdict.UNKNOWN, ErrorKind.CONFLICT, worth_waiting=True),
        425: _LATER,
        429: _LATER,
        511: _PROXY,
        **dict.fromkeys((500, 502, 503, 504, *range(520, 525), 598, 599), _FAULT),
    }
)
"""The rule per status. A 2xx has none: the result code decides."""

OF_PROXIES: Final[frozenset[int | str]] = frozenset({407, 511})
"""The statuses of a proxy or a captive network."""
TRUSTED_503: Final = _LATER
"""The rule of a gateway's 503 with Retry-After under `trust_503`: the gateway did not forward the request."""
DISTRUSTED_429: Final = Rule(Verdict.UNKNOWN, ErrorKind.RATE, safe=ALWAYS, idempotent=ALWAYS, repeatable=ONCE)
"""The rule of 429 and 425 without `trust_429`: the service may execute a request before limiting it."""

_OTHER_FAULT = Rule(Verdict.UNKNOWN, ErrorKind.FAULT)
_OTHER_CLIENT = Rule(Verdict.UNKNOWN, ErrorKind.UNLISTED)
_NO_STATUS = Rule(Verdict.UNKNOWN, ErrorKind.PROTOCOL)

REFUSED_CONNECTION: Final = Rule(
    Verdict.NOT_SENT, ErrorKind.CONNECTION, safe=ALWAYS, idempotent=ALWAYS, repeatable=ALWAYS
)
BAD_CERTIFICATE: Final = Rule(Verdict.NOT_SENT, ErrorKind.CERTIFICATE, safe=NEVER)
LOST_RESPONSE: Final = Rule(Verdict.UNKNOWN, ErrorKind.CONNECTION, safe=ALWAYS, idempotent=ALWAYS, repeatable=ONCE)


def rule_for_status(status: int) -> Rule | None:
    """Return the rule of an HTTP status, or None for 2xx: the result code decides."""
    if 200 <= status <= 299:
        return None
    rule = STATUSES.get(status)
    if rule is not None:
        return rule
    if 500 <= status <= 599:
        return _OTHER_FAULT
    return _OTHER_CLIENT if 400 <= status <= 499 else _NO_STATUS
