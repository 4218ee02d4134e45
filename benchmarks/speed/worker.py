"""One variant in a process of its own, which does what it is told line by line and tells what that cost.

`python -m benchmarks.speed.worker MODULE:VARIANT ORIGIN [CA_FILE]`. It prints a line when it is ready, or what it
lacks. Told `{"calls": N, "at_once": C, "warm": W}`, it makes W calls that are not counted, then N that are, and
prints the processor time and the wall time of these. Between orders it waits in a read and uses nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs

from benchmarks.speed import cores


@attrs.frozen
class Target:
    """Where a variant sends its calls.

    Args:
        origin: Scheme, address and port.
        ca_file: PEM file of the authority to trust, for TLS.
    """

    origin: str
    ca_file: str | None = None

    @property
    def base_url(self) -> str:
        return f"{self.origin}/video/v2"


Run = Callable[[int, int], Awaitable[object]]
"""Makes so many calls, so many at once."""
Variant = Callable[[Target], AbstractAsyncContextManager[Run]]


def pooled(call: Callable[[int], Awaitable[object]]) -> Run:
    """Return a run that keeps `at_once` calls in flight; a call is told its number."""

    async def run(calls: int, at_once: int) -> None:
        numbers = iter(range(calls))

        async def work() -> None:
            for number in numbers:
                await call(number)

        await asyncio.gather(*(work() for _ in range(at_once)))

    return run


async def _obey(variant: Variant, target: Target) -> None:
    async with variant(target) as run:
        print(json.dumps({"ready": True}), flush=True)
        frozen = False
        # The read holds the loop on purpose: no timer of the variant may run while others are measured.
        while line := sys.stdin.readline():
            order = json.loads(line)
            await run(order["warm"], order["at_once"])
            if not frozen:
                gc.collect()
                gc.freeze()
                frozen = True
            used, began = time.process_time(), time.perf_counter()
            await run(order["calls"], order["at_once"])
            told = {"cpu": time.process_time() - used, "wall": time.perf_counter() - began}
            print(json.dumps(told), flush=True)


def _found(name: str) -> Variant:
    module, _, variant = name.partition(":")
    found: Variant = getattr(importlib.import_module(module), variant)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", help="module:function")
    parser.add_argument("origin")
    parser.add_argument("ca_file", nargs="?")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    told = parser.parse_args()
    cores.pin(0)
    # A library may tell that its loop was held, which is how this process waits.
    logging.getLogger().addHandler(logging.NullHandler())
    run: Callable[[Any], None] = asyncio.run
    try:
        if told.loop == "uvloop":
            import uvloop

            run = uvloop.run
        run(_obey(_found(told.variant), Target(told.origin, told.ca_file)))
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)


if __name__ == "__main__":
    main()
