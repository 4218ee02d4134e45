"""Every route on the wire: method, path, headers and the exact bytes of the body."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aioresponses
import attrs
import pytest
from support.server import ROOM_ID, answer, repeating, serve
from yarl import URL

import videoapi
from videoapi import NotFound, RoomSettings, RoomSpec, TokenSpec, VideoClient

USER_AGENT = f"videoapi/{videoapi.__version__} Python/{sys.version_info.major}.{sys.version_info.minor}"
REFERENCE = "<reference>"
"""The placeholder for a reference that the client generates."""


@attrs.frozen
class Case:
    """A library call and the request that it must send."""

    call: Callable[[VideoClient], Awaitable[Any]]
    method: str
    path: str
    body: dict[str, Any] | None = None
    answer: dict[str, Any] = attrs.field(factory=lambda: {"result": 0})


ROOM = {"result": 0, "room": {"room_id": ROOM_ID}}
TOKEN = {"result": 0, "token": "opaque"}
USERS = {"result": 0, "total": 0, "users": None}
CDR: dict[str, Any] = {"result": "0", "cdr": []}
ARCHIVE: dict[str, Any] = {"result": "0", "archive": []}
A, B = "2026-01-01", "2026-01-05"

CASES = {
    "create": Case(
        lambda client: client.rooms.create(name="Stand-up"),
        "POST",
        "/rooms",
        {"name": "Stand-up", "owner_ref": REFERENCE, "settings": {}},
        ROOM,
    ),
    "create-own-reference": Case(
        lambda client: client.rooms.create(
            name="Ständ-up",
            owner_ref="team-42",
            settings=RoomSettings(participants=10, auto_recording=True),
            data={"crm": "4711"},
        ),
        "POST",
        "/rooms",
        {
            "name": "Ständ-up",
            "owner_ref": "team-42",
            "settings": {"participants": 10, "auto_recording": True},
            "data": {"crm": "4711", "videoapi_ref": REFERENCE},
        },
        ROOM,
    ),
    "list": Case(lambda client: client.rooms.list().to_list(), "GET", "/rooms", answer={"result": 0, "rooms": []}),
    "get": Case(lambda client: client.rooms.get(ROOM_ID), "GET", f"/rooms/{ROOM_ID}", answer=ROOM),
    "update": Case(
        lambda client: client.rooms.update(ROOM_ID, name="Retro", settings={"participants": 20}),
        "PATCH",
        f"/rooms/{ROOM_ID}",
        {"name": "Retro", "settings": {"participants": 20}},
    ),
    "delete": Case(lambda client: client.rooms.delete(ROOM_ID), "DELETE", f"/rooms/{ROOM_ID}"),
    "users": Case(lambda client: client.rooms.users(ROOM_ID), "GET", f"/rooms/{ROOM_ID}/users", answer=USERS),
    "token": Case(
        lambda client: client.tokens.create(ROOM_ID, name="Ann", role="moderator", user_ref="u-1"),
        "POST",
        f"/rooms/{ROOM_ID}/tokens",
        {"name": "Ann", "role": "moderator", "user_ref": "u-1"},
        TOKEN,
    ),
    "token-data": Case(
        lambda client: client.tokens.create(ROOM_ID, name="Ann", role="viewer", user_ref="u-1", data={"seat": 7}),
        "POST",
        f"/rooms/{ROOM_ID}/tokens",
        {"name": "Ann", "role": "viewer", "user_ref": "u-1", "data": {"seat": 7}},
        TOKEN,
    ),
    "create-many": Case(
        lambda client: client.rooms.create_many([RoomSpec(name="Bulk", key="k1")], audit=False),
        "POST",
        "/rooms",
        {"name": "Bulk", "owner_ref": REFERENCE, "settings": {}},
        ROOM,
    ),
    "delete-many": Case(lambda client: client.rooms.delete_many([ROOM_ID]), "DELETE", f"/rooms/{ROOM_ID}"),
    "tokens-many": Case(
        lambda client: client.tokens.create_many(
            [TokenSpec(room_id=ROOM_ID, name="Ann", role="participant", user_ref="u-1", key="k1")]
        ),
        "POST",
        f"/rooms/{ROOM_ID}/tokens",
        {"name": "Ann", "role": "participant", "user_ref": "u-1"},
        TOKEN,
    ),
    "cdr-room": Case(lambda client: client.cdr.by_room(ROOM_ID).to_list(), "GET", f"/cdr/room/{ROOM_ID}", answer=CDR),
    "cdr-conference": Case(
        lambda client: client.cdr.by_conference("conf-1").to_list(), "GET", "/cdr/conf/conf-1", answer=CDR
    ),
    "archive-room": Case(
        lambda client: client.archives.by_room(ROOM_ID).to_list(), "GET", f"/archive/room/{ROOM_ID}", answer=ARCHIVE
    ),
    "archive-conference": Case(
        lambda client: client.archives.by_conference("conf-1").to_list(),
        "GET",
        "/archive/conf/conf-1",
        answer=ARCHIVE,
    ),
    "dialin": Case(lambda client: client.dialin.get(), "GET", "/dialin/", answer={"_id": "x", "dialin": []}),
}


def with_placeholder(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body with its generated reference checked and replaced by a placeholder."""
    copied = json.loads(json.dumps(body))
    holder, key = (
        (copied["data"], "videoapi_ref") if "videoapi_ref" in copied.get("data", {}) else (copied, "owner_ref")
    )
    if key in holder:
        assert holder[key].isalnum()
        assert holder[key] == holder[key].lower()
        assert holder[key].startswith("vx")
        assert 26 <= len(holder[key]) <= 32
        holder[key] = REFERENCE
    return copied


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_call_sends_one_exact_request(case: Case) -> None:
    async with serve(repeating(answer(200, case.answer))) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            await case.call(client)
    (seen,) = server.requests
    assert (seen.method, seen.target) == (case.method, f"/video/v2{case.path}")
    expected = {
        "host": f"127.0.0.1:{server.port}",
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "authorization": "Basic aWQ6a2V5",
        "user-agent": USER_AGENT,
    }
    if case.body is None:
        assert seen.body == b""
        seen.headers.pop("content-length", None)
    else:
        assert with_placeholder(seen.json) == case.body
        # Compact JSON: no spaces between tokens, and no escaped non-ASCII letters.
        assert seen.body == json.dumps(seen.json, ensure_ascii=False, separators=(",", ":")).encode()
        expected |= {"content-type": "application/json", "content-length": str(len(seen.body))}
    assert seen.headers == expected


PERIODS = {
    "cdr": (lambda client: client.cdr.by_period(A, B), "/cdr/period", CDR),
    "cdr-room": (lambda client: client.cdr.by_room_period(ROOM_ID, A, B), f"/cdr/room-period/{ROOM_ID}", CDR),
    "archive": (lambda client: client.archives.by_period(A, B), "/archive/period", ARCHIVE),
    "archive-room": (
        lambda client: client.archives.by_room_period(ROOM_ID, A, B),
        f"/archive/room-period/{ROOM_ID}",
        ARCHIVE,
    ),
}


@pytest.mark.parametrize(("stream", "prefix", "body"), PERIODS.values(), ids=PERIODS)
async def test_period_is_requested_in_windows_of_days(
    stream: Callable[[VideoClient], Any], prefix: str, body: dict[str, Any]
) -> None:
    async with serve(repeating(answer(200, body))) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            await stream(client).to_list()
    assert server.requests
    days = []
    for seen in server.requests:
        start, first, last = seen.target.rsplit("/", 2)
        assert (seen.method, start) == ("GET", f"/video/v2{prefix}")
        assert first <= last
        days += [first, last]
    assert min(days) <= A
    assert max(days) >= B


@pytest.mark.parametrize("directory", ["/video/v2", "/video/v1", "/v1", "/v2", "", "/tenant/a%20b/v3"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_base_url_accepts_any_version_path_and_trailing_slash(directory: str, slash: str) -> None:
    async with serve(repeating(answer(200, ROOM))) as server:
        async with VideoClient("id", "key", server.origin + directory + slash) as client:
            assert client.base_url == server.origin + directory
            await client.rooms.get(ROOM_ID)
            await client.rooms.create(name="Stand-up")
    assert [seen.target for seen in server.requests] == [f"{directory}/rooms/{ROOM_ID}", f"{directory}/rooms"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_every_route_works_with_aioresponses(
    videoapi_aioresponses: aioresponses.aioresponses, case: Case
) -> None:
    base = "https://api.example.com/video/v2"
    videoapi_aioresponses.add(base + case.path, case.method, payload=case.answer)
    async with VideoClient("id", "key", base) as client:
        await case.call(client)
    (sent,) = videoapi_aioresponses.requests[case.method, URL(base + case.path)]
    assert sent.kwargs["allow_redirects"] is False
    assert (sent.kwargs["data"] is None) == (case.body is None)


async def test_error_names_the_path_template_not_the_path() -> None:
    not_found = answer(404, {"result": 40001, "error": "[Reason] Room not found", "desc": ""})
    async with serve(repeating(not_found)) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            with pytest.raises(NotFound) as failed:
                await client.rooms.get(ROOM_ID)
    assert (failed.value.method, failed.value.path) == ("GET", "/rooms/{room_id}")
    assert (failed.value.code, failed.value.group, failed.value.error) == (40001, 400, "[Reason] Room not found")
    assert ROOM_ID not in str(failed.value)
