"""Incorrect room lists: whatever the list omits or corrupts, no create is executed twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from videoapi import RoomSpec, VideoClient
from videoapi.bulk import BulkReport
from videoapi.sandbox import Sandbox

# Long, and not about the interpreter.
pytestmark = pytest.mark.slow

SETTLE = 0.25
ROOMS = 70
TROUBLE = [None] * 6 + ["drop_after", "drop_before", ("status_after", {"status": 502}), None, "reset_after"] * 12


def _ask(*, marked: bool) -> list[RoomSpec]:
    """Return specs whose reference is in `data`, because they set an `owner_ref`, or in `owner_ref`."""
    return [RoomSpec(f"Room {n}", owner_ref=f"own-{n}" if marked else None, key=f"k{n}") for n in range(ROOMS)]


async def _run(sandbox: Sandbox, specs: list[RoomSpec]) -> BulkReport:
    sandbox.plan(TROUBLE)
    async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=SETTLE) as client:
        return await client.rooms.create_many(specs, concurrency=8)


def _never_twice(sandbox: Sandbox, report: BulkReport) -> None:
    made = Counter(room["name"] for room in sandbox.ledger.rooms.values())
    assert max(made.values()) == 1
    assert sandbox.ledger.duplicates() == {}
    assert report.total == ROOMS
    assert all(made[f"Room {outcome.index}"] == 1 for outcome in report.made)
    assert not any(made[f"Room {outcome.index}"] for outcome in report.failures)
    assert set(made) <= {f"Room {n}" for n in range(ROOMS)}


LIARS: dict[str, tuple[bool, Callable[[Sandbox], object]]] = {
    "list items lack `data`": (True, lambda it: it.set(list_omits="data")),
    "list items lack `owner_ref`": (False, lambda it: it.set(list_omits="owner_ref")),
    "references are stored cut short": (False, lambda it: it.set(echo="truncate")),
    "references are cut short in the list": (False, lambda it: it.set(list_echo="truncate")),
    "the list's `data` is empty": (True, lambda it: it.set(list_echo="no_data")),
    "the list is capped at 50, the oldest": (False, lambda it: it.set(list_cap=50)),
    "the list is capped at 50, the newest": (False, lambda it: it.set(list_cap=50, list_keeps="newest")),
    "the list is cut at 99 %": (False, lambda it: it.fault("rooms.list", "cut", times=None, at=0.99)),
    "the list is cut at 99 %, framed as complete": (
        False,
        lambda it: it.fault("rooms.list", "truncated", times=None, at=0.99),
    ),
    "the list's `result` is not 0, after the rooms": (
        False,
        lambda it: it.fault("rooms.list", "result_after", times=None),
    ),
}


@pytest.mark.parametrize("lie", LIARS)
async def test_incorrect_list_does_not_prove_absence(lie: str) -> None:
    marked, tell = LIARS[lie]
    async with Sandbox(seed=3) as sandbox:
        tell(sandbox)
        report = await _run(sandbox, _ask(marked=marked))

        _never_twice(sandbox, report)
        assert report.counts["unknown"] > 0, "no create stayed unknown: was the list incorrect at all?"


async def test_resumed_job_sends_none_of_its_unresolved_creates() -> None:
    async with Sandbox(seed=3, list_omits="owner_ref") as sandbox:
        specs = [RoomSpec(f"Room {n}", key=f"k{n}") for n in range(1500)]
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=SETTLE) as client:
            report = await client.rooms.create_many(specs, job_id="import")

        assert report.counts == {"unknown": 1500}
        assert not any(room["name"].startswith("Room") for room in sandbox.ledger.rooms.values())


SURROGATE = rb'{"room_id":"6571f3c2a1b2c3d4e5f60718","name":"Caf\udce9 \ud800","owner_ref":"x","settings":{}}'
NUMBER = b'{"room_id":"6571f3c2a1b2c3d4e5f60719","name":"vx old","owner_ref":12345,"settings":{},"data":null}'


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("odd", [SURROGATE, NUMBER], ids=["lone surrogate in a name", "number as owner_ref"])
async def test_malformed_foreign_room_does_not_affect_the_scan(odd: bytes, marked: bool) -> None:
    async with Sandbox(seed=3) as sandbox:
        sandbox.add_room(odd)
        report = await _run(sandbox, _ask(marked=marked))

        _never_twice(sandbox, report)
        assert report.counts["unknown"] == 0
        assert report.counts["created"] == ROOMS
