"""A model check of the create protocol: under its assumptions it never duplicates, and `fail` is definitive.

A breadth-first search runs the real state machine against a service that executes at once, late or never, and
whose list lags; time is discrete. If an assumption is dropped, the search finds a violation.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from typing import Final

import attrs
import pytest

from videoapi.creation.state import (
    FINAL,
    Create,
    CreatePolicy,
    ScanResult,
    Step,
    attempted,
    given_up,
    inherited,
    scanned,
)
from videoapi.protocol.types import Verdict


@attrs.frozen
class Service:
    """The possible behavior of the service and the process.

    Args:
        late: Possible delays until a request whose response was lost takes effect.
        lag: Possible delays until the list shows a room.
        omits: Whether the list may omit references.
        controls: Whether the known rooms reveal that to the client.
        crashes: How often the client may be killed and restarted, with only the reference known.
    """

    late: tuple[int, ...] = (0, 1)
    lag: tuple[int, ...] = (0, 1)
    omits: bool = False
    controls: bool = True
    crashes: int = 0


@attrs.frozen
class World:
    """A state: the client's create, and when each execution happens and is listed."""

    create: Create = attrs.field(factory=Create)
    now: int = 0
    rooms: tuple[tuple[int, int], ...] = ()
    crashes: int = 0

    @property
    def wrong(self) -> dict[str, str]:
        """The violations, by property."""
        found = {}
        if len(self.rooms) > 1:
            found["P1"] = f"{len(self.rooms)} rooms"
        if self.create.step is Step.MADE and not self.rooms:
            found["P2"] = "made, but no room exists"
        if self.create.step in (Step.REFUSED, Step.NOT_MADE) and self.rooms:
            found["P4"] = f"{self.create.step.value}, but a room exists"
        return found


def moves(world: World, service: Service, rules: CreatePolicy) -> Iterator[tuple[str, World]]:
    create, now = world.create, world.now
    if create.step in FINAL:
        return
    if world.crashes < service.crashes:
        yield "killed and started again", attrs.evolve(world, create=inherited(now), crashes=world.crashes + 1)
    if create.step is Step.SEND:
        yield from _sends(world, service)
        return
    yield "time passes", attrs.evolve(world, now=now + 1)
    yield "given up", attrs.evolve(world, create=given_up(create))
    seen = tuple(f"room-{place}" for place, (_, shown) in enumerate(world.rooms) if shown <= now)
    sights = [("scanned", ScanResult(now, seen, True)), ("scanned in part", ScanResult(now, (), False))]
    if service.omits:
        sights.append(("scanned a list that omits", ScanResult(now, (), not service.controls)))
    for name, sight in sights:
        yield f"{name}, saw {len(sight.rooms)}", attrs.evolve(world, create=scanned(create, sight, rules))


def _sends(world: World, service: Service) -> Iterator[tuple[str, World]]:
    create, now = world.create, world.now
    yield "sent, refused", attrs.evolve(world, create=attempted(create, Verdict.REJECTED, now))
    yield "throttled", attrs.evolve(world, create=attempted(create, Verdict.THROTTLED, now), now=now + 1)
    for lag in service.lag:
        made = attempted(create, Verdict.DONE, now, "room")
        yield "sent, made", attrs.evolve(world, create=made, rooms=(*world.rooms, (now, now + lag)))
    for answered in (now, now + 1):
        lost = attrs.evolve(world, create=attempted(create, Verdict.UNKNOWN, answered), now=answered)
        yield "sent, lost, not executed", lost
        for late, lag in itertools.product(service.late, service.lag):
            at = now + late
            yield f"sent, lost, executed {late} later", attrs.evolve(lost, rooms=(*world.rooms, (at, at + lag)))


def search(
    service: Service, rules: CreatePolicy, *broken: str, until: int = 14
) -> tuple[dict[World, tuple[World, str] | None], list[str] | None]:
    """Return the states reached, and the shortest path to one that breaks a property, or None."""
    start = World()
    came: dict[World, tuple[World, str] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        world = waiting.popleft()
        if any(name in world.wrong for name in broken):
            return came, _way(came, world)
        for name, following in moves(world, service, rules):
            if following.now <= until and following not in came:
                came[following] = (world, name)
                waiting.append(following)
    return came, None


def _way(came: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    way = [str(world.wrong)]
    while (step := came[world]) is not None:
        way.append(f"{step[0].now:>2}  {step[1]}")
        world = step[0]
    return way[::-1]


ENOUGH: Final = CreatePolicy(settle=2)
"""Exactly the late execution and the lag of the default service together."""


SOUND: Final = ("P1", "P2", "P4")


def test_all_properties_hold_under_the_assumptions() -> None:
    worlds, way = search(Service(), ENOUGH, *SOUND)

    assert way is None
    assert len(worlds) > 5_000
    assert {world.create.step for world in worlds} == set(Step)
    assert max(world.create.sends for world in worlds) == ENOUGH.most_sends


def test_all_properties_hold_when_the_client_is_restarted() -> None:
    worlds, way = search(Service(crashes=1), ENOUGH, *SOUND, until=11)

    assert way is None
    assert len(worlds) > 5_000


def test_omitted_references_are_harmless_with_known_rooms() -> None:
    assert search(Service(omits=True), ENOUGH, *SOUND)[1] is None


DROPPED = {
    "the settle time is shorter than late execution plus lag": (Service(), CreatePolicy(settle=1)),
    "late execution has no bound": (Service(late=(0, 1, 5)), ENOUGH),
    "the list lag has no bound": (Service(lag=(0, 1, 5)), ENOUGH),
    "the list omits references, and no known room reveals it": (Service(omits=True, controls=False), ENOUGH),
    "a restarted client does not wait": (Service(crashes=1), CreatePolicy(settle=0)),
}


@pytest.mark.parametrize("broken", ["P1", "P4"])
@pytest.mark.parametrize("dropped", DROPPED)
def test_search_finds_a_violation_when_an_assumption_is_dropped(dropped: str, broken: str) -> None:
    service, rules = DROPPED[dropped]

    _, way = search(service, rules, broken)

    assert way is not None
    print(f"{broken}, because {dropped}:", *way, sep="\n  ")
