"""Interleaved rounds: the reference runs before and after each variant, so that both have the same machine."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import attrs

from benchmarks.speed.children import child
from benchmarks.speed.loopback import Server
from benchmarks.speed.measure import against_neighbours

_WARM: Final = 3
"""Calls before each slice, for each one in flight: connections that grew old while waiting are made anew."""
_FIRST: Final = 300


class Missing(Exception):
    """A variant cannot run here; the text says what it lacks."""


@attrs.frozen
class Slice:
    """What some calls cost, in seconds a call."""

    cpu: float
    wall: float


class Worker:
    """A variant's process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._pace: dict[int, float] = {}
        told = self._told()
        if "missing" in told:
            raise Missing(told["missing"])

    def run(self, calls: int, at_once: int, warm: int) -> Slice:
        """Let it make some calls."""
        assert self._process.stdin is not None
        print(json.dumps({"calls": calls, "at_once": at_once, "warm": warm}), file=self._process.stdin, flush=True)
        told = self._told()
        return Slice(float(told["cpu"]) / calls, float(told["wall"]) / calls)

    def warm_up(self, at_once: int) -> None:
        """Let it make its connections, and find out how fast it is."""
        self._pace[at_once] = self.run(_FIRST, at_once, _FIRST).wall

    def run_for(self, seconds: float, at_once: int) -> Slice:
        """Let it make as many calls as take about so long."""
        if at_once not in self._pace:
            self.warm_up(at_once)
        return self.run(max(at_once, int(seconds / self._pace[at_once])), at_once, _WARM * at_once)

    def _told(self) -> dict[str, str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("A variant's process ended; what it wrote to its errors says why.")
        told: dict[str, str] = json.loads(line)
        return told


@contextmanager
def worker(variant: str, server: Server, scheme: str, loop: str) -> Iterator[Worker]:
    """Run a variant's process.

    Raises:
        Missing: What it needs is not installed.
    """
    arguments = ["--loop", loop, variant, server.origin(scheme)]
    if scheme == "https":
        arguments.append(server.ca_file or "")
    with child("worker", *arguments) as process:
        yield Worker(process)


@contextmanager
def workers(
    variants: Mapping[str, str], server: Server, scheme: str, loop: str, notes: list[str]
) -> Iterator[dict[str, Worker]]:
    """Run the processes of those variants that can run here, by name; the notes tell of the others.

    Nothing runs where the first cannot, which the others are compared with.
    """
    reference = next(iter(variants))
    with ExitStack() as stack:
        running: dict[str, Worker] = {}
        for name, variant in variants.items():
            try:
                running[name] = stack.enter_context(worker(variant, server, scheme, loop))
            except Missing as missing:
                note = f"{name} did not take part on {loop}: {missing}."
                notes += [] if note in notes else [note]
                if name == reference:
                    break
        yield running


@attrs.frozen
class Lane:
    """What the rounds of one variant cost, and its ratios to the reference of the same round.

    Args:
        cpu: Processor seconds a call.
        wall: Seconds a call.
        cpu_ratios: None for the reference itself.
        wall_ratios: None for the reference itself.
    """

    cpu: list[float] = attrs.field(factory=list)
    wall: list[float] = attrs.field(factory=list)
    cpu_ratios: list[float] = attrs.field(factory=list)
    wall_ratios: list[float] = attrs.field(factory=list)


def race(
    running: Mapping[str, Worker], reference: str, server: Server, rounds: int, run: Callable[[Worker], Slice]
) -> dict[str, Lane]:
    """Let variants run in turn, `rounds` times in ever another order, the reference between each two.

    Args:
        running: Variants by name, warmed up.
        reference: The name of the one that ratios are against.
        server: Forgets its rooms before each slice.
        rounds: How often each variant runs.
        run: Lets one run.
    """
    lanes = {name: Lane() for name in running}
    others = [name for name in running if name != reference]
    order = random.Random(1)
    for _ in range(rounds):
        order.shuffle(others)
        references: list[Slice] = []
        slices: list[Slice] = []
        for name in (reference, *(name for other in others for name in (other, reference))):
            server.forget()
            (references if name == reference else slices).append(run(running[name]))
        note(lanes, reference, others, references, slices)
    return lanes


def note(
    lanes: Mapping[str, Lane],
    reference: str,
    others: Sequence[str],
    references: Sequence[Slice],
    slices: Sequence[Slice],
) -> None:
    """Enter a round into the lanes.

    Args:
        lanes: By name.
        reference: The name of the reference.
        others: The names of the variants, in the order in which they ran.
        references: The slices of the reference: one more than variants.
        slices: The slices of the variants.
    """
    lanes[reference].cpu.append(sum(one.cpu for one in references) / len(references))
    lanes[reference].wall.append(sum(one.wall for one in references) / len(references))
    cpu = against_neighbours([one.cpu for one in slices], [one.cpu for one in references])
    wall = against_neighbours([one.wall for one in slices], [one.wall for one in references])
    for name, slice_, cpu_ratio, wall_ratio in zip(others, slices, cpu, wall, strict=True):
        lanes[name].cpu.append(slice_.cpu)
        lanes[name].wall.append(slice_.wall)
        lanes[name].cpu_ratios.append(cpu_ratio)
        lanes[name].wall_ratios.append(wall_ratio)
