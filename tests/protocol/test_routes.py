"""The routes as data, and their paths."""

from __future__ import annotations

from urllib.parse import unquote

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoapi.protocol import routes
from videoapi.protocol.routes import Options, Request, Route
from videoapi.protocol.types import Operation

ALL = [value for value in vars(routes).values() if isinstance(value, Route)]


def test_every_route_has_its_method_path_and_operation() -> None:
    table = {route.name: (route.method, route.template, route.operation.value) for route in ALL}
    assert table == {
        "rooms.create": ("POST", "/rooms", "non_repeatable"),
        "rooms.list": ("GET", "/rooms", "safe"),
        "rooms.get": ("GET", "/rooms/{room_id}", "safe"),
        "rooms.update": ("PATCH", "/rooms/{room_id}", "idempotent"),
        "rooms.delete": ("DELETE", "/rooms/{room_id}", "idempotent"),
        "rooms.users": ("GET", "/rooms/{room_id}/users", "safe"),
        "tokens.create": ("POST", "/rooms/{room_id}/tokens", "repeatable"),
        "dialin.get": ("GET", "/dialin/", "safe"),
        "cdr.by_period": ("GET", "/cdr/period/{from_date}/{to_date}", "safe"),
        "cdr.by_room": ("GET", "/cdr/room/{room_id}", "safe"),
        "cdr.by_room_period": ("GET", "/cdr/room-period/{room_id}/{from_date}/{to_date}", "safe"),
        "cdr.by_conference": ("GET", "/cdr/conf/{conf_num}", "safe"),
        "archives.by_period": ("GET", "/archive/period/{from_date}/{to_date}", "safe"),
        "archives.by_room": ("GET", "/archive/room/{room_id}", "safe"),
        "archives.by_room_period": ("GET", "/archive/room-period/{room_id}/{from_date}/{to_date}", "safe"),
        "archives.by_conference": ("GET", "/archive/conf/{conf_num}", "safe"),
    }
    assert [route.name for route in ALL if route.result_optional] == ["dialin.get"]


def test_routes_without_an_object_in_their_path() -> None:
    without = {route.name for route in ALL if not route.names_object}
    assert without == {"rooms.create", "rooms.list", "dialin.get", "cdr.by_period", "archives.by_period"}
    # The library cannot know what a white-label's own path names.
    assert Route("custom", "GET", "/plans", Operation.SAFE, custom=True).names_object


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_segment_stays_in_its_place_in_the_path(segment: str) -> None:
    path = routes.CREATE_TOKEN.path(segment)
    before, rooms, seen, after = path.split("/")
    assert (before, rooms, after) == ("", "rooms", "tokens")
    assert unquote(seen) == segment
    assert path.isascii()
    assert not set(path) & set("?#{}\\ \r\n")


def test_segments_fill_the_template_in_order() -> None:
    path = routes.CDR_ROOM_PERIOD.path("{to_date}", "2026-01-01", "a/b")
    assert path == "/cdr/room-period/%7Bto_date%7D/2026-01-01/a%2Fb"


def test_segment_that_utf8_cannot_encode_is_rejected() -> None:
    with pytest.raises(ValueError):
        routes.GET_ROOM.path("\ud800")


@pytest.mark.parametrize("route", ALL, ids=lambda route: route.name)
def test_default_timeout_per_route(route: Route) -> None:
    assert route.timeout == (40 if route.operation is Operation.NON_REPEATABLE else 90)
    request = Request(route=route, path="/", options=Options())
    assert request.timeout == route.timeout
    assert attrs.evolve(request, options=Options(timeout=2.5)).timeout == 2.5
    assert request.method == route.method


def test_with_headers_returns_a_copy_that_differs_in_its_headers_only() -> None:
    fields = {field.name: object() for field in attrs.fields(Request)}
    for own in ({}, {"X-A": "1", "X-B": "1"}):
        request = Request(**{**fields, "headers": own})  # type: ignore[arg-type]
        changed = request.with_headers({"X-B": "2"})
        assert request.headers == own
        assert changed.headers == {**own, "X-B": "2"}
        assert attrs.evolve(changed, headers=own) == request


def test_headers_added_later_come_last() -> None:
    # So that the last one of a name counts, in any case.
    request = Request(route=routes.CREATE_ROOM, path="/rooms", options=Options())
    for headers in ({"X-A": "1"}, {"x-a": "2"}, {"X-A": "3"}):
        request = request.with_headers(headers)
    assert list(request.headers.items()) == [("x-a", "2"), ("X-A", "3")]
