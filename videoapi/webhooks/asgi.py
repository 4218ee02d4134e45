"""The receiver as an ASGI application, for any path and any server. Source: ASGI specification 3.0, HTTP 2.4."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import attrs

from videoapi.errors import VideoAPIError
from videoapi.webhooks.delivery import AnswerDelivery, IncompleteBody

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
ASGISend = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[MutableMapping[str, Any], Receive, ASGISend], Awaitable[None]]


@attrs.frozen(eq=False)
class WebhookApp:
    """An ASGI application. An object, not a function: Starlette's `Route` takes a function for a view.

    Args:
        answer: Answers a request.
        start: Called when the server starts, if it says so.
        close: Called when the server stops, if it says so; few frameworks pass that on to mounted applications.
    """

    _answer: AnswerDelivery
    _start: Callable[[], Awaitable[object]]
    _close: Callable[[], Awaitable[object]]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: ASGISend) -> None:
        """Serve one connection, or the lifespan of the server."""
        if scope["type"] == "lifespan":
            await _live(receive, send, self._start, self._close)
        elif scope["type"] == "http":
            await _respond(scope, receive, send, self._answer)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})


async def _live(
    receive: Receive,
    send: ASGISend,
    start: Callable[[], Awaitable[object]],
    close: Callable[[], Awaitable[object]],
) -> None:
    while True:
        message = await receive()
        step = start if message["type"] == "lifespan.startup" else close
        try:
            await step()
        except Exception as error:
            # The server logs the message. That of any other error could contain anything.
            reason = str(error) if isinstance(error, VideoAPIError) else type(error).__name__
            await send({"type": f"{message['type']}.failed", "message": reason})
            raise
        await send({"type": f"{message['type']}.complete"})
        if step is close:
            return


async def _respond(scope: MutableMapping[str, Any], receive: Receive, send: ASGISend, answer: AnswerDelivery) -> None:
    given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
    length = next((value for name, value in scope["headers"] if name.lower() == b"content-length"), None)
    # Two headers are ambiguous: a proxy may have checked the other one.
    authorization = given[0] if len(given) == 1 else None
    made = await answer(scope["method"], authorization, length, _chunks(receive))
    headers = {**made.headers, "Content-Length": str(len(made.body))}
    wire = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    # The sender may be gone.
    with contextlib.suppress(OSError):
        await send({"type": "http.response.start", "status": made.status, "headers": wire})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else made.body})


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise IncompleteBody
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return
