"""The exit codes of the commands, and the code for an error or a bulk run. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from videoapi import errors

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNKNOWN: Final = 3
STOPPED: Final = 4
NO_ACCESS: Final = 5
REJECTED: Final = 6

MEANINGS: Final = """\b
Exit codes:
  0    all done
  1    some inputs failed, the service refused, or you declined; rooms exist
       twice or are missing
  2    wrong usage: an argument, an option or a date; OUT exists, or has
       another export, or one that may lack later records
  3    some creates, updates or deletes may have been carried out
  4    stopped before everything was sent: an error of the whole account, the
       time limit of a bulk run, no success for too long, an open quote
  5    no access: configuration, credentials, connection, no response in time,
       or not the Video API; no room was created or deleted
  6    some records could not be read, or were listed twice; all others were
       processed. A report was written that lacks days or records, or may.
       With --strict: stopped at the first that could not be read
  130  stopped by Ctrl-C (143: by SIGTERM, 129: by
       the end of the terminal), after the requests in flight ended"""

DOCTOR: Final[Mapping[str, int]] = {
    "profile": 10,
    "account": 11,
    "base_url": 12,
    "settings": 13,
    "dns": 14,
    "tcp": 15,
    "proxy": 16,
    "tls": 17,
    "response": 18,
    "clock": 19,
    "version_directory": 20,
    "credentials": 21,
    "latency": 22,
}
"""The exit codes of `videoapi doctor`, by the check that failed first."""

_READS: Final = ("GET", None)
_NO_ACCESS: Final = (
    errors.ConfigurationError,
    errors.ConnectionFailed,
    errors.CallTimeout,
    errors.ProtocolError,
    errors.AuthenticationFailed,
    errors.PermissionDenied,
)


def of_error(error: BaseException) -> int:
    """Return the exit code for an error that ended a command."""
    if isinstance(error, errors.ValidationError):
        return USAGE
    if isinstance(error, errors.CreateOutcomeUnknown):
        return UNKNOWN
    if isinstance(error, errors.VideoAPIError) and error.may_have_executed and error.method not in _READS:
        return UNKNOWN
    return NO_ACCESS if isinstance(error, _NO_ACCESS) else FAILED


def of_run(
    counts: Mapping[str, int], stopped: BaseException | None = None, *, exhausted: bool, exact: bool = True
) -> int:
    """Return the exit code for a bulk run.

    Args:
        counts: Number of inputs by status.
        stopped: The error that stopped the run early, or None.
        exhausted: Whether every input was read.
        exact: Whether no room was found twice, and none of those created is missing.
    """
    if not exhausted or counts.get("not_sent"):
        # A time limit of the run says nothing about the access.
        nothing = not any(map(counts.get, ("created", "deleted", "not_found", "unknown")))
        lacks_access = isinstance(stopped, _NO_ACCESS) and not isinstance(stopped, errors.CallTimeout)
        return NO_ACCESS if nothing and lacks_access else STOPPED
    if counts.get("unknown"):
        return UNKNOWN
    return FAILED if counts.get("failed") or stopped is not None or not exact else DONE
