"""Where the credentials of an attempt come from."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from typing import Final

from videoapi.config import Credentials, CredentialsSource
from videoapi.errors import ConfigurationError, CredentialsUnavailable
from videoapi.pipeline.call import Call, Wait

_REMEMBERED: Final = 8
"""How many earlier credentials are masked in a response that a middleware has kept."""


class CredentialsProvider:
    """Fixed credentials, or those that a callable returns for each attempt.

    Args:
        source: The credentials, or the callable.
    """

    def __init__(self, source: Credentials | CredentialsSource) -> None:
        self._source = source
        self.fixed: Credentials | None = source if isinstance(source, Credentials) else None
        self.latest = self.fixed
        self.recent: deque[Credentials] = deque([] if self.fixed is None else [self.fixed], _REMEMBERED)
        """Those of the latest attempts, without repetition."""

    async def ask(self, call: Call) -> Credentials:
        """Return the credentials for one attempt.

        Raises:
            CredentialsUnavailable: If the callable raises or returns something else; its error is the cause.
        """
        if isinstance(self._source, Credentials):
            return self._source
        call.wait_for(Wait.CREDENTIALS)
        given: object = None
        try:
            given = self._source()
            given = await given if inspect.isawaitable(given) else given
            call.limit.check()
        except asyncio.CancelledError as error:
            # A refresh shared by several calls may have been cancelled, and not this call.
            if call.limit.is_cancelled():
                raise
            raise _unavailable(call, "was cancelled") from error
        except ConfigurationError as error:
            raise _unavailable(call, f"failed: {error}") from error
        except Exception as error:
            raise _unavailable(call, f"raised {type(error).__name__}") from error
        call.wait_for(Wait.NOTHING)
        try:
            self.latest = credentials = _credentials(given)
        except ConfigurationError as error:
            # What was returned may hold the key, and error trackers record local variables.
            given = None
            raise _unavailable(call, f"failed: {error}") from error.with_traceback(None)
        if credentials not in self.recent:
            self.recent.append(credentials)
        return credentials


def _unavailable(call: Call, what: str) -> CredentialsUnavailable:
    method, path = call.request.method, call.request.route.template
    return CredentialsUnavailable(
        f"{method} {path}: the credentials callable {what.rstrip('.')}. Not sent.",
        method=method,
        path=path,
        retryable=True,
        reference=call.request.reference,
    )


def _credentials(given: object) -> Credentials:
    if isinstance(given, tuple) and len(given) == 2:
        return Credentials(*given)
    if isinstance(given, Credentials):
        return given
    kind = type(given).__name__
    raise ConfigurationError(f"The credentials callable must return Credentials or (app_id, app_key), not {kind}.")
