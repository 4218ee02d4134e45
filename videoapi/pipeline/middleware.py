"""Middleware that wraps each call: a request in, an outcome out.

A middleware is `async def middleware(request, send) -> Outcome`. It runs once per call, around the
retries. It may change the request before sending (`attrs.evolve`), change the outcome, or respond
without sending (`answered`). It is independent of aiohttp's session, so it also works when a test
replaces that session.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from videoapi.errors import ConfigurationError
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request

Send = Callable[[Request], Awaitable[Outcome]]
"""A function that sends a request and returns its outcome."""

Middleware = Callable[[Request, Send], Awaitable[Outcome]]
"""A function that wraps each call: it gets the request and a `Send`, and returns an outcome."""


def chain(middlewares: Sequence[Middleware], send: Send) -> Send:
    """Return `send` wrapped in the middlewares, the first one outermost."""
    for middleware in reversed(middlewares):
        send = partial(_called, middleware, send=send)
    return send


async def _called(middleware: Middleware, request: Request, send: Send) -> Outcome:
    outcome: object = middleware(request, send)
    if inspect.isawaitable(outcome):
        outcome = await outcome
    return checked(middleware, outcome)


def checked(middleware: Middleware, outcome: object) -> Outcome:
    """Return what a middleware returned.

    Raises:
        ConfigurationError: If it is not an outcome.
    """
    if isinstance(outcome, Outcome):
        return outcome
    name = getattr(middleware, "__name__", type(middleware).__name__)
    raise ConfigurationError(
        f"The middleware {name} returned {type(outcome).__name__}, not the Outcome that `send` gave it."
    )
