"""A worker process: runs shards under leases, as lines on its standard input name them, and prints their reports.

Run as `python worker.py OPTIONS`, where OPTIONS is a JSON object.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from typing import Any

from videoapi import LeaseHeld, RedisLeases, RoomSpec, VideoAPIError, VideoClient


class Unfenced:
    """A lease that never ends for its run: what a lease without a fence is."""

    def __init__(self, fresh: bool) -> None:
        self.fresh = fresh

    def left(self) -> float:
        return math.inf


async def run_shard(client: VideoClient, leases: RedisLeases, options: dict[str, Any], shard: int) -> dict[str, Any]:
    size = options["size"]
    specs = [RoomSpec(f"Room {number}", key=number) for number in range(shard * size, (shard + 1) * size)]
    try:
        async with leases.hold(shard) as lease:
            fenced = lease if options["fenced"] else Unfenced(lease.fresh)
            report = await client.rooms.create_many(specs, job_id="j", lease=fenced, concurrency=options["concurrency"])
    except LeaseHeld as error:
        return {"held": error.retry_after}
    except VideoAPIError as error:
        return {"failed": type(error).__name__}
    return {"report": report.to_dict()}


async def main(options: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    client = VideoClient(
        options["app_id"],
        options["app_key"],
        options["base_url"],
        settle=options["settle"],
        attempt_timeout=options["attempt_timeout"],
    )
    async with client, RedisLeases(options["redis"], "j", ttl=options["ttl"], nonce=options["nonce"]) as leases:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            shard = int(line)
            print(json.dumps({"shard": shard, **await run_shard(client, leases, options, shard)}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
