"""A sandbox with a console, and a reader of its events."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import attrs
import pytest

from videoapi.sandbox import Sandbox

KEY = "app-key-canary-1234"
PASSWORD = "recording-canary-5678"


@attrs.define
class Events:
    """The events of one viewer, and what they add up to."""

    response: aiohttp.ClientResponse
    hello: dict[str, Any] = attrs.field(factory=dict)
    state: dict[str, Any] = attrs.field(factory=dict)
    requests: dict[int, dict[str, Any]] = attrs.field(factory=dict)
    missed: int = 0
    raw: bytearray = attrs.field(factory=bytearray)

    async def until(self, condition: Callable[["Events"], object]) -> None:
        """Read until a condition is met, at most for less than a heartbeat, which sends changes in any case."""
        async with asyncio.timeout(10):
            while not condition(self):
                await self.one()

    async def one(self) -> None:
        """Read one event."""
        text = await self.response.content.readuntil(b"\n\n")
        self.raw += text
        fields = dict(line.split(": ", 1) for line in text.decode().splitlines() if ": " in line)
        if "event" not in fields:
            return
        data = json.loads(fields["data"])
        if fields["event"] == "hello":
            self.hello = data
        elif fields["event"] == "state":
            self.state |= data
        self.missed += data.get("missed", 0)
        self.requests |= {request["number"]: request for request in data.get("requests", ())}

    def answered(self, number: int) -> bool:
        """Return whether request number `number` has ended."""
        return self.requests.get(number, {}).get("outcome", "waiting") != "waiting"


@attrs.define
class Desk:
    """A sandbox with a console, and a session to use both."""

    sandbox: Sandbox
    session: aiohttp.ClientSession
    stack: AsyncExitStack

    @property
    def url(self) -> str:
        url = self.sandbox.console_url
        assert url is not None
        return url

    @property
    def login(self) -> dict[str, str]:
        return {"Authorization": aiohttp.encode_basic_auth(self.sandbox.app_id, self.sandbox.app_key)}

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """Call the API."""
        url = self.sandbox.base_url + path
        async with self.session.request(method, url, json=body, headers=self.login) as response:
            return json.loads(await response.read())

    async def room(self, name: str = "Stand-up") -> str:
        """Create a room and return its id."""
        created = await self.call("POST", "/rooms", {"name": name, "owner_ref": "team"})
        return str(created["room"]["room_id"])

    async def act(self, action: str, headers: dict[str, str] | None = None, **values: object) -> tuple[int, Any]:
        """Run an action; return the status and the body."""
        url = f"{self.url}console/actions/{action}"
        async with self.session.post(url, json=values, headers=self.login | (headers or {})) as response:
            return response.status, await response.json()

    async def events(self) -> Events:
        """Connect a viewer that has read the state."""
        response = await self.stack.enter_async_context(self.session.get(f"{self.url}console/events"))
        assert response.status == 200
        events = Events(response)
        await events.until(lambda events: events.hello and events.state)
        return events


@pytest.fixture
async def open_desk() -> AsyncIterator[Callable[..., Any]]:
    """A function that starts a sandbox with a console."""
    async with AsyncExitStack() as stack:

        async def start(**arguments: Any) -> Desk:
            sandbox = Sandbox(console=True, app_key=KEY, recording_password=PASSWORD, **arguments)
            await stack.enter_async_context(sandbox)
            session = await stack.enter_async_context(aiohttp.ClientSession(read_bufsize=2**22))
            return Desk(sandbox, session, stack)

        yield start


@pytest.fixture
async def desk(open_desk: Callable[..., Any]) -> Desk:
    """A running sandbox with a console."""
    return await open_desk()
