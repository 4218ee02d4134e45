"""A sandbox in its own process, some of whose creates meet faults.

Run as `sandbox_process.py STATE SHARE SEED SECONDS`.

Prints its URL and credentials as JSON, and ends when stdin is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

from videoapi.sandbox import Sandbox

LATE = 0.5
FAULTS = (
    ("drop_after", {}),
    ("reset_after", {}),
    ("late", {"seconds": LATE}),
    ("drop_before", {}),
    ("late_status", {"status": 502, "seconds": LATE}),
)
"""Executed without an answer, executed later, and not executed at all: to a client, they look the same."""


@contextlib.contextmanager
def sandbox_process(
    state: Path, *, share: float, seed: int, takes: float = 0.0
) -> Generator[dict[str, str], None, None]:
    """Run a sandbox; yield the environment variables of its clients.

    Args:
        state: The file of its ledger.
        share: Share of the creates that meet a fault.
        seed: Of its random choices.
        takes: How long the other creates take, in seconds.
    """
    arguments = [sys.executable, __file__, str(state), str(share), str(seed), str(takes)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(30)


async def main(state: str, share: str, seed: str, takes: str) -> None:
    async with Sandbox(state=state, seed=int(seed)) as sandbox:
        for kind, options in FAULTS:
            sandbox.fault("rooms.create", kind, times=None, rate=float(share) / len(FAULTS), **options)
        if float(takes):
            sandbox.fault("rooms.create", "delay", times=None, seconds=float(takes))
        credentials = {
            "VIDEOAPI_APP_ID": sandbox.app_id,
            "VIDEOAPI_APP_KEY": sandbox.app_key,
            "VIDEOAPI_BASE_URL": sandbox.base_url,
        }
        print(json.dumps(credentials), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        while sandbox.late:
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
