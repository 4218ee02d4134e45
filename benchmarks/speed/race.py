"""Interleaved rounds: the reference runs before and after each variant, so that both have the same machine."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import attrs

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

    def run_for(self, seconds: float, at_once: int) -> Slice:
        """Let it make as many calls as take about so long; the first time it finds out how many those are."""
        if at_once not in self._pace:
            self._pace[at_once] = self.run(_FIRST, at_once, _FIRST).wall
        return self.run(max(at_once, int(seconds / self._pace[at_once])), at_once, _WARM * at_once)

    def _told(self) -> dict[str, str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The process of {self._process.args} ended; what it wrote to its errors says why.")
        told: dict[str, str] = json.loads(line)
        return told


@contextmanager
def worker(variant: str, server: Server, scheme: str, loop: str) -> Iterator[Worker]:
    """Run a variant's process.

    Raises:
        Missing: What it needs is not installed.
    """
    command = [sys.executable, "-m", "benchmarks.speed.worker", "--loop", loop, variant, server.origin(scheme)]
    if scheme == "https":
        command.append(server.ca_file or "")
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Worker(process)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=60)


@contextmanager
def workers(variants: Mapping[str, str], server: Server, scheme: str, loop: str) -> Iterator[dict[str, Worker]]:
    """Run the processes of those variants that can run here, by name; tell of the others."""
    with ExitStack() as stack:
        running: dict[str, Worker] = {}
        for name, variant in variants.items():
            try:
                running[name] = stack.enter_context(worker(variant, server, scheme, loop))
            except Missing as missing:
                print(f"{name} does not take part: {missing}", flush=True)
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
    running: Mapping[str, Worker], reference: str, server: Server, *, rounds: int, seconds: float, at_once: int
) -> dict[str, Lane]:
    """Let variants run in turn, `rounds` times in ever another order, the reference between each two."""
    lanes = {name: Lane() for name in running}
    others = [name for name in running if name != reference]
    for one in running.values():
        one.run_for(seconds / 4, at_once)
    order = random.Random(1)
    for _ in range(rounds):
        order.shuffle(others)
        references, slices = [], []
        for name in (reference, *(name for other in others for name in (other, reference))):
            server.forget()
            slice_ = running[name].run_for(seconds, at_once)
            (references if name == reference else slices).append(slice_)
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
