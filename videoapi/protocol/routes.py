"""The service's routes as data, and the request value that travels through the client. Source: docs/contract.md 2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol
from urllib.parse import quote

import attrs

from videoapi.protocol.backoff import RetryPolicy
from videoapi.protocol.verdicts import Operation

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Decoder(Protocol):
    """Turns a successful body into what the caller gets."""

    key: str | None
    """Where the payload stands beside `result`; None where the whole body is it."""
    quoted: bytes
    """The key as it stands in a body."""

    def fast(self, body: bytes, /) -> tuple[object, Any]:
        """Decode a body in one pass into (`result`, payload); ValueError where only care can read it."""
        ...

    def tolerant(self, payload: Any, /) -> Any:
        """Build the payload from its parsed JSON; ValueError where it fits no model."""
        ...


@attrs.frozen(kw_only=True)
class Options:
    """The limits of one call.

    Args:
        timeout: The whole call as the caller waits for it, in seconds; None for the route's default.
        attempt_timeout: One attempt, in seconds.
        retry: How often to try again.
    """

    timeout: float | None = None
    attempt_timeout: float = 30.0
    retry: RetryPolicy = attrs.Factory(RetryPolicy)


def _timeout_of(operation: Operation) -> float:
    return 40.0 if operation is Operation.NON_REPEATABLE else 90.0


@attrs.frozen
class Route:
    """One endpoint: how it is called, and how harmful a repetition is."""

    name: str
    method: str
    template: str
    operation: Operation
    result_optional: bool = False
    short_stream: bool = False
    """Whether its stream is short, and likely to be opened while another is read."""
    timeout: float = attrs.field(
        init=False, default=attrs.Factory(lambda route: _timeout_of(route.operation), takes_self=True)
    )
    """The default limit of a whole call, in seconds."""

    def path(self, *segments: str) -> str:
        """Return the template filled with percent-encoded segments."""
        path = self.template
        for segment in segments:
            before, _, rest = path.partition("{")
            path = before + quote(segment, safe="") + rest.partition("}")[2]
        return path


@attrs.define(kw_only=True)
class Request:
    """One thing asked of the service; what middleware receives. A value: change a copy (`attrs.evolve`).

    It is not frozen, as one is made for every call, and making a frozen one costs twice as much.
    `headers` are added to the request's own; use `attrs.evolve(request, headers=…)` to add some.
    The credentials are not in it.
    """

    route: Route
    path: str
    options: Options
    body: bytes | None = attrs.field(default=None, repr=False)
    decoder: Decoder | None = attrs.field(default=None, repr=False)
    accepts: Callable[[Any], bool] | None = attrs.field(default=None, repr=False)
    """Tells whether a decoded success answers this very request."""
    reference: str | None = None
    """The mark of a create."""
    reference_in_data: bool = False
    """Whether the mark stands in `data`, not in `owner_ref`."""
    stream: bool = False
    headers: Mapping[str, str] = attrs.field(default=_NO_HEADERS, repr=False)
    reserved_time: float = 0.0
    """Seconds at the end of the call's limit that sending must leave free."""

    @property
    def method(self) -> str:
        return self.route.method

    @property
    def timeout(self) -> float:
        """The limit of sending and all its retries, in seconds."""
        given = self.options.timeout
        return (self.route.timeout if given is None else given) - self.reserved_time


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
