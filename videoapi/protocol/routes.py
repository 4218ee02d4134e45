"""The service's routes as data, and the request that passes through the pipeline. Source: docs/contract.md 2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol
from urllib.parse import quote

import attrs

from videoapi.protocol.backoff import RetryPolicy
from videoapi.protocol.types import Operation

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Decoder(Protocol):
    """A decoder that turns a successful body into the value returned to the caller."""

    key: str | None
    """The key of the payload, next to `result`; None if the complete body is the payload."""
    quoted: bytes
    """The key in quotes, as in a body."""

    def fast(self, body: bytes, /) -> tuple[object, Any]:
        """Decode a body in one pass into (`result`, payload); raise ValueError if it needs `tolerant`.

        Args:
            body: The complete body.
        """
        ...

    def tolerant(self, payload: Any, /) -> Any:
        """Build the value from the parsed JSON payload; raise ValueError if it does not match the model.

        Args:
            payload: The payload.
        """
        ...


@attrs.frozen(kw_only=True)
class Options:
    """The limits of one call.

    Args:
        timeout: Limit of the complete call, including retries, in seconds; None for the route's default.
        attempt_timeout: Limit of one attempt, in seconds.
        retry: The retry policy.
        must_stop: Polled while waiting for the account's rate or pause, which then does not count against
            `timeout`; true ends the wait. None for single calls.
        fence: Called right before a create is written, with no `await` in between; false means that neither this create
            nor a later one may be sent. None without a lease.
        spent: Attempts of the same read before this call, which `retry` does not count.
    """

    timeout: float | None = None
    attempt_timeout: float = 30.0
    retry: RetryPolicy = attrs.Factory(RetryPolicy)
    must_stop: Callable[[], bool] | None = None
    fence: Callable[[], bool] | None = None
    spent: int = 0


def _timeout_of(operation: Operation) -> float:
    return 40.0 if operation is Operation.NON_REPEATABLE else 90.0


@attrs.frozen
class Route:
    """An endpoint: how to call it, and whether it may be repeated.

    Args:
        name: Its name, such as `rooms.create`.
        method: HTTP method.
        template: Path template, such as `/rooms/{room_id}`.
        operation: How harmful a repetition is.
        result_optional: Whether a success may lack `result`.
        custom: Whether only a white-label has it: a 2xx without an error code is a success, whatever its body.
        short_stream: Whether its stream is short and likely to be opened while another one is read.
        inner_stream: Whether its stream is opened by another stream, and closed before that one yields its next
            record.
        timeout: The default `timeout` of a call, in seconds.
    """

    name: str
    method: str
    template: str
    operation: Operation
    result_optional: bool = False
    custom: bool = False
    short_stream: bool = False
    inner_stream: bool = False
    timeout: float = attrs.field(
        init=False, default=attrs.Factory(lambda route: _timeout_of(route.operation), takes_self=True)
    )

    @property
    def names_object(self) -> bool:
        """Whether the path contains the ID of a room or conference."""
        return self.custom or "{room_id}" in self.template or "{conf_num}" in self.template

    def path(self, *segments: str) -> str:
        """Return the path: the template with its fields replaced by the percent-encoded segments.

        Args:
            segments: The IDs and dates, in the order of the template.
        """
        path = self.template
        for segment in segments:
            before, _, rest = path.partition("{")
            path = before + quote(segment, safe="") + rest.partition("}")[2]
        return path


@attrs.define(kw_only=True)
class Request:
    """A request to the service, as middleware receives it. Treat it as immutable; copy it with `attrs.evolve`.

    `headers` are added to the client's own; add some with `request.with_headers({…})`.
    A request does not contain the credentials. The class is not frozen because every call creates a
    request, and creating a frozen one costs twice as much.

    Args:
        route: The route: its name, method and path template.
        path: The actual path below the base URL.
        options: The limits of the call.
        body: The encoded body, or None.
        decoder: Turns the payload of a success into the value that the call returns.
        accepts: Returns whether a decoded success belongs to this request.
        reference: The reference of a room create.
        reference_in_data: Whether the reference is in `data`, not in `owner_ref`.
        stream: Whether the body is read as a stream.
        headers: Headers of this request.
        reserved_time: Seconds at the end of the call's timeout that are not available for sending.
    """

    route: Route
    path: str
    options: Options
    body: bytes | None = attrs.field(default=None, repr=False)
    decoder: Decoder | None = attrs.field(default=None, repr=False)
    accepts: Callable[[Any], bool] | None = attrs.field(default=None, repr=False)
    reference: str | None = None
    reference_in_data: bool = False
    stream: bool = False
    headers: Mapping[str, str] = attrs.field(default=_NO_HEADERS, repr=False)
    reserved_time: float = 0.0

    def with_headers(self, headers: Mapping[str, str]) -> Request:
        """Return a copy with headers added to those that it has.

        Args:
            headers: The headers to add.
        """
        # Not by `attrs.evolve`, which takes five times as long: a middleware for correlation does this for every call.
        copied = Request.__new__(Request)
        copied.route, copied.path, copied.options, copied.body = self.route, self.path, self.options, self.body
        copied.decoder, copied.accepts, copied.stream = self.decoder, self.accepts, self.stream
        copied.reference, copied.reference_in_data = self.reference, self.reference_in_data
        copied.reserved_time = self.reserved_time
        # At the end, as the last one of a name counts, in any case.
        if self.headers:
            kept = {name: value for name, value in self.headers.items() if name not in headers}
            headers = {**kept, **headers}
        copied.headers = headers
        return copied

    @property
    def method(self) -> str:
        """HTTP method."""
        return self.route.method

    @property
    def fence(self) -> Callable[[], bool] | None:
        """What a create must pass as it is written; reads and deletes are harmless."""
        return self.options.fence if self.route.operation is Operation.NON_REPEATABLE else None

    @property
    def timeout(self) -> float:
        """The limit of sending, including retries, in seconds."""
        given = self.options.timeout
        return (self.route.timeout if given is None else given) - self.reserved_time

    @property
    def timeout_text(self) -> str:
        """The limit of sending, for an error."""
        whole = self.timeout + self.reserved_time
        if not self.reserved_time:
            return f"{whole:g} s (timeout)"
        return f"{self.timeout:g} s of the {whole:g} s (timeout)"


def _report_routes(name: str, prefix: str) -> tuple[Route, Route, Route, Route]:
    safe = Operation.SAFE
    return (
        Route(f"{name}.by_period", "GET", f"{prefix}/period/{{from_date}}/{{to_date}}", safe),
        Route(f"{name}.by_room", "GET", f"{prefix}/room/{{room_id}}", safe),
        Route(
            f"{name}.by_room_period",
            "GET",
            f"{prefix}/room-period/{{room_id}}/{{from_date}}/{{to_date}}",
            safe,
        ),
        Route(f"{name}.by_conference", "GET", f"{prefix}/conf/{{conf_num}}", safe, short_stream=True),
    )


CREATE_ROOM: Final = Route("rooms.create", "POST", "/rooms", Operation.NON_REPEATABLE)
LIST_ROOMS: Final = Route("rooms.list", "GET", "/rooms", Operation.SAFE)
GET_ROOM: Final = Route("rooms.get", "GET", "/rooms/{room_id}", Operation.SAFE)
UPDATE_ROOM: Final = Route("rooms.update", "PATCH", "/rooms/{room_id}", Operation.IDEMPOTENT)
DELETE_ROOM: Final = Route("rooms.delete", "DELETE", "/rooms/{room_id}", Operation.IDEMPOTENT)
ROOM_USERS: Final = Route("rooms.users", "GET", "/rooms/{room_id}/users", Operation.SAFE)
CREATE_TOKEN: Final = Route("tokens.create", "POST", "/rooms/{room_id}/tokens", Operation.REPEATABLE)
DIALIN: Final = Route("dialin.get", "GET", "/dialin/", Operation.SAFE, result_optional=True)
CDR_PERIOD, CDR_ROOM, CDR_ROOM_PERIOD, CDR_CONFERENCE = _report_routes("cdr", "/cdr")
ARCHIVE_PERIOD, ARCHIVE_ROOM, ARCHIVE_ROOM_PERIOD, ARCHIVE_CONFERENCE = _report_routes("archives", "/archive")
