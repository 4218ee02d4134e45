"""Errors for the HTTP status of a file response. Source: docs/contract.md 5.3, 5.4."""

from __future__ import annotations

from typing import Any, Final

from videoapi import errors
from videoapi.protocol.codes import group_of

_KEPT: Final = "The service keeps files for 72 hours, unless storage is bought."
_TRANSIENT: Final = frozenset({408, 425})


def error_from_status(
    status: int, where: str, *, configured: bool, trusted: bool, retry_after: float | None, proxy: str | None = None
) -> errors.VideoAPIError:
    """Return the error for a status; its `retryable` says whether the same request may succeed later.

    Args:
        status: Any status but 200, 206 and 416.
        where: The file's URL, redacted for error messages.
        configured: Whether the client has recording credentials.
        trusted: Whether the credentials were sent.
        retry_after: Seconds to wait as requested by the server, or None.
        proxy: Host and port of the proxy, or None.
    """
    what = f"The file at {where} was not served (HTTP {status})."
    facts: dict[str, Any] = {"method": "GET", "status": status, "group": group_of(None, status)}
    if status in (401, 403):
        kind = errors.AuthenticationFailed if status == 401 else errors.PermissionDenied
        return kind(f"{what} {_credentials(configured, trusted)}", **facts)
    if status in (404, 410):
        return errors.NotFound(f"{what} It has expired or never existed. {_KEPT}", **facts)
    if status in (407, 511):
        named = f"the proxy {proxy}" if proxy else "the proxy"
        return errors.ConnectionFailed(f"{what} Check {named} and its credentials.", **facts)
    if status == 429:
        return errors.RateLimited(what, retryable=True, retry_after=retry_after, **facts)
    if status in _TRANSIENT or status >= 500:
        return errors.ServerFault(what, retryable=True, retry_after=retry_after, **facts)
    if 300 <= status < 400:
        return errors.ProtocolError(f"{what} It redirects to nowhere.", **facts)
    return errors.DownloadFailed(what, reason="refused", **facts)


def _credentials(configured: bool, trusted: bool) -> str:
    if not configured:
        return (
            "Files need the project's recording user and password: give recording_auth=(user, password), "
            "or VIDEOAPI_RECORDING_USER and VIDEOAPI_RECORDING_PASSWORD."
        )
    if not trusted:
        return "A redirect led to another host, to which recording_auth= is not sent."
    return "Check recording_auth=: it is the project's recording user and password, not APP_ID and APP_KEY."
