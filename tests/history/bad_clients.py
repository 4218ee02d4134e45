"""Clients with one common mistake each, written directly on aiohttp."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiohttp
import attrs

from history.checker import Event
from videoapi.creation.references import reference_for

_BROKEN: Final = (aiohttp.ClientError, OSError, TimeoutError)
_ATTEMPTS: Final = 3


@attrs.define
class Bad:
    """The state shared by these clients: a session, a history, and the number of requests they know of.

    Args:
        base_url: URL of the service.
        auth: APP_ID and APP_KEY.
        settle: Seconds that clients wait before they look up a room.
    """

    base_url: str
    auth: tuple[str, str]
    settle: float = 0.0
    session: Any = None
    events: list[Event] = attrs.field(factory=list)
    accounted: int = 0
    left: list[asyncio.Task[Any]] = attrs.field(factory=list)
    missing: list[str] = attrs.field(factory=list)

    def open(self, **options: Any) -> aiohttp.ClientSession:
        login = base64.b64encode(":".join(self.auth).encode()).decode()
        connector = aiohttp.TCPConnector(limit=50)
        self.session = aiohttp.ClientSession(
            connector=connector, headers={"Authorization": f"Basic {login}"}, **options
        )
        return self.session

    def note(self, what: Any, cref: str, room_id: str | None = None) -> None:
        self.events.append(Event(what, cref, asyncio.get_running_loop().time(), room_id))

    async def post(self, cref: str, **options: Any) -> tuple[int, Any]:
        """Send the create once; return the status, and the body as JSON or None."""
        self.accounted += 1
        body = {"name": cref, "owner_ref": cref, "settings": {}}
        options = {"allow_redirects": False, **options}
        async with self.session.post(f"{self.base_url}/rooms", json=body, **options) as response:
            return response.status, await _json(response)

    async def found(self, cref: str) -> str | None:
        """Look up the room in the list once, and trust the list."""
        self.accounted += 1
        async with self.session.get(f"{self.base_url}/rooms") as response:
            listed = json.loads(await response.read())
        return next((room["room_id"] for room in listed["rooms"] if room.get("owner_ref") == cref), None)


Client = Callable[[Bad, str], Awaitable[None]]


async def no_retry(it: Bad, cref: str) -> None:
    """Send once, and treat everything except success as failure."""
    try:
        status, body = await it.post(cref)
    except _BROKEN:
        return it.note("fail", cref)
    return _record_response(it, cref, status, body)


async def naive_retry(it: Bad, cref: str) -> None:
    """Send again after any failure."""
    for attempt in range(_ATTEMPTS):
        try:
            status, body = await it.post(cref)
        except _BROKEN:
            continue
        if status < 500 or attempt == _ATTEMPTS - 1:
            return _record_response(it, cref, status, body)
    return it.note("fail", cref)


async def treats_502_as_rejection(it: Bad, cref: str) -> None:
    """Treat a 502 as proof that nothing was executed."""
    try:
        status, body = await it.post(cref)
    except _BROKEN:
        return it.note("unknown", cref)
    if status == 502:
        return it.note("fail", cref)
    return _record_response(it, cref, status, body)


async def treats_parser_error_as_rejection(it: Bad, cref: str) -> None:
    """Treat the 400 that aiohttp reports for a malformed response as a response of the service."""
    try:
        status, body = await it.post(cref)
    except aiohttp.ClientResponseError as error:
        return it.note("fail" if 400 <= error.status < 500 else "unknown", cref)
    except _BROKEN:
        return it.note("unknown", cref)
    return _record_response(it, cref, status, body)


async def looks_and_sends_again(it: Bad, cref: str) -> None:
    """Look up the room after `settle` seconds, without known rooms, and send again if it is missing."""
    for _ in range(_ATTEMPTS):
        try:
            status, body = await it.post(cref)
        except _BROKEN:
            pass
        else:
            if status < 500:
                return _record_response(it, cref, status, body)
        await asyncio.sleep(it.settle)
        try:
            room_id = await it.found(cref)
        except (*_BROKEN, ValueError):
            return it.note("unknown", cref)
        if room_id is not None:
            return it.note("ok", cref, room_id)
    return it.note("fail", cref)


async def accepts_truncated_list(it: Bad, cref: str) -> None:
    """Trust a truncated list."""
    for _ in range(_ATTEMPTS):
        try:
            status, body = await it.post(cref)
        except _BROKEN:
            pass
        else:
            return _record_response(it, cref, status, body)
        await asyncio.sleep(it.settle)
        seen = b""
        it.accounted += 1
        try:
            async with it.session.get(f"{it.base_url}/rooms") as response:
                async for chunk in response.content.iter_any():
                    seen += chunk
        except _BROKEN:
            pass
        if match := re.search(rb'"room_id":"(\w+)","name":"%s"' % cref.encode(), seen):
            return it.note("ok", cref, match[1].decode())
    return it.note("fail", cref)


async def follows_redirects(it: Bad, cref: str) -> None:
    """Let aiohttp follow a redirect, which turns the create into a GET."""
    try:
        status, body = await it.post(cref, allow_redirects=True)
    except _BROKEN:
        return it.note("unknown", cref)
    if status == 200 and body and body.get("result") == 0:
        return it.note("ok", cref, (body.get("room") or {}).get("room_id"))
    return it.note("unknown", cref)


async def treats_false_as_zero(it: Bad, cref: str) -> None:
    """Treat `result: false` as success, because `False == 0` in Python."""
    try:
        status, body = await it.post(cref)
    except _BROKEN:
        return it.note("unknown", cref)
    if body is not None and body.get("result") == 0:
        return it.note("ok", cref, (body.get("room") or {}).get("room_id"))
    return _record_response(it, cref, status, body)


async def swallows_cancellation(it: Bad, cref: str) -> None:
    """Treat a cancellation as a failure."""
    try:
        status, body = await it.post(cref)
    except (*_BROKEN, asyncio.CancelledError):
        return it.note("fail", cref)
    return _record_response(it, cref, status, body)


async def keeps_running_when_cancelled(it: Bad, cref: str) -> None:
    """Leave the request running after a cancellation."""
    task = asyncio.ensure_future(it.post(cref))
    it.left.append(task)
    try:
        status, body = await asyncio.shield(task)
    except asyncio.CancelledError:
        return it.note("unknown", cref)
    return _record_response(it, cref, status, body)


async def retries_in_middleware(it: Bad, cref: str) -> None:
    """Send once, unaware that the session has `retrying` in its middlewares."""
    try:
        status, body = await it.post(cref)
    except _BROKEN:
        return it.note("unknown", cref)
    return _record_response(it, cref, status, body)


async def sends_again_after_a_noted_refusal(it: Bad, cref: str) -> None:
    """Note the refusal of a create, but not that it was sent again later: a restart sends it another time."""
    noted = (await it.post(cref))[0]
    # The second life sends it again and is killed before the response; the third one reads "refused" in its notes.
    for _ in range(2 if noted >= 400 else 0):
        try:
            status, body = await it.post(cref)
        except _BROKEN:
            continue
        return _record_response(it, cref, status, body)
    return it.note("fail", cref)


async def asks_the_list_at_once(it: Bad, cref: str) -> None:
    """Count the settle time from the client's own start, so that a create just sent by another is denied."""
    with contextlib.suppress(*_BROKEN):
        await it.post(cref)
    room_id = await it.found(cref)
    it.note("ok" if room_id else "fail", cref, room_id)


async def finds_rooms_by_position(it: Bad, cref: str) -> None:
    """Retry a refused item alone, so that it gets the position, and the room, of the first item of its job."""
    first = cref[:-1] + ("a" if cref[-1] != "a" else "b")
    it.note("invoke", first)
    await it.post(first)
    it.note("ok", first, await it.found(first))
    status, body = await it.post(cref)
    if status >= 400:
        return it.note("ok", cref, await it.found(first))
    return _record_response(it, cref, status, body)


async def deletes_all_but_the_oldest(it: Bad, cref: str) -> None:
    """Delete duplicates without knowing which of the rooms was acknowledged."""
    (_, first), (_, second) = await it.post(cref), await it.post(cref)
    it.note("ok", cref, second["room"]["room_id"])
    assert await it.found(cref) == first["room"]["room_id"]
    it.accounted += 1
    async with it.session.delete(f"{it.base_url}/rooms/{second['room']['room_id']}") as response:
        assert response.status == 200


async def audits_a_list_that_lags(it: Bad, cref: str) -> None:
    """Report rooms as missing that the list does not show yet."""
    status, body = await it.post(cref)
    _record_response(it, cref, status, body)
    if await it.found(cref) is None:
        it.missing.append(body["room"]["room_id"])


async def retrying(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send again within aiohttp, where requests are not counted."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return await handler(request)
        except _BROKEN:
            continue
    return await handler(request)


def reference(run: str, number: int) -> str:
    """Return a reference in the library's format."""
    return reference_for(run, f"row-{number}")


def _record_response(it: Bad, cref: str, status: int, body: Any) -> None:
    result = body.get("result") if isinstance(body, dict) else None
    if status in (200, 201) and result == 0 and type(result) is int and "room" in body:
        it.note("ok", cref, body["room"]["room_id"])
    else:
        it.note("fail" if status >= 400 else "unknown", cref)


async def _json(response: aiohttp.ClientResponse) -> Any:
    try:
        return json.loads(await response.read())
    except ValueError:
        return None
