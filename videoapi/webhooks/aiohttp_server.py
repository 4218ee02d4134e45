"""The receiver as a handler of aiohttp.web, and as a small server of its own."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from aiohttp import web

from videoapi.webhooks.delivery import AnswerDelivery, IncompleteBody

AioHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def handler_of(answer: AnswerDelivery) -> AioHandler:
    """Return a handler for `router.add_post`."""

    async def receive(request: web.Request) -> web.StreamResponse:
        given = request.headers.getall("Authorization", [])
        # Two headers are ambiguous: a proxy may have checked the other one.
        authorization = given[0].encode("utf-8", "surrogateescape") if len(given) == 1 else None
        length = request.headers.get("Content-Length", "").encode("utf-8", "replace")
        made = await answer(request.method, authorization, length, _chunks(request))
        return web.Response(status=made.status, headers=made.headers, body=made.body)

    return receive


@contextlib.asynccontextmanager
async def serving(answer: AnswerDelivery, host: str, port: int) -> AsyncGenerator[str, None]:
    """Serve the receiver alone, at any path; yields its URL."""
    runner = web.ServerRunner(web.Server(_any_path(handler_of(answer)), access_log=None))
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = runner.addresses[0]
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        yield f"http://{shown}:{bound[1]}/"
    finally:
        await runner.cleanup()


def _any_path(handler: AioHandler) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await handler(request)  # type: ignore[arg-type]

    return handle


async def _chunks(request: web.BaseRequest) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.content.iter_any():
            yield chunk
    except (OSError, web.RequestPayloadError):
        raise IncompleteBody from None
