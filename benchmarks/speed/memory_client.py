"""One stream in a new process, whose records are dropped or kept; prints its measurements and exits.

`python -m benchmarks.speed.memory_client PORT SHAPE-ODD-MEGABYTES drop|keep|keep-extra`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.speed import cores
from videoapi import SessionManager, VideoClient
from videoapi.models.cdr import CallRecord

PERIOD: Final = ("2026-01-01", "2026-01-07")
MEBI: Final = 2**20
EVERY: Final = 5_000


def resident() -> int:
    """Return the resident memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def drop(client: VideoClient) -> dict[str, float]:
    """Stream without keeping records; return the peak memory (MiB) and the times (s)."""
    count = most = 0
    began, first = time.perf_counter(), 0.0
    async for _ in client.cdr.by_period(*PERIOD):
        if not count:
            first = time.perf_counter() - began
        count += 1
        if count % EVERY == 0:
            most = max(most, resident())
    return {"most": most / MEBI, "first": first, "whole": time.perf_counter() - began, "count": count}


async def keep(client: VideoClient, extra: bool) -> dict[str, float]:
    """Keep all records; return the memory per record, in bytes."""
    gc.collect()
    base = resident()
    kept: list[CallRecord] = [record async for record in client.cdr.by_period(*PERIOD, extra=extra)]
    return {"each": (resident() - base) / len(kept)}


async def main() -> None:
    port, asked, how = sys.argv[1:]
    async with SessionManager() as session:

        def client(path: str) -> VideoClient:
            return VideoClient("app", "key", f"http://127.0.0.1:{port}/{path}", session=session, allow_http=True)

        # Exclude imports, the connection and the fixed memory of any stream from the measurement.
        await drop(client(f"{asked.split('-')[0]}-0-1"))
        measured = await (drop(client(asked)) if how == "drop" else keep(client(asked), how == "keep-extra"))
    print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    cores.pin(0)
    asyncio.run(main())
