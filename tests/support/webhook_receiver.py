"""A receiver of notifications that is independent of the library's own."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.web_request import BaseRequest


class Receiver:
    """Answers `status` to each request, and keeps what it was sent; `check` runs before the answer."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.seen: list[tuple[BaseRequest, dict[str, Any]]] = []
        self.check: Callable[[dict[str, Any]], Awaitable[None]] | None = None
        self.url = ""
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, request: BaseRequest) -> web.Response:
        body = await request.read()
        self.seen.append((request, json.loads(body)))
        await self.gate.wait()
        if self.check is not None:
            await self.check(self.seen[-1][1])
        return web.Response(status=self.status, headers=self.headers)

    @property
    def types(self) -> list[str]:
        """The types of what it was sent."""
        return [fields["type"] for _, fields in self.seen]


@asynccontextmanager
async def receiving() -> AsyncGenerator[Receiver, None]:
    """Run a receiver, on this loop."""
    receiver = Receiver()
    runner = web.ServerRunner(web.Server(receiver.handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks"
    try:
        yield receiver
    finally:
        await runner.cleanup()
