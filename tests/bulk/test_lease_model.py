"""Leases, fence and look back in a small model: workers stopped at any await, a slow service, a Redis that forgets.

The fence is the real one, and so is what a process knows of the changes that Redis has counted; Redis, service and run
are models of a few lines. With every part of the protocol, no schedule creates a room twice; without any one part, some
schedule does.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videoapi.bulk.lease import MARGIN, Fence
from videoapi.redis.contacts import Contacts

ROOMS = ("a", "b")
SETTLE = 4
TTL = 8
ATTEMPT = 2
WORKERS = 3
Steps = Generator[None, None, None]


@attrs.frozen
class Protocol:
    """Which parts of the protocol are kept."""

    fence: bool = True
    counted_from_before: bool = True
    look_back: bool = True
    certain_freshness: bool = True
    outlasts_the_forgotten: bool = True
    idle_by_no_other_clock: bool = True
    idle_counts_takes_and_renewals: bool = True
    idle_counts_releases: bool = True
    idle_counts_beginnings: bool = True
    idle_outlasts_what_was_not_given_back: bool = True
    idle_outlasts_the_forgotten: bool = True
    idle_notices_a_counter_that_went_back: bool = True


@attrs.frozen
class Taken:
    """What Redis says to a worker that wants the lease."""

    taken: bool
    counter: str
    change: int
    wait: int = 0
    fresh: bool = False
    before: int = 0
    tail: int = 0
    quiet_for: int = 0
    """For how long it was not held, by the clock of Redis."""


class ModelRedis:
    """What `videoapi/redis/scripts.py` does."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.ahead = 0
        self.server = 1
        self.certain: int | None = 1
        self.resumed = False
        self.run = 1
        self.since = 0
        self.token: object = None
        self.ends = 0
        self.leased = False
        self.changes = 1
        self.begun: int | None = 1
        self.change = 0

    def clock(self, now: int) -> int:
        return now + self.ahead

    def forget(self) -> None:
        """Restart with empty memory; the coordinator begins again."""
        self.server += 1
        self.certain, self.run, self.token, self.leased, self.resumed = None, 0, None, False, False
        self.changes, self.change = 0, 0
        self.begin()

    def begin(self) -> None:
        """Resume the job, as another coordinator."""
        self.resumed = True
        self._changed(counts=self.protocol.idle_counts_beginnings)
        self.begun = self.changes

    def _changed(self, *, counts: bool = True) -> int:
        self.changes += counts
        return self.changes

    def take(self, token: object, now: int) -> Taken:
        clock, kept = self.clock(now), self.protocol
        if self.run != self.server or self.since > clock:
            self.run, self.since = self.server, clock
        counter = f"{self.server if kept.idle_notices_a_counter_that_went_back else 1}"
        if self.token is not None and self.ends > clock:
            # The clock may have been set back.
            self.ends = min(self.ends, clock + TTL)
            return Taken(False, counter, self.changes)
        certain = self.certain == self.server
        fresh = not self.leased and (not kept.certain_freshness or (certain and not self.resumed))
        before, tail, quiet_for = self.change, TTL if self.token is not None else 0, clock - self.ends
        self.token, self.ends, self.leased = token, clock + TTL, True
        self.change = self._changed(counts=kept.idle_counts_takes_and_renewals)
        wait = 0 if certain or not kept.outlasts_the_forgotten else max(0, self.since + TTL - clock)
        if not kept.idle_outlasts_what_was_not_given_back:
            tail = 0
        if not certain and kept.idle_outlasts_the_forgotten:
            tail = TTL
        before = self.changes if self.begun is None else max(before, self.begun)
        return Taken(True, counter, self.changes, wait, fresh, before, tail, quiet_for)

    def renew(self, token: object, now: int) -> bool:
        if self.token is not token:
            return False
        self.ends = self.clock(now) + TTL
        self.change = self._changed(counts=self.protocol.idle_counts_takes_and_renewals)
        return True

    def release(self, token: object, now: int) -> None:
        if self.token is token:
            self.token, self.ends = None, self.clock(now)
            if self.protocol.idle_counts_releases:
                self.change = self._changed()


class World:
    """Time, the service, and the workers; `step` and `pass_time` move them."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.now = 0
        self.redis = ModelRedis(protocol)
        self.rooms: list[str] = []
        self.under_way: list[tuple[str, int]] = []
        self.running: list[Steps | None] = [None] * WORKERS
        self.renewing: list[Steps | None] = [None] * WORKERS
        self.leases: list[ModelLease | None] = [None] * WORKERS
        self.contacts = [Contacts() for _ in range(WORKERS)]

    @property
    def twice(self) -> bool:
        return len(self.rooms) > len(set(self.rooms))

    def pass_time(self, ticks: int) -> None:
        self.now += ticks
        # A request takes effect within the settle time.
        for room, sent in [entry for entry in self.under_way if entry[1] + SETTLE <= self.now]:
            self.under_way.remove((room, sent))
            self.rooms.append(room)

    def take_effect(self, number: int) -> None:
        if self.under_way:
            self.rooms.append(self.under_way.pop(number % len(self.under_way))[0])

    def step(self, worker: int) -> None:
        """Run a worker to its next await; one that has ended gets the shard again."""
        if self.running[worker] is None:
            self.running[worker] = self.shard(worker)
        self.running[worker] = self._advanced(self.running[worker])

    def renew(self, worker: int) -> None:
        self.renewing[worker] = self._advanced(self.renewing[worker])

    def kill(self, worker: int) -> None:
        self.running[worker] = self.renewing[worker] = self.leases[worker] = None
        self.contacts[worker] = Contacts()

    @property
    def is_held(self) -> bool:
        """Whether a lease is held, as Redis or a holder counts."""
        redis = self.redis
        by_holders = any(lease is not None and lease.left() > 0 for lease in self.leases)
        return by_holders or (redis.token is not None and redis.ends > redis.clock(self.now))

    def set_clock(self, ahead: int) -> None:
        """Set the clock of Redis. While a lease is held, it is not covered."""
        if not self.is_held:
            self.redis.ahead += ahead

    def run_without_a_lease(self) -> None:
        """Have another process do the job, and end; then a coordinator resumes it."""
        if not self.is_held:
            there = {*self.rooms, *(room for room, _ in self.under_way)}
            self.under_way += [(room, self.now) for room in ROOMS if room not in there]
            self.redis.begin()

    @staticmethod
    def _advanced(steps: Steps | None) -> Steps | None:
        if steps is not None:
            try:
                next(steps)
            except StopIteration:
                return None
        return steps

    def shard(self, worker: int) -> Steps:
        token, asked = object(), self.now
        yield
        answer = self.redis.take(token, self.now)
        if answer.taken:
            # It may count from now on, also if the answer arrives late.
            self.leases[worker] = ModelLease(self, token, self.now + TTL)
        yield
        counted = asked if self.protocol.counted_from_before else self.now
        contacts = self.contacts[worker]
        contacts.note(answer.counter, answer.change, self.now)
        if not answer.taken:
            return
        lease = self.leases[worker] = ModelLease(self, token, counted + TTL)
        fence = Fence(lease, ATTEMPT)
        self.renewing[worker] = self.renewal(lease)
        changed_by = contacts.happened_by(answer.counter, answer.before)
        quiet_from = (self.now if changed_by is None else changed_by) + answer.tail
        end = self.now + answer.wait
        while self.now < end:
            yield
        idle = max(0, self.now - quiet_from) if self.protocol.idle_by_no_other_clock else answer.quiet_for
        fresh = answer.fresh
        seen: set[str] = set()
        if not fresh:
            end = self.now + (SETTLE - idle if self.protocol.look_back else 0)
            while self.now < end and fence.stands():
                yield
            # A reading takes time, and what it shows is of its beginning.
            seen = set(self.rooms)
            yield
        for room in ROOMS:
            if room in seen:
                continue
            passes = fence.lets_pass()
            yield
            if self.protocol.fence:
                passes = fence.lets_pass()
            if not passes:
                break
            self.under_way.append((room, self.now))
            yield
        self.renewing[worker] = None
        lease.ends = self.now
        yield
        self.redis.release(token, self.now)

    def renewal(self, lease: ModelLease) -> Steps:
        while lease.left() > 0:
            asked = self.now
            yield
            if not self.redis.renew(lease.token, self.now):
                lease.ends = 0
                return
            yield
            if lease.left() > 0:
                lease.ends = (asked if self.protocol.counted_from_before else self.now) + TTL


@attrs.define(eq=False)
class ModelLease:
    world: World
    token: object
    ends: float
    fresh: bool = False

    def left(self) -> float:
        return self.ends - self.world.now


def happens(world: World, what: str, number: int) -> None:
    match what:
        case "step":
            world.step(number % WORKERS)
        case "renew":
            world.renew(number % WORKERS)
        case "time":
            world.pass_time(1 + number)
        case "effect":
            world.take_effect(number)
        case "kill":
            world.kill(number % WORKERS)
        case "forget":
            world.redis.forget()
        case "clock":
            world.set_clock((9, -9, 20, -20)[number % 4])
        case "outside":
            world.run_without_a_lease()


KINDS = ("step", "renew", "time", "effect", "kill", "forget", "clock", "outside")
WEIGHTS = (60, 6, 24, 4, 1, 2, 3, 1)


A, B = 0, 1
UNTIL_ITS_LAST_MOMENT, UNTIL_ITS_END = ("time", TTL - ATTEMPT - 2), ("time", ATTEMPT)
RARE = {
    # B is refused, so it has counted the take of A, which then sends, and dies with its lease.
    "idle_outlasts_what_was_not_given_back": [
        *[("step", A)] * 3,
        *[("step", B)] * 3,
        UNTIL_ITS_LAST_MOMENT,
        ("step", A),
        UNTIL_ITS_END,
        *[("step", B)] * 5,
    ],
    # Redis has forgotten A, and B outlasts it.
    "idle_outlasts_the_forgotten": [
        *[("step", A)] * 3,
        ("forget", 0),
        *[("step", B)] * 3,
        UNTIL_ITS_LAST_MOMENT,
        *[("renew", B)] * 3,
        ("step", A),
        UNTIL_ITS_END,
        *[("step", B)] * 3,
    ],
}
"""Schedules that convict parts for which chance takes too long."""


def random_schedule(chance: random.Random) -> list[tuple[str, int]]:
    # Mostly one worker at a time, as the others are stopped.
    worker, schedule = 0, []
    for what in chance.choices(KINDS, WEIGHTS, k=90):
        if chance.random() < 0.08:
            worker = chance.randrange(WORKERS)
        schedule.append((what, chance.choice((0, 0, 1, 3, 7)) if what == "time" else worker))
    return schedule


def runs_twice(protocol: Protocol, schedule: list[tuple[str, int]]) -> bool:
    world = World(protocol)
    for what, number in schedule:
        happens(world, what, number)
    world.pass_time(SETTLE)
    return world.twice


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 8)), max_size=120))
def test_no_schedule_creates_a_room_twice(schedule: list[tuple[str, int]]) -> None:
    assert not runs_twice(Protocol(), schedule)


def test_no_random_schedule_creates_a_room_twice_and_most_create_all() -> None:
    chance, complete = random.Random(1), 0
    for _ in range(1500):
        world = World(Protocol())
        for what, number in random_schedule(chance):
            happens(world, what, number)
            assert not world.twice
        world.pass_time(SETTLE)
        assert not world.twice
        complete += set(world.rooms) == set(ROOMS)
    assert complete > 500


@pytest.mark.parametrize("missing", [field.name for field in attrs.fields(Protocol)])
def test_without_any_part_of_the_protocol_some_schedule_creates_a_room_twice(missing: str) -> None:
    parts: dict[str, Any] = {missing: False}
    chance = random.Random(2)
    schedules = [RARE[missing]] if missing in RARE else (random_schedule(chance) for _ in range(60_000))
    assert any(runs_twice(Protocol(**parts), schedule) for schedule in schedules)


@pytest.mark.parametrize("missing", RARE)
def test_the_whole_protocol_survives_the_rare_schedules(missing: str) -> None:
    assert not runs_twice(Protocol(), RARE[missing])


def test_the_model_has_times_in_which_the_parts_matter() -> None:
    assert ATTEMPT + MARGIN < TTL
