"""Randomized runs of creates against the sandbox, recorded for the checker."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import attrs

from history.checker import Event, Truth
from videoapi import CreateOutcomeUnknown, VideoAPIError, VideoClient
from videoapi.bulk import BulkOutcome
from videoapi.events import AttemptEvent, CallEvent
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request
from videoapi.sandbox import LedgerEntry, Sandbox

FAULTS: Final = 0.4
LATE: Final = 0.12
"""Maximum delay of late execution in a run, in seconds."""
LAG: Final = 0.12
"""Lag of the room list, in seconds."""
SETTLE: Final = 0.6
"""More than both together, with a margin for a busy machine."""
SELF_CHECK: Final = "videoapi self-check"
KINDS: Final = (
    "drop_before",
    "drop_after",
    "reset_before",
    "reset_after",
    "status_after",
    "status",
    "cut",
    "late",
    "late_status",
    "throttle",
)
REFUSAL: Final = ("status", {"status": 400, "code": 10009})
"""A definite answer of the service: this create was not executed."""
_ENDS: Final[dict[str, Any]] = {"created": "ok", "failed": "fail", "not_sent": "fail", "unknown": "unknown"}


def faults(
    seed: int, length: int, late: float = LATE, refusals: float = 0.0, kinds: Sequence[str] = KINDS
) -> list[Any]:
    """Return one fault or None per arriving create: a fault for 40 % of them, a refusal for another share."""
    rng = random.Random(seed)
    plan: list[Any] = []
    for _ in range(length):
        chance = rng.random()
        plan.append(_fault(rng, late, kinds) if chance < FAULTS else REFUSAL if chance < FAULTS + refusals else None)
    return plan


def _fault(rng: random.Random, late: float, kinds: Sequence[str]) -> tuple[str, dict[str, Any]]:
    kind = rng.choice(kinds)
    options: dict[str, Any] = {}
    if kind in ("late", "late_status"):
        options["seconds"] = rng.uniform(0, late)
    if kind in ("status", "status_after", "late_status"):
        options["status"] = rng.choice((500, 502, 503, 504))
    return kind, options


def trouble(
    sandbox: Sandbox,
    seed: int,
    creates: int,
    *,
    late: float = LATE,
    lag: float = LAG,
    refusals: float = 0.0,
    kinds: Sequence[str] = KINDS,
) -> None:
    """Set the list lag of a sandbox, and plan the faults of a seed."""
    sandbox.set(list_lag=lag)
    sandbox.plan(faults(seed, 8 * creates, late, refusals, kinds))


@attrs.define
class Diary:
    """The recorded events of one client process; its methods are passed to the client.

    Args:
        life: Number of the process.
        note: Called with each event as it happens.
    """

    life: int = 0
    note: Callable[[Event], object] = lambda event: None
    events: list[Event] = attrs.field(factory=list)
    references: dict[str, str] = attrs.field(factory=dict)
    accounted: int = 0

    def write(self, what: Any, cref: str, room_id: str | None = None) -> None:
        event = Event(what, cref, asyncio.get_running_loop().time(), room_id, self.life)
        self.events.append(event)
        self.note(event)

    async def middleware(self, request: Request, send: Callable[[Request], Awaitable[Outcome]]) -> Outcome:
        """Record every attempt of a create that may have taken effect."""
        if request.reference is None or request.body is None:
            return await send(request)
        name = json.loads(request.body)["name"]
        if not name.startswith(SELF_CHECK):
            self.invoked(name, request.reference)
        outcome = await send(request)
        if outcome.may_have_executed:
            self.write("send", request.reference)
        return outcome

    def invoked(self, name: str, cref: str) -> None:
        """Record once that a room was requested."""
        if name not in self.references:
            self.references[name] = cref
            self.write("invoke", cref)

    def attempted(self, event: object) -> None:
        """Count the requests that may have reached the service. An event listener."""
        sent = isinstance(event, AttemptEvent) and event.verdict != "not_sent"
        # The attempt of a look-up that its deadline has cancelled.
        cut_off = isinstance(event, CallEvent) and event.verdict == "cancelled"
        self.accounted += sent or cut_off

    def outcome(self, outcome: BulkOutcome) -> None:
        """Record the outcome of an item of a bulk run."""
        assert outcome.reference is not None
        self.write(_ENDS[outcome.status], outcome.reference, outcome.room_id)


def client_of(sandbox: Sandbox, diary: Diary, **options: Any) -> VideoClient:
    """Return a client that records its events in a diary."""
    options = {"settle": SETTLE, **options}
    return VideoClient(
        sandbox.app_id,
        sandbox.app_key,
        sandbox.base_url,
        middleware=[diary.middleware],
        listeners=[diary.attempted],
        **options,
    )


async def one(client: VideoClient, diary: Diary, name: str, **options: Any) -> None:
    """Create one room, and record its outcome."""
    try:
        room = await client.rooms.create(name=name, **options)
    except CreateOutcomeUnknown:
        diary.write("unknown", diary.references[name])
    except VideoAPIError as error:
        diary.write("unknown" if error.may_have_executed else "fail", diary.references[name])
    else:
        diary.write("ok", diary.references[name], room.room_id)


async def healed(client: VideoClient, diary: Diary, sandbox: Sandbox) -> None:
    """Remove all faults, and resolve the unknown creates."""
    sandbox.clear_faults()
    await quiet(sandbox)
    last = {event.cref: event.what for event in diary.events if event.what != "send"}
    diary.life += 1
    await asyncio.gather(*(_resolve(client, diary, cref) for cref, what in last.items() if what == "unknown"))


async def quiet(sandbox: Sandbox) -> None:
    """Wait until no late execution is pending, and the list shows all rooms."""
    while sandbox.late:
        await asyncio.sleep(0.02)
    await asyncio.sleep(float(sandbox.switches.list_lag))


async def _resolve(client: VideoClient, diary: Diary, cref: str) -> None:
    diary.write("invoke", cref)
    try:
        room = await client.rooms.resolve(cref)
    except CreateOutcomeUnknown:
        diary.write("unknown", cref)
    else:
        diary.write("ok" if room else "fail", cref, room.room_id if room else None)


def truth_of(sandbox: Sandbox, diaries: Iterable[Diary] = (), **more: Any) -> Truth:
    """Return what the sandbox did, without self-check rooms, which a killed client cannot delete."""
    made = [entry for entry in sandbox.ledger.created if not is_check(entry)]
    reference = {entry.room_id: entry.reference or "" for entry in made}
    diaries = list(diaries)
    return Truth(
        executed=[(entry.reference or "", entry.room_id) for entry in made],
        live={room_id: reference[room_id] for room_id in sandbox.ledger.rooms if room_id in reference},
        arrived=sandbox.ledger.requests() if diaries else None,
        accounted=sum(diary.accounted for diary in diaries) if diaries else None,
        executed_at={entry.room_id: on_loop_clock(entry.at) for entry in made},
        **more,
    )


def is_check(entry: LedgerEntry) -> bool:
    """Return whether a create was a client's own, to check the room list."""
    return (entry.name or "").startswith(SELF_CHECK)


def checks_left(sandbox: Sandbox) -> list[str]:
    """Return the IDs of self-check rooms that exist."""
    rooms = sandbox.ledger.rooms
    return [entry.room_id for entry in sandbox.ledger.created if is_check(entry) and entry.room_id in rooms]


def on_loop_clock(moment: datetime) -> float:
    """Return a time of the service on the clock of the events, which all processes of a machine share."""
    return moment.timestamp() - (time.time() - time.monotonic())
