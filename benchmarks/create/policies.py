"""The same faulty runs with several create policies: duplicates, orphaned rooms, false failures."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import attrs
from history import bad_clients as bad
from history.checker import Event, Truth
from history.runs import SETTLE, Diary, client_of, quiet, trouble, truth_of

from videoapi import RoomSpec
from videoapi.sandbox import Sandbox

CONCURRENCY: Final = 50
WORLDS: Final = ((0.0, 0.0), (0.12, 0.0), (0.0, 0.12), (0.12, 0.12))
"""Late execution and lag of the room list, in seconds."""


@attrs.frozen
class Row:
    """The outcomes of the creates of one run.

    Args:
        policy: The create policy.
        late: Longest late execution, in seconds.
        lag: Lag of the room list, in seconds.
        creates: Number of creates requested.
        duplicates: Creates that were executed more than once.
        orphans: Rooms whose ID the client never received.
        lost: Rooms returned to the client that do not exist.
        false_failures: Creates reported as failed that were executed.
        unknown: Creates reported with an unknown outcome.
        made: Creates for which the client received a room.
    """

    policy: str
    late: float
    lag: float
    creates: int
    duplicates: int
    orphans: int
    lost: int
    false_failures: int
    unknown: int
    made: int


def _row(policy: str, world: tuple[float, float], creates: int, events: Sequence[Event], truth: Truth) -> Row:
    last = {event.cref: event for event in events if event.what in ("ok", "fail", "unknown")}
    received = {event.room_id for event in last.values() if event.what == "ok"}
    executed = Counter(cref for cref, _ in truth.executed)
    ends = Counter(event.what for event in last.values())
    return Row(
        policy,
        *world,
        creates,
        duplicates=sum(times > 1 for times in executed.values()),
        orphans=len(truth.live.keys() - received),
        lost=len(received - truth.live.keys()),
        false_failures=sum(event.what == "fail" and executed[cref] > 0 for cref, event in last.items()),
        unknown=ends["unknown"],
        made=ends["ok"],
    )


Run = Callable[[Sandbox, int], Awaitable[list[Event]]]


def _raw(client: bad.Client, settle: float = 0.0) -> Run:
    async def run(sandbox: Sandbox, creates: int) -> list[Event]:
        it = bad.Bad(sandbox.base_url, (sandbox.app_id, sandbox.app_key), settle)
        turns = asyncio.Semaphore(CONCURRENCY)

        async def create(number: int) -> None:
            async with turns:
                await client(it, bad.reference("bench", number))

        async with it.open():
            await asyncio.gather(*map(create, range(creates)))
        return it.events

    return run


async def _ours(sandbox: Sandbox, creates: int) -> list[Event]:
    diary = Diary()
    async with client_of(sandbox, diary) as client:
        specs = (RoomSpec(f"Room {number}", key=f"row-{number}") for number in range(creates))
        report = await client.rooms.create_many(specs, concurrency=CONCURRENCY)
    for outcome in (*report.made, *report.failures, *report.unknown, *report.not_sent):
        diary.outcome(outcome)
    return diary.events


POLICIES: Final[dict[str, Run]] = {
    "no retry": _raw(bad.no_retry),
    "naive retry, 3 attempts": _raw(bad.naive_retry),
    "look once, send again": _raw(bad.looks_and_sends_again),
    "the same, settle 0.05 s (too short)": _raw(bad.looks_and_sends_again, 0.05),
    f"videoapi, settle {SETTLE:g} s": _ours,
}


async def measure(seed: int, creates: int) -> list[Row]:
    """Run every policy in every world, with the faults of one seed."""
    rows = []
    for policy, run in POLICIES.items():
        for late, lag in WORLDS:
            async with Sandbox(seed=seed) as sandbox:
                trouble(sandbox, seed, creates, late=late, lag=lag)
                events = await run(sandbox, creates)
                await quiet(sandbox)
                rows.append(_row(policy, (late, lag), creates, events, truth_of(sandbox)))
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table: duplicates / orphans / lost / false failures."""
    worlds = [f"late {late:g} / lag {lag:g}" for late, lag in WORLDS]
    lines = ["| policy | " + " | ".join(worlds) + " |", "|---" * (len(worlds) + 1) + "|"]
    for policy in POLICIES:
        cells = [
            f"{row.duplicates} / {row.orphans} / {row.lost} / {row.false_failures}"
            for row in rows
            if row.policy == policy
        ]
        lines.append(f"| {policy} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
