"""What an HTTP status means: one table as data. Source: docs/contract.md 8.2, RFC 9110, RFC 6585."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from videoapi.protocol.verdicts import ALWAYS, NEVER, ONCE, ErrorKind, Rule, Scope, Verdict

_REFUSED = Rule(Verdict.REJECTED, ErrorKind.REQUEST)
_GONE = Rule(Verdict.REJECTED, ErrorKind.NOT_FOUND)
_LATER = Rule(Verdict.THROTTLED, ErrorKind.RATE, safe=ALWAYS, idempotent=ALWAYS, repeatable=ALWAYS)
_FAULT = Rule(Verdict.UNKNOWN, ErrorKind.FAULT, safe=ALWAYS, idempotent=ALWAYS, repeatable=ONCE)
_REDIRECT = Rule(Verdict.UNKNOWN, ErrorKind.PROTOCOL)

STATUSES: Final[Mapping[int, Rule]] = MappingProxyType(
    {
        101: Rule(Verdict.UNKNOWN, ErrorKind.PROTOCOL),
        # A gateway redirected; whether the service behind it acted first is not proven.
        **dict.fromkeys(range(300, 400), _REDIRECT),
        **dict.fromkeys((400, 402, 405, 406, 411, 413, 414, 415, 417, 421, 422, 426, 431, 451), _REFUSED),
        401: Rule(Verdict.REJECTED, ErrorKind.AUTHENTICATION, Scope.ACCOUNT),
        403: Rule(Verdict.REJECTED, ErrorKind.PERMISSION, Scope.ACCOUNT),
        404: _GONE,
        410: _GONE,
        # 408 may be the late goodbye of an idle connection, so it proves nothing about this request.
        408: Rule(Verdict.UNKNOWN, ErrorKind.FAULT, safe=ALWAYS, idempotent=ALWAYS, repeatable=ONCE),
        # On a create it may be the echo of our own first attempt.
        409: Rule(Verdict.UNKNOWN, ErrorKind.CONFLICT),
        425: _LATER,
        429: _LATER,
        **dict.fromkeys((500, 502, 503, 504, *range(520, 525), 598, 599), _FAULT),
    }
)
"""Row by status. A 2xx has no row: the result code decides."""

TRUSTED_503: Final = _LATER
"""The row of a gateway's 503 with Retry-After, where the caller knows that it stands before the service."""
DISTRUSTED_429: Final = Rule(Verdict.UNKNOWN, ErrorKind.RATE, safe=ALWAYS, idempotent=ALWAYS, repeatable=ONCE)
"""The row of 429 and 425 where the caller knows that the limiter stands behind the execution."""

_OTHER_FAULT = Rule(Verdict.UNKNOWN, ErrorKind.FAULT)
_OTHER_CLIENT = Rule(Verdict.UNKNOWN, ErrorKind.UNLISTED)
_NO_STATUS = Rule(Verdict.UNKNOWN, ErrorKind.PROTOCOL)

REFUSED_CONNECTION: Final = Rule(
    Verdict.NOT_SENT, ErrorKind.CONNECTION, safe=ALWAYS, idempotent=ALWAYS, repeatable=ALWAYS
)
BAD_CERTIFICATE: Final = Rule(Verdict.NOT_SENT, ErrorKind.CERTIFICATE, safe=NEVER)
LOST_RESPONSE: Final = Rule(Verdict.UNKNOWN, ErrorKind.CONNECTION, safe=ALWAYS, idempotent=ALWAYS, repeatable=ONCE)


def rule_for_status(status: int) -> Rule | None:
    """Return the row of an HTTP status; None for a 2xx, which has no opinion."""
    if 200 <= status <= 299:
        return None
    rule = STATUSES.get(status)
    if rule is not None:
        return rule
    if 500 <= status <= 599:
        return _OTHER_FAULT
    return _OTHER_CLIENT if 400 <= status <= 499 else _NO_STATUS
