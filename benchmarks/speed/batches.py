"""Bulk creates: `create_many`, and the usual handwritten loop. Each run is a complete job."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.speed import bodies
from benchmarks.speed.clients import APP_ID, APP_KEY, bare_session
from benchmarks.speed.worker import Run, Target


@asynccontextmanager
async def gathered(target: Target) -> AsyncIterator[Run]:
    """Yield a run with a semaphore and a gather: no retries, only aiohttp's timeout; the first error ends the job."""
    import orjson

    url = f"{target.base_url}/rooms"

    async def run(calls: int, at_once: int) -> None:
        turns = asyncio.Semaphore(at_once)

        async with bare_session(target) as session:

            async def create(number: int) -> str:
                async with turns, session.post(url, json=bodies.room(number)) as response:
                    room_id: str = orjson.loads(await response.read())["room"]["room_id"]
                    return room_id

            ids = await asyncio.gather(*map(create, range(calls)))
            assert len(ids) == calls

    yield run


@asynccontextmanager
async def created(target: Target) -> AsyncIterator[Run]:
    """Yield a run as users call it: an outcome per room, retries, and the final audit of the room list."""
    yield _many(target, audit=True)


@asynccontextmanager
async def created_unaudited(target: Target) -> AsyncIterator[Run]:
    yield _many(target, audit=False)


@asynccontextmanager
async def created_with_keys(target: Target) -> AsyncIterator[Run]:
    yield _many(target, audit=False, keys=True)


@asynccontextmanager
async def created_with_journal(target: Target) -> AsyncIterator[Run]:
    yield _many(target, audit=False, keys=True, journal=True)


def _many(target: Target, *, audit: bool, keys: bool = False, journal: bool = False) -> Run:
    from videoapi import RoomSettings, RoomSpec, VideoClient, new_reference

    def spec(number: int) -> RoomSpec:
        settings = RoomSettings(**bodies.settings())
        return RoomSpec(bodies.NAME, settings=settings, sip=False, data=bodies.DATA, key=number if keys else None)

    async def run(calls: int, at_once: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            job = {"job_id": new_reference(), "journal": f"{folder}/journal"} if journal else {}
            async with VideoClient(APP_ID, APP_KEY, target.base_url, ca_file=target.ca_file) as client:
                report = await client.rooms.create_many(
                    map(spec, range(calls)), concurrency=at_once, audit=audit, **job
                )
        assert report.counts["created"] == calls, report
        assert not report.duplicates
        assert not report.missing

    return run
