"""Nested streams: records of a conference are read while iterating over a period."""

from __future__ import annotations

import asyncio
from datetime import date

import pytest

from videoapi import CallTimeout, SessionManager, VideoClient
from videoapi.sandbox import Sandbox


@pytest.mark.parametrize("tasks", [1, 4])
async def test_conference_stream_works_inside_a_period_stream(tasks: int) -> None:
    async with (
        Sandbox(seed=3, calls=600, days=7, today=date(2026, 1, 31)) as sandbox,
        SessionManager(max_connections=16) as manager,
    ):
        client = VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, session=manager)

        async def read() -> int:
            seen = 0
            async with client.cdr.by_period("2026-01-25", "2026-01-31") as records:
                async for record in records:
                    assert await client.cdr.by_conference(record.conf_num).to_list()
                    seen += 1
                    if seen == 20:
                        break
            return seen

        assert await asyncio.gather(*(read() for _ in range(tasks))) == [20] * tasks


async def test_stream_without_a_free_connection_names_the_limit() -> None:
    async with (
        Sandbox(seed=3, calls=600, days=7, today=date(2026, 1, 31)) as sandbox,
        SessionManager(max_connections=4) as manager,
    ):
        client = VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, session=manager, timeout=0.3)
        async with client.cdr.by_period("2026-01-25", "2026-01-31") as records:
            async for _ in records:
                with pytest.raises(CallTimeout, match="a quarter of max_connections"):
                    await client.rooms.list().to_list()
                break


async def test_undated_records_are_read_while_the_only_short_stream_is_open() -> None:
    async with Sandbox(seed=3, calls=600, days=7, today=date(2026, 1, 31)) as sandbox:
        # The record is also returned for the day after the period alone.
        body = {"result": "0", "cdr": [{"cdr_id": "a", "trans_date": None}]}
        sandbox.fault("cdr.by_period", "status", times=None, status=200, body=body)
        async with SessionManager(max_connections=4) as manager:
            client = VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, session=manager)
            async with client.cdr.by_room(sandbox.history.room_ids(1)[0]) as room_records:
                first = await anext(aiter(room_records))
            async with client.cdr.by_conference(first.conf_num) as records:
                async for _ in records:
                    async with asyncio.timeout(20):
                        stream = client.cdr.by_period("2026-01-31", "2026-01-31")
                        assert await stream.to_list() == []
                    assert stream.outside == 1
                    break
