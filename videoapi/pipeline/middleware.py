"""The middleware above the session: a request in, an outcome out.

A middleware is `async def middleware(request, send) -> Outcome`. It runs once a call, around the
retries, and may change the request on its way in (`attrs.evolve`), the outcome on its way out, or
answer by itself (`answered`). Because it stands above aiohttp's session, it works with whatever
stands in for that session in a test.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from videoapi.errors import ConfigurationError
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request

Send = Callable[[Request], Awaitable[Outcome]]
"""Sends a request and tells what became of it."""

Middleware = Callable[[Request, Send], Awaitable[Outcome]]
"""Stands around `Send`; what users add with `VideoClient(middleware=[…])`."""


def chain(middlewares: Sequence[Middleware], send: Send) -> Send:
    """Return a `Send` with the middlewares around it, the first outermost."""
    for middleware in reversed(middlewares):
        send = _around(middleware, send)
    return send


def _around(middleware: Middleware, send: Send) -> Send:
    async def through(request: Request) -> Outcome:
        outcome: object = await middleware(request, send)
        if not isinstance(outcome, Outcome):
            name = getattr(middleware, "__name__", type(middleware).__name__)
            raise ConfigurationError(
                f"The middleware {name} returned {type(outcome).__name__}, not the Outcome that `send` gave it."
            )
        return outcome

    return through
