"""Routing of a method and path; the service's prefixes, spellings and refusals for paths."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from urllib.parse import unquote

import attrs

from videoapi.sandbox.responses import Refusal


@attrs.frozen
class Endpoint:
    """A route: its name, method and path template."""

    name: str
    method: str
    template: str


ROUTES: dict[str, Endpoint] = {
    name: Endpoint(name, *spelled.split(" "))
    for name, spelled in {
        "rooms.create": "POST /rooms",
        "rooms.list": "GET /rooms",
        "rooms.get": "GET /rooms/{room_id}",
        "rooms.update": "PATCH /rooms/{room_id}",
        "rooms.delete": "DELETE /rooms/{room_id}",
        "rooms.users": "GET /rooms/{room_id}/users",
        "tokens.create": "POST /rooms/{room_id}/tokens",
        "cdr.by_period": "GET /cdr/period/{from_date}/{to_date}",
        "cdr.by_room": "GET /cdr/room/{room_id}",
        "cdr.by_room_period": "GET /cdr/room-period/{room_id}/{from_date}/{to_date}",
        "cdr.by_conference": "GET /cdr/conf/{conf_num}",
        "archives.by_period": "GET /archive/period/{from_date}/{to_date}",
        "archives.by_room": "GET /archive/room/{room_id}",
        "archives.by_room_period": "GET /archive/room-period/{room_id}/{from_date}/{to_date}",
        "archives.by_conference": "GET /archive/conf/{conf_num}",
        "dialin.get": "GET /dialin",
        "files.get": "GET /files/{path}",
    }.items()
}

_REPORTS = {"cdr": "cdr", "archive": "archives"}
_PERIOD = re.compile(r"\{[^}]*\}")


@attrs.frozen
class RouteMatch:
    """The result of routing a request: a route with the values in its path, or a refusal."""

    route: str
    args: tuple[str, ...] = ()
    refusal: Refusal | None = None


def match(method: str, path: str) -> RouteMatch:
    """Return the route of a request.

    Args:
        method: The HTTP method as sent; PUT on rooms counts as PATCH.
        path: The path as sent, percent-encoded, without the query.

    Source: docs/contract.md 2 and 10.12.
    """
    parts = [unquote(part) for part in path.split("/") if part]
    if parts and parts[0] == "files":
        return RouteMatch("files.get", (path,)) if method == "GET" else _no_method()
    if parts[:1] == ["video"] and parts[1:2] and parts[1] in ("v1", "v2"):
        parts = parts[2:]
    elif parts and parts[0] in ("v1", "v2"):
        parts = parts[1:]
    else:
        return _no_path()
    if not parts:
        return _no_path()
    head, rest = parts[0], tuple(parts[1:])
    if head == "rooms":
        return _rooms("PATCH" if method == "PUT" else method, rest)
    if head in _REPORTS:
        return _reports(method, _REPORTS[head], rest)
    if head == "dialin" and not rest:
        return RouteMatch("dialin.get") if method == "GET" else _no_method()
    return _no_path()


@lru_cache(maxsize=256)
def selected(pattern: str) -> frozenset[str]:
    """Return the names of the routes that match a fault's `route`.

    Args:
        pattern: A name, a glob such as `cdr.*` or `*`, or `METHOD /template` without the version prefix.

    Raises:
        ValueError: If no route matches; the message lists the known names.
    """
    spelled = pattern.strip()
    if " " in spelled:
        names = {name for name, route in ROUTES.items() if _plain(spelled) in _spellings(route)}
    else:
        names = {name for name in ROUTES if fnmatchcase(name, spelled)}
    if not names:
        raise ValueError(f"no route {pattern!r}; known are {', '.join(ROUTES)}")
    return frozenset(names)


def _spellings(route: Endpoint) -> Iterator[str]:
    yield _plain(f"{route.method} {route.template}")
    if route.method == "PATCH":
        yield _plain(f"PUT {route.template}")


def _plain(spelled: str) -> str:
    method, _, template = spelled.partition(" ")
    return f"{method.upper()} {_PERIOD.sub('{}', template.strip()).rstrip('/')}"


def _rooms(method: str, rest: tuple[str, ...]) -> RouteMatch:
    verbs: dict[str, str]
    if not rest:
        verbs = {"POST": "rooms.create", "GET": "rooms.list"}
    elif len(rest) == 1:
        verbs = {"GET": "rooms.get", "PATCH": "rooms.update", "DELETE": "rooms.delete"}
    elif rest[1:] == ("users",):
        verbs = {"GET": "rooms.users"}
    elif rest[1:] == ("tokens",):
        verbs = {"POST": "tokens.create"}
    else:
        return _no_path()
    return RouteMatch(verbs[method], rest[:1]) if method in verbs else _no_method()


def _reports(method: str, kind: str, rest: tuple[str, ...]) -> RouteMatch:
    if not rest or rest[0] not in ("period", "room", "room-period", "conf"):
        return _no_path()
    if method != "GET":
        return _no_method()
    by, values = rest[0], rest[1:]
    if by == "room-period" and values[1:2] == ("period",):
        values = (values[0], *values[2:])
    name, length, missing = {
        "period": ("by_period", 2, (10203, 10203)),
        "room": ("by_room", 1, (10202,)),
        "room-period": ("by_room_period", 3, (10202, 10203, 10203)),
        "conf": ("by_conference", 1, (10201,)),
    }[by]
    route = f"{kind}.{name}"
    if len(values) < length:
        return RouteMatch(route, values, Refusal(missing[len(values)]))
    return RouteMatch(route, values) if len(values) == length else _no_path()


def _no_path() -> RouteMatch:
    return RouteMatch("", refusal=Refusal(40001, desc="No such path", status=404))


def _no_method() -> RouteMatch:
    return RouteMatch("", refusal=Refusal(40001, desc="Method not allowed", status=405))
