"""An error status with a JSON body that has none of the service's keys, as gateways and custom routes send."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.clients import Skipped, client_for
from support.server import Link, answer, repeating, serve

from videoapi import (
    AuthenticationFailed,
    Conflict,
    CreateOutcomeUnknown,
    PermissionDenied,
    ProtocolError,
    RateLimited,
    RequestRejected,
    ServerFault,
    VideoAPIError,
    VideoClient,
)

CALLS: dict[str, Callable[[VideoClient], Awaitable[Any]]] = {
    "dialin": lambda client: client.dialin.get(),
    "read": lambda client: client.request("GET", "/own", operation="read"),
    "update": lambda client: client.request("PUT", "/own", json={}, operation="update"),
    "create": lambda client: client.request("POST", "/own", json={}, operation="create"),
}
BODIES = [{}, {"detail": "Not authenticated"}, {"detail": [{"loc": ["body"]}]}]
BARE = pytest.mark.parametrize("body", BODIES, ids=["empty", "text", "list"])


async def failure(how: str, status: int, body: object, headers: dict[str, str] | None = None) -> tuple[Any, int]:
    """Return the error of a call, and how many requests it sent."""
    async with serve(repeating(answer(status, body, headers))) as server, Skipped().manager() as manager:
        async with client_for(server.base_url, session=manager) as client:
            with pytest.raises(VideoAPIError) as failed:
                await CALLS[how](client)
        return failed.value, len(server.requests)


@BARE
@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, RequestRejected), (401, AuthenticationFailed), (403, PermissionDenied), (422, RequestRejected)],
)
async def test_bare_refusal_is_final_and_proves_that_nothing_was_executed(
    status: int, kind: type[VideoAPIError], how: str, body: object
) -> None:
    error, requests = await failure(how, status, body)
    assert type(error) is kind
    assert (requests, error.retryable, error.may_have_executed) == (1, False, False)
    assert ("Not executed." in str(error)) == (how in ("update", "create"))


@BARE
@pytest.mark.parametrize("how", CALLS)
async def test_bare_429_is_retried_as_throttled(how: str, body: object) -> None:
    error, requests = await failure(how, 429, body, {"Retry-After": "1"})
    assert type(error) is RateLimited
    assert (requests, error.retryable, error.may_have_executed, error.retry_after) == (3, True, False, 1.0)


@BARE
@pytest.mark.parametrize("how", ["dialin", "read"])
async def test_bare_503_on_a_read_is_retried_as_a_fault(how: str, body: object) -> None:
    error, requests = await failure(how, 503, body)
    assert type(error) is ServerFault
    assert (requests, error.retryable) == (3, True)


@BARE
@pytest.mark.parametrize(("status", "kind"), [(404, ProtocolError), (409, Conflict), (302, ProtocolError)])
async def test_bare_error_of_a_read_is_that_of_its_status(status: int, kind: type[VideoAPIError], body: object) -> None:
    for how in ("dialin", "read"):
        error, requests = await failure(how, status, body)
        assert (type(error), requests) == (kind, 1)
        assert "success body" not in str(error)


@BARE
async def test_bare_body_of_a_success_is_returned(body: object) -> None:
    async with serve(repeating(answer(202, body))) as server, client_for(server.base_url) as client:
        for how in ("read", "update", "create"):
            assert (await CALLS[how](client)).json() == body


async def test_unknown_create_of_a_custom_route_is_logged_without_a_reference(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="videoapi"):
        error, _ = await failure("create", 503, {})
    assert type(error) is CreateOutcomeUnknown
    assert [record.getMessage() for record in caplog.records] == ["POST /own ended with an unknown outcome"]


async def test_cancelled_create_of_a_custom_route_is_logged_without_a_reference(
    caplog: pytest.LogCaptureFixture,
) -> None:
    received = asyncio.Event()

    async def hang(link: Link) -> None:
        await link.request()
        received.set()
        await link.gone()

    async with serve(hang) as server, client_for(server.base_url) as client:
        with caplog.at_level(logging.WARNING, logger="videoapi"):
            call = asyncio.ensure_future(CALLS["create"](client))
            await received.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
    assert [record.getMessage() for record in caplog.records] == ["POST /own ended with an unknown outcome"]
