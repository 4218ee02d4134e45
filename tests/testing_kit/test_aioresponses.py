"""The client with aioresponses: requests and responses without a socket."""

from __future__ import annotations

import inspect

import aiohttp
import aioresponses
import aioresponses.core
import pytest
from yarl import URL

from videoapi import CreateOutcomeUnknown, NotFound, RetryPolicy, TokenDenied, VideoClient
from videoapi.testing import ROOM_ID, aioresponses_shim, canned_error, canned_room, canned_token

BASE = "https://api.example.com/video/v2"
ROOM = f"{BASE}/rooms/{ROOM_ID}"


def client() -> VideoClient:
    return VideoClient("a" * 24, "k" * 36, BASE, retry=RetryPolicy(base=0))


async def test_get_is_retried_after_a_503(
    videoapi_aioresponses: aioresponses.aioresponses,
) -> None:
    videoapi_aioresponses.get(ROOM, status=503)
    videoapi_aioresponses.get(ROOM, payload=canned_room(name="Stand-up"))
    async with client() as api:
        room = await api.rooms.get(ROOM_ID)
    assert room.name == "Stand-up"
    assert len(videoapi_aioresponses.requests["GET", URL(ROOM)]) == 2


async def test_get_without_retries_fails_on_the_first_503(
    videoapi_aioresponses: aioresponses.aioresponses,
) -> None:
    videoapi_aioresponses.get(ROOM, status=503, repeat=True)
    async with client() as api:
        with pytest.raises(Exception, match="503") as failed:
            await api.with_options(retry=RetryPolicy(attempts=1)).rooms.get(ROOM_ID)
    assert failed.value.status == 503  # type: ignore[attr-defined]
    assert len(videoapi_aioresponses.requests["GET", URL(ROOM)]) == 1


@pytest.mark.parametrize(
    "answer", [canned_room(), canned_room(name="Stand-up"), {"result": 0, "room": {"room_id": ROOM_ID}}]
)
async def test_create_accepts_a_canned_room_without_a_reference(
    videoapi_aioresponses: aioresponses.aioresponses, answer: dict[str, object]
) -> None:
    videoapi_aioresponses.post(f"{BASE}/rooms", payload=answer)
    async with client() as api:
        room = await api.rooms.create(name="Stand-up", owner_ref="team-42")
    assert room.room_id == ROOM_ID


async def test_create_rejects_a_response_for_another_name(
    videoapi_aioresponses: aioresponses.aioresponses,
) -> None:
    videoapi_aioresponses.post(f"{BASE}/rooms", payload=canned_room(name="Another meeting"))
    async with client() as api:
        with pytest.raises(CreateOutcomeUnknown):
            await api.rooms.create(name="Stand-up")


async def test_canned_token_is_returned_as_a_token(videoapi_aioresponses: aioresponses.aioresponses) -> None:
    videoapi_aioresponses.post(f"{ROOM}/tokens", payload=canned_token("opaque"))
    async with client() as api:
        token = await api.tokens.create(ROOM_ID, name="Ann", role="moderator", user_ref="u-1")
    assert token.value == "opaque"


async def test_canned_error_code_determines_the_exception(
    videoapi_aioresponses: aioresponses.aioresponses,
) -> None:
    videoapi_aioresponses.get(ROOM, status=404, payload=canned_error(40001))
    videoapi_aioresponses.post(f"{ROOM}/tokens", status=200, payload=canned_error(10114))
    async with client() as api:
        with pytest.raises(NotFound) as missing:
            await api.rooms.get(ROOM_ID)
        with pytest.raises(TokenDenied) as full:
            await api.tokens.create(ROOM_ID, name="Ann", role="participant", user_ref="u-1")
    assert missing.value.error == "[Reason] Room not found"
    assert full.value.reason == "full"


def test_shim_is_active_only_inside_its_context() -> None:
    before = aioresponses.core.ClientResponse
    with aioresponses_shim():
        required = "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters
        assert (aioresponses.core.ClientResponse is not before) == required
    assert aioresponses.core.ClientResponse is before
