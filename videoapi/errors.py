"""The exceptions of the library, in one tree.

    VideoAPIError
    ├─ ConfigurationError        invalid setup or use of the client; not sent
    │  └─ CredentialsUnavailable the credentials callable raised an error; not sent
    ├─ ValidationError           the service would reject the request; not sent      field, code
    ├─ ConnectionFailed          cannot connect, or the connection was lost
    ├─ CallTimeout               `timeout` or `attempt_timeout` expired; also a builtin TimeoutError
    ├─ ProtocolError             the response did not come from the Video API (also: unexpected redirects)
    ├─ CreateOutcomeUnknown      the room may or may not have been created           reference
    ├─ DownloadFailed            a file is incomplete                                reason, received
    ├─ LeaseLost                 the lease of a run ends too soon to send more
    ├─ LeaseHeld                 another worker holds the lease                      shard, retry_after
    └─ ResultError               the service returned an error
       ├─ AuthenticationFailed   the credentials are wrong, expired or of another project
       ├─ PermissionDenied       the account is not allowed to do this
       ├─ NotFound               the room or record does not exist
       ├─ Conflict               the room's state does not allow it (a session is running)
       ├─ RateLimited            too many requests; retry later                      retry_after
       ├─ TokenDenied            no token is available for this room now             reason
       ├─ RequestRejected        any other rejection of the request
       └─ ServerFault            the service failed

Every error states what happened (`status`, `code`, `error`, `desc`), whether the request may have been
executed (`may_have_executed`), and whether a retry can succeed (`retryable`). The errors of a create carry its
`reference`. No error contains a header, a query string or a body. All errors can be pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    "partial",
    "reference",
)


class VideoAPIError(Exception):
    """The base class of all exceptions raised by this library.

    Args:
        message: What happened and what to do next.
        method: HTTP method of the call, or None if the error does not come from a call.
        path: Path template, such as `/rooms/{room_id}`; never the actual path.
        status: HTTP status of the last response, or None without one.
        code: Result code: an int, or a name in the newer envelope.
        group: First three digits of a five-digit code, otherwise the status rounded down to hundreds.
        error: The service's own error text.
        desc: The service's own description.
        request_id: The service's ID of the request, if it sent one.
        attempts: Number of attempts of this call, sent or not.
        retry_after: Seconds the service requested to wait, or None.
        retryable: Whether the same call may succeed later unchanged.
        may_have_executed: Whether the service may have executed the request.
        cursor: The position from which an interrupted stream can resume, or None.
        partial: The records that `to_list()` has read before it failed.
        reference: The reference of a create, for `rooms.resolve`; None for other calls.
    """

    _own: ClassVar[tuple[str, ...]] = ()

    report: Any = None
    """The `BulkReport` of the run that this error ended, otherwise None."""

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
        partial: Sequence[Any] = (),
        reference: str | None = None,
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
        self.partial = partial
        self.reference = reference

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, facts_of(self), getattr(self, "__notes__", ()))

    def __copy__(self) -> Self:
        # Importing Dask registers a reducer for all errors, whose copies share their list of notes.
        rebuild, arguments = self.__reduce__()
        copied: Self = rebuild(*arguments)
        return copied


def facts_of(error: VideoAPIError) -> dict[str, Any]:
    """Return the facts of an error, by the names of their arguments."""
    return {name: getattr(error, name) for name in (*_FACTS, *error._own)}


def text_of(error: BaseException) -> str:
    """Return what an error says, without its full stop; the name of its class if it says nothing."""
    return str(error).strip().removesuffix(".") or type(error).__name__


def _rebuild(kind: type[VideoAPIError], message: str, facts: dict[str, Any], notes: Sequence[str]) -> VideoAPIError:
    error = kind(message, **facts)
    for note in notes:
        error.add_note(note)
    return error


class ConfigurationError(VideoAPIError, ValueError):
    """The client was configured or used incorrectly; nothing was sent.

    Fix the argument, environment variable or usage that the message names.
    """


class CredentialsUnavailable(ConfigurationError):
    """The credentials callable raised an error, which is the `__cause__`; nothing was sent.

    Retry when the callable works again.
    """


class ValidationError(VideoAPIError, ValueError):
    """The service would reject this request; nothing was sent.

    Fix the value of `field`. `code` is the service's result code for it, or None if the service defines none.

    Attributes:
        field: The name of the invalid field, or None.
        room_id: The room that already has the key of a job's item, otherwise None.
    """

    _own = ("field", "room_id")

    def __init__(
        self, message: str = "", *, field: str | None = None, room_id: str | None = None, **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.field = field
        self.room_id = room_id


class ConnectionFailed(VideoAPIError):
    """The connection failed, or was lost before the response was complete.

    If `may_have_executed` is false, the request was not sent, and the call is safe to repeat.
    """


class CallTimeout(VideoAPIError, TimeoutError):
    """`timeout` or `attempt_timeout` expired before the call completed.

    If `may_have_executed` is true, the service may have executed the request. Check before repeating
    a call that must not run twice.
    """

    def __new__(cls, *args: Any, **facts: Any) -> Self:
        return super().__new__(cls, *args)


class ProtocolError(VideoAPIError):
    """The response did not come from the Video API: not JSON, no result, a redirect, contradictory results.

    Check that the base URL is that of the API, and that no portal or proxy responds in its place.
    """


class CreateOutcomeUnknown(VideoAPIError):
    """The room may or may not have been created.

    `reference` identifies the room if it exists: it is in `owner_ref` if the call did not set one, otherwise in
    `data.videoapi_ref`. Call `rooms.resolve(error.reference)` before you create the room again.
    """


class DownloadFailed(VideoAPIError):
    """A download is incomplete; the final file was not written.

    The same call resumes from the bytes kept in the `.part` file if the server allows it.

    Attributes:
        reason: `refused`, `credentials`, `incomplete`, `changed`, `host` or `disk`; or, if something else has the name
            of the file, `exists` (a complete file), `busy` (another download is writing it), `directory`, or `link` (a
            link, or anything but a regular file of yours).
        received: The number of bytes kept in the `.part` file.
    """

    _own = ("reason", "received")

    def __init__(self, message: str = "", *, reason: str = "incomplete", received: int = 0, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.reason = reason
        self.received = received


class LeaseLost(VideoAPIError):
    """The lease of a run ends too soon to send another create; the run has sent nothing since.

    Its items are `not_sent`, or `unknown` if they were in flight. Take the lease again, and run the same specs with the
    same `job_id`.
    """


class LeaseHeld(VideoAPIError):
    """Another worker holds the lease of this shard, so nothing was done.

    Retry after `retry_after` seconds: the lease ends then unless the other worker renews it.

    Attributes:
        shard: The name of the shard.
    """

    _own = ("shard",)

    def __init__(self, message: str = "", *, shard: str | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.shard = shard


class ResultError(VideoAPIError):
    """The service returned an error status or a result code other than 0."""


class AuthenticationFailed(ResultError):
    """The APP_ID and APP_KEY are wrong, expired, or of another project.

    Fix the credentials before you retry.
    """


class PermissionDenied(ResultError):
    """The account is not allowed to do this, or the project is suspended.

    Also for code 40002 ("unauthorized") on a route other than that of tokens.

    Ask the operator of the service.
    """


class NotFound(ResultError):
    """The room or record does not exist under this APP_ID, or was deleted."""


class Conflict(ResultError):
    """The room's state does not allow the request, such as a change while a session is running.

    The client does not retry it. `retryable` is true: repeat the call when the session has ended.
    """


class RateLimited(ResultError):
    """Too many requests; not executed.

    Retry after `retry_after` seconds if it is set, otherwise later.
    """


class TokenDenied(ResultError):
    """The service does not issue a token for this room now.

    `retryable` says whether a later attempt may succeed: when the room opens (`not_active`), or when a user with the
    same role has left (`full`).

    Attributes:
        reason: `over` (10111), `cut_off` (10112), `not_active` (10113), `full` (10114) or `unauthorized` (40002).

    Source: docs/contract.md 8.1.
    """

    _own = ("reason",)

    def __init__(self, message: str = "", *, reason: str | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.reason = reason


class RequestRejected(ResultError):
    """The service rejected the request; repeating it unchanged cannot succeed. Fix the request."""


class ServerFault(ResultError):
    """The service failed. `may_have_executed` says whether the request may have been executed.

    Retry later if `retryable` is true.
    """
