"""The meaning of the service's result codes, as a table.

A rule holds the verdict, whether it concerns one item or the whole account, and how often a request
of each operation class may be repeated. Source: docs/contract.md 8.1 (codes and texts), contract 8.2
(names of the newer envelope).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from videoapi.protocol.types import ALWAYS, NEVER, ONCE, ErrorKind, Rule, Scope, Verdict

TEXTS: Final[Mapping[int, str]] = MappingProxyType(
    {
        10000: "Application not found",
        10001: "URL Parameter Missing: room_id",
        10002: "Required Data Missing: name (Room Name)",
        10003: "Invalid Value: settings.scheduled",
        10004: "Required Data Missing: settings.scheduled_time",
        10005: "Invalid Date/Time Format: settings.scheduled_time",
        10006: "Illegible Date/Time: settings.scheduled_time",
        10007: "Invalid Value: settings.participants",
        10008: "Invalid Value: settings.auto_recording",
        10009: "Unrecognized Key of settings",
        10010: "Required Data Missing: owner_ref",
        10011: "Invalid Value: settings.duration",
        10012: "Invalid Value: settings.active_talker",
        10013: "Invalid Value: settings.wait_moderator",
        10014: "Invalid Value: settings.quality",
        10015: "Required Data Missing: sip.uri",
        10016: "Invalid Value: settings.adhoc",
        10017: "Illegible Value: settings.adhoc",
        10018: "Illegible Parameter. Not valid one for this Room Type",
        10019: "Invalid Value: settings.mode",
        10020: "Illegible Parameter: settings.mode",
        10021: "Room Quality higher than App Quality not permitted",
        10022: "Invalid Value: settings.moderators",
        10023: "Illegible Value: settings.moderators",
        10024: "Illegible value settings.peep",
        10025: "Illegible value settings.knock",
        10026: "Invalid SIP URI Value: settings.aor",
        10030: "Denied Update request on active room",
        10101: "Required Data Missing: name (User Name)",
        10102: "Required Data Missing: user_ref",
        10103: "Required Data Missing: role",
        10104: "Invalid Value: role",
        10105: "Server Busy",
        10106: "Illegible Request. Room Type update not allowed",
        10111: "Token denied. Conference is over",
        10112: "Token denied. Beyond Permissible Cut-Off Time",
        10113: "Token denied. Room is not active",
        10114: "Token Denied. Room is full.",
        10201: "URL Parameter Missing: conf-num (Conference Number)",
        10202: "URL Parameter Missing: room-id",
        10203: "URL Parameter Missing: to_date",
        10204: "URL Parameter Missing: room-id",
        10205: "URL Parameter Missing: conf-num (Conference Number)",
        40001: "Room not found",
        40002: "Token denied. Unauthorized",
        50000: "Internal Server Error",
        50001: "Failed to create Room",
        50002: "Failed to fetch list of Rooms",
        50003: "Failed to get Room Information",
        50004: "Failed to delete Room",
        50005: "Failed to delete Room",
        50007: "Internal server error,cannot create token for you right now",
    }
)
"""The service's own texts for its numeric codes."""

TOKEN_REASONS: Final[Mapping[int | str, str]] = MappingProxyType(
    {10111: "over", 10112: "cut_off", 10113: "not_active", 10114: "full", 40002: "unauthorized"}
)
"""The reason for a denied token, by result code."""

_REFUSED = Rule(Verdict.REJECTED, ErrorKind.REQUEST)
_DENIED = Rule(Verdict.REJECTED, ErrorKind.TOKEN)
_CREDENTIALS = Rule(Verdict.REJECTED, ErrorKind.AUTHENTICATION, Scope.ACCOUNT)
_FAULT = Rule(Verdict.UNKNOWN, ErrorKind.FAULT, safe=ONCE, idempotent=ONCE)

# 10027 to 10029 are undocumented, but lie in the range of the rejected fields.
_REFUSALS = (*range(10001, 10030), *range(10101, 10105), 10106, *range(10201, 10206))

CODES: Final[Mapping[int | str, Rule]] = MappingProxyType(
    {
        **dict.fromkeys(_REFUSALS, _REFUSED),
        10000: _CREDENTIALS,
        # A session is running (contract 4.6), so it succeeds after the session has ended.
        10030: Rule(Verdict.REJECTED, ErrorKind.CONFLICT, worth_waiting=True),
        10105: Rule(Verdict.THROTTLED, ErrorKind.RATE, safe=ALWAYS, idempotent=ALWAYS, repeatable=ALWAYS),
        **dict.fromkeys((10111, 10112, 40002), _DENIED),
        # A scheduled room is "not active" before its start time, so waiting can help.
        10113: Rule(Verdict.REJECTED, ErrorKind.TOKEN, worth_waiting=True),
        # Counts the users present (contract 5.1), so it succeeds after one has left.
        10114: Rule(Verdict.REJECTED, ErrorKind.TOKEN, worth_waiting=True),
        40001: Rule(Verdict.REJECTED, ErrorKind.NOT_FOUND),
        50000: _FAULT,
        50001: _FAULT,
        50002: Rule(Verdict.UNKNOWN, ErrorKind.FAULT, safe=ALWAYS, idempotent=ONCE),
        50003: Rule(Verdict.UNKNOWN, ErrorKind.FAULT, safe=ALWAYS, idempotent=ONCE),
        50004: Rule(Verdict.UNKNOWN, ErrorKind.FAULT, safe=ONCE, idempotent=ALWAYS),
        50005: Rule(Verdict.UNKNOWN, ErrorKind.FAULT, safe=ONCE, idempotent=ALWAYS),
        # Observed for a room of another project; a retry cannot succeed.
        50007: Rule(Verdict.UNKNOWN, ErrorKind.FAULT, safe=NEVER, idempotent=ONCE),
        "INVALID_PARAM": _REFUSED,
        "UNAUTHORIZED": _CREDENTIALS,
        "CREDENTIAL_EXPIRED": _CREDENTIALS,
        "PROJECT_SUSPENDED": Rule(Verdict.REJECTED, ErrorKind.PERMISSION, Scope.ACCOUNT),
        "RATE_LIMITED": Rule(Verdict.THROTTLED, ErrorKind.RATE, safe=ALWAYS, idempotent=ALWAYS, repeatable=ALWAYS),
    }
)
"""The rule per result code: a number, or a name in the newer envelope."""

UNLISTED: Final = Rule(Verdict.UNKNOWN, ErrorKind.UNLISTED, safe=ONCE, idempotent=ONCE)
"""The rule of an undocumented code, which proves nothing."""


def rule_for_code(code: int | str) -> Rule | None:
    """Return the rule of a result code: `UNLISTED` for an undocumented one, None for 400 to 599.

    Codes 400 to 599 are HTTP statuses repeated in the body; the rule of the status applies.
    """
    if isinstance(code, int) and 400 <= code <= 599:
        return None
    return CODES.get(code, UNLISTED)


def group_of(code: int | str | None, status: int | None) -> int | None:
    """Return the first three digits of a five-digit code, otherwise the status rounded down to hundreds.

    >>> group_of(10114, 403), group_of(None, 404), group_of("RATE_LIMITED", 429)
    (101, 400, 400)
    """
    if isinstance(code, int) and 10_000 <= code <= 99_999:
        return code // 100
    return None if status is None else status // 100 * 100
