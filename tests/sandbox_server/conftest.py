"""A minimal HTTP client for the sandbox, independent of the library's own client."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import attrs
import pytest

from videoapi.sandbox import Sandbox

ROOM = {"name": "Stand-up", "owner_ref": "team-42", "settings": {"participants": "2"}}


@attrs.define
class Clock:
    """A clock that advances only by `move`."""

    now: datetime = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **step: float) -> None:
        self.now += timedelta(**step)


@attrs.frozen
class Reply:
    """A response."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> object:
        return self.json["result"]


@attrs.frozen
class Bare:
    """A client of one sandbox, with its credentials unless `headers` override them."""

    sandbox: Sandbox
    session: aiohttp.ClientSession

    async def __call__(self, method: str, path: str, body: object = None, **options: Any) -> Reply:
        url = path if path.startswith("http") else self.sandbox.base_url + path
        headers = {"Authorization": aiohttp.encode_basic_auth(self.sandbox.app_id, self.sandbox.app_key)}
        headers |= options.pop("headers", {})
        if body is not None:
            options["json"] = body
        options.setdefault("allow_redirects", False)
        async with self.session.request(method, url, headers=headers, **options) as response:
            return Reply(response.status, response.headers, await response.read())

    async def room(self, **changes: object) -> str:
        """Create a room and return its id."""
        reply = await self("POST", "/rooms", {**ROOM, **changes})
        assert reply.code == 0, reply.body
        return str(reply.json["room"]["room_id"])

    async def token(self, room_id: str, role: str = "participant", user: str = "u") -> Reply:
        """Request a token."""
        body = {"name": user, "user_ref": user, "role": role}
        return await self("POST", f"/rooms/{room_id}/tokens", body)

    async def enter(self, room_id: str, role: str = "participant", user: str = "u") -> str:
        """Add a user to a room and return the token."""
        text = str((await self.token(room_id, role, user)).json["token"])
        self.sandbox.join(text)
        return text


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    """Return a function that starts a sandbox and returns a bare client for it."""
    async with AsyncExitStack() as stack:

        async def start(**arguments: Any) -> Bare:
            sandbox = await stack.enter_async_context(Sandbox(**arguments))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            return Bare(sandbox, session)

        yield start


@pytest.fixture
async def bare(serve: Callable[..., Any], clock: Clock) -> Bare:
    """Return a bare client of a sandbox with a stopped clock."""
    return await serve(clock=clock)
