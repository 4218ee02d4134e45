"""One variant in a separate process, which reads commands line by line and prints what each one cost.

`python -m benchmarks.speed.worker MODULE:VARIANT ORIGIN [CA_FILE]` prints a line when it is ready, or what is
missing. For `{"calls": N, "at_once": C, "warm": W}`, it makes W uncounted calls, then N counted ones, and prints the
processor time and wall time of the latter. Between commands it blocks in a read and uses no processor time.
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
    """The server that a variant calls.

    Args:
        origin: Scheme, address and port.
        ca_file: PEM file of the trusted certificate authority, for TLS.
    """

    origin: str
    ca_file: str | None = None

    @property
    def base_url(self) -> str:
        return f"{self.origin}/video/v2"


Run = Callable[[int, int], Awaitable[object]]
"""Makes a number of calls, with a number of them in flight."""
Variant = Callable[[Target], AbstractAsyncContextManager[Run]]


def pooled(call: Callable[[int], Awaitable[object]]) -> Run:
    """Return a run that keeps `at_once` calls in flight and passes each call its number."""

    async def run(calls: int, at_once: int) -> None:
        numbers = iter(range(calls))

        async def work() -> None:
            for number in numbers:
                await call(number)

        await asyncio.gather(*(work() for _ in range(at_once)))

    return run


async def _run_commands(variant: Variant, target: Target) -> None:
    async with variant(target) as run:
        print(json.dumps({"ready": True}), flush=True)
        frozen = False
        # The read blocks the loop on purpose: no timer of the variant may run while others are measured.
        while line := sys.stdin.readline():
            command = json.loads(line)
            await run(command["warm"], command["at_once"])
            if not frozen:
                gc.collect()
                gc.freeze()
                frozen = True
            used, began = time.process_time(), time.perf_counter()
            await run(command["calls"], command["at_once"])
            cost = {"cpu": time.process_time() - used, "wall": time.perf_counter() - began}
            print(json.dumps(cost), flush=True)


def _variant(name: str) -> Variant:
    module, _, variant = name.partition(":")
    found: Variant = getattr(importlib.import_module(module), variant)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", help="module:function")
    parser.add_argument("origin")
    parser.add_argument("ca_file", nargs="?")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    arguments = parser.parse_args()
    cores.pin(0)
    # Silence the warning that the loop was blocked: this process blocks it on purpose.
    logging.getLogger().addHandler(logging.NullHandler())
    run: Callable[[Any], None] = asyncio.run
    try:
        if arguments.loop == "uvloop":
            import uvloop

            run = uvloop.run
        run(_run_commands(_variant(arguments.variant), Target(arguments.origin, arguments.ca_file)))
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)


if __name__ == "__main__":
    main()
