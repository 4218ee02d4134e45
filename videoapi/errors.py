"""The errors of the library, one tree.

    VideoAPIError
    ├─ ConfigurationError        the client was set up or used wrongly; nothing was sent
    ├─ ValidationError           the service would refuse this; nothing was sent     field, code
    ├─ ConnectionFailed          no connection, or it broke
    ├─ CallTimeout               `timeout` or `attempt_timeout` ended; also a builtin TimeoutError
    ├─ ProtocolError             the answer is none of this service's (unexpected redirects too)
    ├─ CreateOutcomeUnknown      the room may or may not have been made              reference
    ├─ DownloadFailed            a file did not arrive whole                         reason, received
    └─ ResultError               the service answered with an error
       ├─ AuthenticationFailed   the credentials are wrong, expired or of another project
       ├─ PermissionDenied       the account may not do this
       ├─ NotFound               no such room, or it is gone
       ├─ Conflict               the room's state forbids it (a session is running)
       ├─ RateLimited            come back later                                     retry_after
       ├─ TokenDenied            no token for this room now                          reason
       ├─ RequestRejected        any other refusal of the request itself
       └─ ServerFault            the service failed

Every error answers three questions: what happened (`status`, `code`, `error`, `desc`),
whether the service may have done it (`may_have_executed`), and whether asking again can
help (`retryable`). None carries a header, a query string or a body. All of them pickle.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

_FACTS: tuple[str, ...] = (
    "method",
    "path",
    "status",
    "code",
    "group",
    "error",
    "desc",
    "request_id",
    "attempts",
    "retry_after",
    "retryable",
    "may_have_executed",
    "cursor",
)


class VideoAPIError(Exception):
    """The root of every error this library raises.

    Args:
        message: What happened and what to do next, in one sentence or two.
        method: HTTP method of the call, or None where none was made.
        path: Path template, such as `/rooms/{room_id}`; never the filled-in path.
        status: HTTP status of the last answer, or None without one.
        code: Result code: an int, or the name in the newer envelope.
        group: First three digits of a five-digit code, else the status's hundred.
        error: The service's own error text.
        desc: The service's own description.
        request_id: The service's id of the request, where it gives one.
        attempts: How many requests went out, or were tried, for this call.
        retry_after: Seconds the service asked to wait, or None.
        retryable: Whether the same call may succeed later without a change.
        may_have_executed: Whether the service may have done what was asked.
        cursor: Where a stream that broke off can go on, or None.
    """

    _own: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        message: str = "",
        *,
        method: str | None = None,
        path: str | None = None,
        status: int | None = None,
        code: int | str | None = None,
        group: int | None = None,
        error: str | None = None,
        desc: str | None = None,
        request_id: str | None = None,
        attempts: int = 0,
        retry_after: float | None = None,
        retryable: bool = False,
        may_have_executed: bool = False,
        cursor: object = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.method = method
        self.path = path
        self.status = status
        self.code = code
        self.group = group
        self.error = error
        self.desc = desc
        self.request_id = request_id
        self.attempts = attempts
        self.retry_after = retry_after
        self.retryable = retryable
        self.may_have_executed = may_have_executed
        self.cursor = cursor

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {name: getattr(self, name) for name in (*_FACTS, *self._own)}
        return _rebuild, (type(self), self.message, facts)


def _rebuild(kind: type[VideoAPIError], message: str, facts: dict[str, Any]) -> VideoAPIError:
    return kind(message, **facts)


class ConfigurationError(VideoAPIError, ValueError):
    """The client was set up or used wrongly; nothing was sent.

    Mend the argument, the environment variable or the use that the message names.
    """


class ValidationError(VideoAPIError, ValueError):
    """The service would refuse this request; nothing was sent.

    `field` names what is wrong, `code` is the service's own result code for it (contract 8.1),
    or None where the service has none.
    """

    _own = ("field",)

    def __init__(self, message: str = "", *, field: str | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.field = field


class ConnectionFailed(VideoAPIError):
    """No connection could be made, or it broke before the answer was whole.

    With `may_have_executed` false the request never left, and the call may simply be repeated.
    """


class CallTimeout(VideoAPIError, TimeoutError):
    """`timeout` or `attempt_timeout` ended first.

    With `may_have_executed` true the service may have done it all the same: look before repeating
    what must not happen twice.
    """

    def __new__(cls, *args: Any, **facts: Any) -> Self:
        return super().__new__(cls, *args)


class ProtocolError(VideoAPIError):
    """The answer is none that this service gives: no JSON, no result, a redirect, two answers in one.

    Check that the base URL names the API itself and that no portal or proxy stands before it.
    """


class CreateOutcomeUnknown(VideoAPIError):
    """The room may or may not have been made; nothing proves either.

    `reference` is the mark that the room carries if it exists: in `owner_ref` where the call named
    none, else in `data.videoapi_ref`. Look for it before creating again.
    """

    _own = ("reference",)

    def __init__(self, message: str = "", *, reference: str | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.reference = reference


class DownloadFailed(VideoAPIError):
    """A file did not arrive whole; no final file was written.

    The same call resumes from the bytes kept in the `.part` file where the server allows it.
    `received` counts those bytes, `reason` is one word for programs: `refused`, `credentials`,
    `incomplete`, `changed`, `host`, `exists`, `disk`.
    """

    _own = ("reason", "received")

    def __init__(self, message: str = "", *, reason: str = "incomplete", received: int = 0, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.reason = reason
        self.received = received


class ResultError(VideoAPIError):
    """The service answered with an error status or a result code other than 0."""


class AuthenticationFailed(ResultError):
    """The APP_ID and APP_KEY are wrong, expired, or of another project."""


class PermissionDenied(ResultError):
    """The account may not do this, or the project is suspended."""


class NotFound(ResultError):
    """No such room or record under this APP_ID, or it is gone already."""


class Conflict(ResultError):
    """The room's state forbids it, such as a change while a session is running."""


class RateLimited(ResultError):
    """The service asked to come back later; it did nothing. `retry_after` has the seconds, if told."""


class TokenDenied(ResultError):
    """No token for this room now.

    `reason` is `over` (10111), `cut_off` (10112), `not_active` (10113), `full` (10114) or
    `unauthorized` (40002). Contract 8.1.
    """

    _own = ("reason",)

    def __init__(self, message: str = "", *, reason: str | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.reason = reason


class RequestRejected(ResultError):
    """The service refuses the request as it stands; sending it again unchanged cannot help."""


class ServerFault(ResultError):
    """The service failed. `may_have_executed` says whether it may have acted before."""
