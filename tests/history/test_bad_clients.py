"""The checker detects each bad client by the property that it breaks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
from support.server import Link, serve

from history import bad_clients as bad
from history.checker import Audit, Truth, check, properties
from history.runs import LAG, LATE, REFUSAL, quiet, trouble, truth_of
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


async def test_naive_retry_creates_duplicates() -> None:
    async with _sandbox() as (sandbox, it):
        trouble(sandbox, 9, CREATES)
        await _run(it, bad.naive_retry)
        assert {"P1", "P4"} <= await _broken(sandbox, it)


async def test_naive_retry_breaks_only_p1_when_the_first_response_is_lost() -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.fault("rooms.create", "drop_after", times=3)
        await _run(it, bad.naive_retry)
        assert await _broken(sandbox, it) == {"P1"}


async def test_no_retry_reports_executed_creates_as_failed() -> None:
    async with _sandbox() as (sandbox, it):
        trouble(sandbox, 9, CREATES)
        await _run(it, bad.no_retry)
        assert await _broken(sandbox, it) == {"P4"}


async def test_502_treated_as_a_rejection_breaks_p4() -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.fault("rooms.create", "status_after", times=3, status=502)
        await _run(it, bad.treats_502_as_rejection)
        assert await _broken(sandbox, it) == {"P4"}


async def test_parser_error_treated_as_a_rejection_breaks_p4() -> None:
    made: list[str] = []

    async def garbles(link: Link) -> None:
        while True:
            made.append((await link.request()).json["owner_ref"])
            link.send(b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n")
            await link.drain()

    async with serve(garbles) as server:
        it = bad.Bad(server.base_url, ("id", "key"))
        await _run(it, bad.treats_parser_error_as_rejection, 2)
    truth = Truth(executed=[(cref, cref) for cref in made], live={cref: cref for cref in made})
    assert properties(check(it.events, truth)) == {"P4"}


@pytest.mark.parametrize(("late", "lag"), [(LATE, 0.0), (0.0, LAG)], ids=["late execution", "list lag"])
async def test_lookup_without_settle_time_creates_duplicates(late: float, lag: float) -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.set(list_lag=lag)
        sandbox.fault("rooms.create", *(("late",) if late else ("drop_after",)), times=5, seconds=late)
        await _run(it, bad.looks_and_sends_again)
        assert await _broken(sandbox, it) == {"P1"}


async def test_trusting_a_list_without_known_rooms_creates_duplicates() -> None:
    async with _sandbox(list_cap=10) as (sandbox, it):
        it.settle = 0.05
        sandbox.fault("rooms.create", "drop_after", times=3, after=20)
        await _run(it, bad.looks_and_sends_again)
        assert await _broken(sandbox, it) == {"P1"}


async def test_trusting_a_truncated_list_creates_duplicates() -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.fault("rooms.create", "drop_after", times=3, after=20)
        sandbox.fault("rooms.list", "cut", times=None, at=0.3)
        await _run(it, bad.accepts_truncated_list)
        assert "P1" in await _broken(sandbox, it)


async def test_following_redirects_acknowledges_missing_rooms() -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.fault("rooms.create", "redirect", times=3, location=f"{sandbox.base_url}/rooms")
        await _run(it, bad.follows_redirects)
        broken = await _broken(sandbox, it)
        assert broken == {"P2", "P6"}, "the redirected requests are not counted"


async def test_false_treated_as_zero_acknowledges_missing_rooms() -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.fault("rooms.create", "status", times=3, status=200, body={"result": False})
        await _run(it, bad.treats_false_as_zero)
        assert await _broken(sandbox, it) == {"P2"}


async def _cancelled(sandbox: Sandbox, it: bad.Bad, client: bad.Client) -> None:
    """Cancel a create after the service received it and before it responds."""
    sandbox.fault("rooms.create", "delay", seconds=0.1)
    cref = bad.reference("bad", 0)
    async with it.open():
        it.note("invoke", cref)
        task = asyncio.ensure_future(client(it, cref))
        while not sandbox.ledger.requests():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        assert not task.cancelled(), "these two clients suppress the cancellation"
        left = [f"task {task.get_name()}" for task in it.left if not task.done()]
        while not sandbox.ledger.created:
            await asyncio.sleep(0.005)
        await asyncio.gather(*it.left, return_exceptions=True)
    truth = attrs.evolve(truth_of(sandbox), left=left)
    it.events[:] = [event for event in it.events if event.what != "unknown"]
    assert properties(check(it.events, truth)) - {"P7"} == ({"P9"} if left else {"P4"})


async def test_cancellation_reported_as_failure_is_detected() -> None:
    async with _sandbox() as (sandbox, it):
        await _cancelled(sandbox, it, bad.swallows_cancellation)


async def test_request_that_outlives_its_cancellation_is_detected() -> None:
    async with _sandbox() as (sandbox, it):
        await _cancelled(sandbox, it, bad.keeps_running_when_cancelled)


async def test_retries_within_aiohttp_send_uncounted_requests() -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.fault("rooms.create", "drop_before", times=3)
        await _run(it, bad.retries_in_middleware, middlewares=[bad.retrying])
        assert await _broken(sandbox, it) == {"P6"}


async def test_send_after_a_noted_refusal_creates_duplicates() -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.plan([REFUSAL, "drop_after", None])
        await _run(it, bad.sends_again_after_a_noted_refusal, 1)
        assert await _broken(sandbox, it) == {"P1"}


async def test_settle_time_counted_from_the_start_denies_creates_of_others() -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.plan([("late", {"seconds": 0.1})] * 3)
        await _run(it, bad.asks_the_list_at_once, 3)
        assert await _broken(sandbox, it) == {"P4"}


async def test_position_taken_for_identity_acknowledges_the_room_of_another() -> None:
    async with _sandbox() as (sandbox, it):
        sandbox.plan([None, REFUSAL])
        await _run(it, bad.finds_rooms_by_position, 1)
        assert await _broken(sandbox, it) == {"P2"}


async def test_deleting_all_but_the_oldest_deletes_acknowledged_rooms() -> None:
    async with _sandbox() as (sandbox, it):
        await _run(it, bad.deletes_all_but_the_oldest, 3)
        assert await _broken(sandbox, it) == {"P1", "P2"}


async def test_audit_of_a_list_that_lags_reports_rooms_that_exist() -> None:
    async with _sandbox(list_lag=LAG) as (sandbox, it):
        await _run(it, bad.audits_a_list_that_lags, 3)
        await quiet(sandbox)
        truth = attrs.evolve(truth_of(sandbox), audits=[Audit(missing=it.missing)])
        assert properties(check(it.events, truth)) == {"P12"}
