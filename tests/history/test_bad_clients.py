"""The judge convicts: each of these clients has one fault, and is caught by the property that it breaks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
from support.server import Link, serve

from history import bad_clients as bad
from history.checker import Truth, check, properties
from history.runs import LAG, LATE, quiet, trouble, truth_of
from videoapi.sandbox import Sandbox

CREATES = 40


@contextlib.asynccontextmanager
async def _sandbox(seed: int = 9, **switches: Any) -> AsyncIterator[tuple[Sandbox, bad.Bad]]:
    print(f"seed {seed}")
    async with Sandbox(seed=seed, **switches) as sandbox:
        yield sandbox, bad.Bad(sandbox.base_url, (sandbox.app_id, sandbox.app_key))


async def _run(it: bad.Bad, client: bad.Client, creates: int = CREATES, **options: Any) -> None:
    async with it.open(**options):
        turns = asyncio.Semaphore(8)

        async def create(number: int) -> None:
            cref = bad.reference("bad", number)
            it.note("invoke", cref)
            async with turns:
                await client(it, cref)

        await asyncio.gather(*map(create, range(creates)))


async def _broken(sandbox: Sandbox, it: bad.Bad) -> set[str]:
    await quiet(sandbox)
    truth = attrs.evolve(truth_of(sandbox), arrived=sandbox.ledger.requests(), accounted=it.accounted)
    return properties(check(it.events, truth))


async def test_naive_retry_makes_a_second_room() -> None:
    async with _sandbox() as (sandbox, it):
        trouble(sandbox, 9, CREATES)
        await _run(it, bad.naive_retry)
        assert {"P1", "P4"} <= await _broken(sandbox, it)


async def test_naive_retry_breaks_nothing_but_p1_where_the_first_answer_alone_is_lost() -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.fault("rooms.create", "drop_after", times=3)
        await _run(it, bad.naive_retry)
        assert await _broken(sandbox, it) == {"P1"}


async def test_no_retry_calls_failures_what_was_done() -> None:
    async with _sandbox() as (sandbox, it):
        trouble(sandbox, 9, CREATES)
        await _run(it, bad.no_retry)
        assert await _broken(sandbox, it) == {"P4"}


async def test_a_bad_gateway_is_no_refusal() -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.fault("rooms.create", "status_after", times=3, status=502)
        await _run(it, bad.bad_gateway_is_a_refusal)
        assert await _broken(sandbox, it) == {"P4"}


async def test_the_status_of_a_parser_is_none_of_the_service() -> None:
    made: list[str] = []

    async def garbles(link: Link) -> None:
        while True:
            made.append((await link.request()).json["owner_ref"])
            link.send(b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n")
            await link.drain()

    async with serve(garbles) as server:
        it = bad.Bad(server.base_url, ("id", "key"))
        await _run(it, bad.trusts_the_parsers_status, 2)
    truth = Truth(executed=[(cref, cref) for cref in made], live={cref: cref for cref in made})
    assert properties(check(it.events, truth)) == {"P4"}


@pytest.mark.parametrize(("late", "lag"), [(LATE, 0.0), (0.0, LAG)], ids=["late execution", "a list that lags"])
async def test_looking_without_a_settle_time_makes_a_second_room(late: float, lag: float) -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.set(list_lag=lag)
        sandbox.fault("rooms.create", *(("late",) if late else ("drop_after",)), times=5, seconds=late)
        await _run(it, bad.looks_and_sends_again)
        assert await _broken(sandbox, it) == {"P1"}


async def test_a_list_believed_without_control_rooms_makes_a_second_room() -> None:
    async with _sandbox(list_cap=10) as (sandbox, it):
        it.settle = 0.05
        sandbox.fault("rooms.create", "drop_after", times=3, after=20)
        await _run(it, bad.looks_and_sends_again)
        assert await _broken(sandbox, it) == {"P1"}


async def test_a_cut_list_that_is_believed_makes_a_second_room() -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.fault("rooms.create", "drop_after", times=3, after=20)
        sandbox.fault("rooms.list", "cut", times=None, at=0.3)
        await _run(it, bad.accepts_a_cut_list)
        assert "P1" in await _broken(sandbox, it)


async def test_a_redirect_followed_loses_what_it_acknowledges() -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.fault("rooms.create", "redirect", times=3, location=f"{sandbox.base_url}/rooms")
        await _run(it, bad.follows_redirects)
        broken = await _broken(sandbox, it)
        assert broken == {"P2", "P6"}, "lost, and by requests that it does not know of"


async def test_false_taken_for_nought_loses_what_it_acknowledges() -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.fault("rooms.create", "status", times=3, status=200, body={"result": False})
        await _run(it, bad.false_is_nought)
        assert await _broken(sandbox, it) == {"P2"}


async def _cancelled(sandbox: Sandbox, it: bad.Bad, client: bad.Client) -> None:
    """Cancel a create when the service has it, and has not answered yet."""
    sandbox.fault("rooms.create", "delay", seconds=0.1)
    cref = bad.reference("bad", 0)
    async with it.open():
        it.note("invoke", cref)
        task = asyncio.ensure_future(client(it, cref))
        while not sandbox.ledger.requests():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        assert not task.cancelled(), "these two do not let it through"
        left = [f"task {task.get_name()}" for task in it.left if not task.done()]
        while not sandbox.ledger.created:
            await asyncio.sleep(0.005)
        await asyncio.gather(*it.left, return_exceptions=True)
    truth = attrs.evolve(truth_of(sandbox), left=left)
    it.events[:] = [event for event in it.events if event.what != "unknown"]
    assert properties(check(it.events, truth)) - {"P7"} == ({"P9"} if left else {"P4"})


async def test_a_cancellation_taken_for_a_failure_is_a_lie() -> None:
    async with _sandbox() as (sandbox, it):
        await _cancelled(sandbox, it, bad.swallows_cancellation)


async def test_a_request_that_goes_on_after_its_cancellation_is_left_behind() -> None:
    async with _sandbox() as (sandbox, it):
        await _cancelled(sandbox, it, bad.goes_on_when_cancelled)


async def test_retrying_within_aiohttp_sends_what_nobody_counts() -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.fault("rooms.create", "drop_before", times=3)
        await _run(it, bad.retries_in_middleware, middlewares=[bad.retrying])
        assert await _broken(sandbox, it) == {"P6"}
