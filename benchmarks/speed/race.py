"""Interleaved rounds: the reference runs before and after each variant, so that both see the same machine load."""

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
"""Uncounted calls before each slice, per call in flight: they replace connections that went stale."""
_FIRST: Final = 300


class Missing(Exception):
    """A variant cannot run here; the text names the missing package."""


@attrs.frozen
class Slice:
    """The cost of some calls, in seconds per call."""

    cpu: float
    wall: float


class Worker:
    """The process of a variant."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._seconds_per_call: dict[int, float] = {}
        report = self._report()
        if "missing" in report:
            raise Missing(report["missing"])

    def run(self, calls: int, at_once: int, warm: int) -> Slice:
        """Make `calls` calls after `warm` uncounted ones, `at_once` in flight; return their cost."""
        assert self._process.stdin is not None
        print(json.dumps({"calls": calls, "at_once": at_once, "warm": warm}), file=self._process.stdin, flush=True)
        report = self._report()
        return Slice(float(report["cpu"]) / calls, float(report["wall"]) / calls)

    def warm_up(self, at_once: int) -> None:
        """Open the connections and measure the time per call."""
        self._seconds_per_call[at_once] = self.run(_FIRST, at_once, _FIRST).wall

    def run_for(self, seconds: float, at_once: int) -> Slice:
        """Make as many calls as fit into about `seconds`."""
        if at_once not in self._seconds_per_call:
            self.warm_up(at_once)
        return self.run(max(at_once, int(seconds / self._seconds_per_call[at_once])), at_once, _WARM * at_once)

    def _report(self) -> dict[str, str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("A variant's process ended; see its standard error for the reason.")
        report: dict[str, str] = json.loads(line)
        return report


@contextmanager
def worker(variant: str, server: Server, scheme: str, loop: str) -> Iterator[Worker]:
    """Run a variant's process.

    Raises:
        Missing: If a package that it needs is not installed.
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
    """Run the processes of the variants that can run here; yield them by name and add a note for each other one.

    If the first one cannot run, none does: the others are compared with it.
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
    """The cost of a variant per round, and its ratios to the reference of the same round.

    Args:
        cpu: Processor seconds per call.
        wall: Seconds per call.
        cpu_ratios: Empty for the reference itself.
        wall_ratios: Empty for the reference itself.
    """

    cpu: list[float] = attrs.field(factory=list)
    wall: list[float] = attrs.field(factory=list)
    cpu_ratios: list[float] = attrs.field(factory=list)
    wall_ratios: list[float] = attrs.field(factory=list)


def race(
    running: Mapping[str, Worker], reference: str, server: Server, rounds: int, run: Callable[[Worker], Slice]
) -> dict[str, Lane]:
    """Run the variants in turn, in a new order each round, with the reference between each two.

    Args:
        running: Variants by name, warmed up.
        reference: The name of the variant that ratios refer to.
        server: The server; it forgets its rooms before each slice.
        rounds: Number of rounds.
        run: Runs one variant.
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
    """Add a round to the lanes.

    Args:
        lanes: Lanes by variant name.
        reference: The name of the reference.
        others: The names of the variants, in the order in which they ran.
        references: The slices of the reference: one more than there are variants.
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
