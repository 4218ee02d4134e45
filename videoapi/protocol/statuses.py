"""What an HTTP status means: one table as data. Source: contract 8.2, RFC 9110, RFC 6585."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from videoapi.protocol.verdicts import ALWAYS, NEVER, ONCE, Kind, Row, Scope, Verdict

_REFUSED = Row(Verdict.REJECTED, Kind.REQUEST)
_GONE = Row(Verdict.REJECTED, Kind.NOT_FOUND)
_LATER = Row(Verdict.THROTTLED, Kind.RATE, safe=ALWAYS, idempotent=ALWAYS, duplicable=ALWAYS)
_FAULT = Row(Verdict.UNKNOWN, Kind.FAULT, safe=ALWAYS, idempotent=ALWAYS, duplicable=ONCE)
_REDIRECT = Row(Verdict.UNKNOWN, Kind.PROTOCOL)

STATUSES: Final[Mapping[int, Row]] = MappingProxyType(
    {
        101: Row(Verdict.UNKNOWN, Kind.PROTOCOL),
        # A gateway redirected; whether the service behind it acted first is not proven.
        **dict.fromkeys(range(300, 400), _REDIRECT),
        **dict.fromkeys((400, 402, 405, 406, 411, 413, 414, 415, 417, 421, 422, 426, 431, 451), _REFUSED),
        401: Row(Verdict.REJECTED, Kind.AUTHENTICATION, Scope.ACCOUNT),
        403: Row(Verdict.REJECTED, Kind.PERMISSION, Scope.ACCOUNT),
        404: _GONE,
        410: _GONE,
        # 408 may be the late goodbye of an idle connection, so it proves nothing about this request.
        408: Row(Verdict.UNKNOWN, Kind.FAULT, safe=ALWAYS, idempotent=ALWAYS, duplicable=ONCE),
        # On a create it may be the echo of our own first attempt.
        409: Row(Verdict.UNKNOWN, Kind.CONFLICT),
        425: _LATER,
        429: _LATER,
        **dict.fromkeys((500, 502, 503, 504, *range(520, 525), 598, 599), _FAULT),
    }
)
"""Row by status. A 2xx has no row: the result code decides."""

TRUSTED_503: Final = _LATER
"""The row of a gateway's 503 with Retry-After, where the caller knows that it stands before the service."""
DISTRUSTED_429: Final = Row(Verdict.UNKNOWN, Kind.RATE, safe=ALWAYS, idempotent=ALWAYS, duplicable=ONCE)
"""The row of 429 and 425 where the caller knows that the limiter stands behind the execution."""

_OTHER_FAULT = Row(Verdict.UNKNOWN, Kind.FAULT)
_OTHER_CLIENT = Row(Verdict.UNKNOWN, Kind.UNLISTED)
_NO_STATUS = Row(Verdict.UNKNOWN, Kind.PROTOCOL)

REFUSED_CONNECTION: Final = Row(Verdict.NOT_SENT, Kind.CONNECTION, safe=ALWAYS, idempotent=ALWAYS, duplicable=ALWAYS)
BAD_CERTIFICATE: Final = Row(Verdict.NOT_SENT, Kind.CERTIFICATE, safe=NEVER)
LOST_ANSWER: Final = Row(Verdict.UNKNOWN, Kind.CONNECTION, safe=ALWAYS, idempotent=ALWAYS, duplicable=ONCE)


def row_of(status: int) -> Row | None:
    """Return the row of an HTTP status; None for a 2xx, which has no opinion."""
    if 200 <= status <= 299:
        return None
    row = STATUSES.get(status)
    if row is not None:
        return row
    if 500 <= status <= 599:
        return _OTHER_FAULT
    return _OTHER_CLIENT if 400 <= status <= 499 else _NO_STATUS
