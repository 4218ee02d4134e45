"""Worlds of several runs, clients and tenants: what they report is judged against the ledger, by room name.

The judge compares names, not references, so that a fault in how references are derived cannot hide from it. Each
logical create of a world has a name of its own, `Room …`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from datetime import datetime
from typing import Any

import attrs

from history.checker import Audit, Event, Truth, Violation, check
from history.runs import SETTLE, checks_left, is_check, on_loop_clock, quiet
from videoapi import CreateOutcomeUnknown, RoomSpec, VideoClient
from videoapi.bulk import BulkOutcome, BulkReport
from videoapi.sandbox import Sandbox

Source = Iterable[RoomSpec] | AsyncIterable[RoomSpec]
_ENDS: dict[str, Any] = {"created": "ok", "failed": "fail", "not_sent": "fail", "unknown": "unknown"}


def specs(count: int, *, data: str | None = None, start: int = 0) -> list[RoomSpec]:
    """Return specs with names and keys of their own; `data` is the version of what they store."""
    stored = None if data is None else {"version": data}
    return [RoomSpec(f"Room {n}", key=f"row-{n}", data=stored) for n in range(start, start + count)]


@attrs.define
class World:
    """A sandbox, the runs against it, and what they report.

    Args:
        sandbox: The service, with its faults.
        settle: Settle time of the clients, in seconds.
    """

    sandbox: Sandbox
    settle: float = SETTLE
    events: list[Event] = attrs.field(factory=list)
    audits: list[Audit] = attrs.field(factory=list)
    removed: dict[str, float] = attrs.field(factory=dict)
    ended: set[int] = attrs.field(factory=set)
    doubled: set[str] = attrs.field(factory=set)
    """Names of rooms that a world doubles on purpose; only one of each may be left."""
    allowed: set[str] = attrs.field(factory=set)
    """Properties that a world breaks on purpose."""
    lives: int = 0

    def client(self, **options: Any) -> VideoClient:
        """Return a new client, as another process would have."""
        options = {"settle": self.settle, **options}
        return VideoClient(self.sandbox.app_id, self.sandbox.app_key, self.sandbox.base_url, **options)

    async def many(self, client: VideoClient, given: Source, **options: Any) -> BulkReport:
        """Run `create_many`, and record what it reports."""
        life, read = self._begin(), list[RoomSpec]()
        report = await client.rooms.create_many(self._reading(given, life, read), **options)
        self._end(life, read, report)
        return report

    async def each(
        self,
        client: VideoClient,
        given: Source,
        *,
        leave: Callable[[BulkOutcome], bool] = lambda outcome: False,
        **options: Any,
    ) -> BulkReport:
        """Run `create_each`, until `leave` returns true for an outcome, and record what it reports."""
        life, read = self._begin(), list[RoomSpec]()
        async with client.rooms.create_each(self._reading(given, life, read), **options) as run:
            async for outcome in run:
                self.outcome(life, read[outcome.index], outcome)
                if leave(outcome):
                    break
        self._end(life, read, run.report)
        return run.report

    async def sent_by_another(self, names: Iterable[str], references: dict[str, str]) -> None:
        """Send creates from a client that ends at once, without knowing their outcomes; note their references."""
        life = self._begin()

        async def send(client: VideoClient, name: str) -> None:
            self._write("invoke", name, life)
            try:
                room = await client.rooms.create(name=name, on_unknown="strict")
            except CreateOutcomeUnknown as error:
                references[name] = error.reference or ""
                self._write("unknown", name, life)
            else:
                self._write("ok", name, life, room.room_id)

        async with self.client() as client:
            await asyncio.gather(*(send(client, name) for name in names))

    async def resolve(self, client: VideoClient, name: str, reference: str) -> None:
        """Resolve a create, and record the answer: None means that the room never will exist."""
        life = self._begin()
        self._write("invoke", name, life)
        try:
            room = await client.rooms.resolve(reference)
        except CreateOutcomeUnknown:
            self._write("unknown", name, life)
        else:
            self._write("ok" if room else "fail", name, life, room.room_id if room else None)

    @contextlib.asynccontextmanager
    async def removing_checks(self, most: int) -> AsyncIterator[None]:
        """Delete self-check rooms as they appear, as others might, up to a number."""

        async def remove() -> None:
            async with self.client() as others:
                removed = 0
                while removed < most:
                    for room_id in checks_left(self.sandbox)[: most - removed]:
                        await self.remove(others, room_id)
                        removed += 1
                    await asyncio.sleep(0.01)

        remover = asyncio.create_task(remove())
        try:
            yield
        finally:
            remover.cancel()
            await asyncio.gather(remover, return_exceptions=True)

    async def remove(self, others: VideoClient, room_id: str) -> None:
        """Delete a room as others do."""
        self.removed[room_id] = asyncio.get_running_loop().time()
        await others.rooms.delete(room_id)

    def outcome(self, life: int, spec: RoomSpec, outcome: BulkOutcome) -> None:
        """Record the outcome of an item."""
        changed = bool(getattr(outcome, "changed", False))
        self._write(_ENDS[outcome.status], spec.name, life, outcome.room_id, _version(spec.data), changed)

    async def violations(self) -> list[Violation]:
        """Return what the reports and the ledger have against each other, once the service is quiet."""
        await quiet(self.sandbox)
        return [found for found in check(self.events, self.truth()) if found.broken not in self.allowed]

    def truth(self) -> Truth:
        """Return what the service did; rooms that the world doubled count once they are left."""
        rooms = self.sandbox.ledger.rooms
        made = [entry for entry in self.sandbox.ledger.created if not is_check(entry)]
        counted = [entry for entry in made if entry.name not in self.doubled or entry.room_id in rooms]
        return Truth(
            executed=[(entry.name or "", entry.room_id) for entry in counted],
            executed_at={entry.room_id: on_loop_clock(entry.at) for entry in counted},
            live={entry.room_id: entry.name or "" for entry in made if entry.room_id in rooms},
            removed=self.removed,
            specs={room_id: version for room_id, room in rooms.items() if (version := _version(room.get("data")))},
            ended=self.ended,
            checks=checks_left(self.sandbox),
            audits=self.audits,
        )

    def _begin(self) -> int:
        self.lives += 1
        return self.lives - 1

    def _reading(self, given: Source, life: int, read: list[RoomSpec]) -> Source:
        """Return the same inputs, each recorded as it is read."""

        def note(spec: RoomSpec) -> RoomSpec:
            read.append(spec)
            self._write("invoke", spec.name, life)
            return spec

        if not isinstance(given, AsyncIterable):
            return map(note, given)
        source = given

        async def noted() -> AsyncIterator[RoomSpec]:
            async with contextlib.aclosing(source):  # type: ignore[type-var]
                async for spec in source:
                    yield note(spec)

        return noted()

    def _end(self, life: int, read: list[RoomSpec], report: BulkReport) -> None:
        for outcome in (*report.made, *report.failures, *report.unknown, *report.not_sent):
            self.outcome(life, read[outcome.index], outcome)
        self.ended.add(life)
        names = {entry.room_id: entry.name or "" for entry in self.sandbox.ledger.created}
        self.audits.append(
            Audit(
                life=life,
                at=_moment(report.audited),
                missing={outcome.room_id or "" for outcome in report.missing},
                duplicates={names[room_id] for ids in report.duplicates.values() for room_id in ids},
            )
        )

    def _write(
        self,
        what: Any,
        name: str,
        life: int,
        room_id: str | None = None,
        spec: str | None = None,
        changed: bool = False,
    ) -> None:
        now = asyncio.get_running_loop().time()
        self.events.append(Event(what, name, now, room_id, life, spec if what == "ok" else None, changed))


def _version(data: Any) -> str | None:
    version = data.get("version") if isinstance(data, dict) else None
    return None if version is None else str(version)


def _moment(audited: Any) -> float | None:
    if isinstance(audited, datetime):
        return on_loop_clock(audited)
    # A report that only says "yes" claims the moment at which it says so.
    return asyncio.get_running_loop().time() if audited else None


@contextlib.asynccontextmanager
async def world(seed: int, *, settle: float = SETTLE, **switches: Any) -> AsyncIterator[World]:
    """Yield a new world, which must be free of violations when the block ends."""
    print(f"seed {seed}")
    async with Sandbox(seed=seed, **switches) as sandbox:
        built = World(sandbox, settle)
        yield built
        convict(await built.violations())


def convict(violations: list[Violation]) -> None:
    """Raise if there are violations; say how many of each property, with an example."""
    counts = Counter(violation.broken for violation in violations)
    examples = {violation.broken: f"{violation.cref}: {violation.how}" for violation in violations}
    verdict = "; ".join(f"{broken} {count} times, such as {examples[broken]}" for broken, count in counts.items())
    assert not violations, verdict
