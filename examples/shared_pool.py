"""Several projects in one process share a connection pool; each client has its own APP_ID and APP_KEY.

For servers only: never put an APP_KEY into client-side code (browser, mobile, desktop).
Run: python shared_pool.py projects.json
where the file, readable only by this process, contains [{"app_id": …, "app_key": …, "base_url": …}, …].
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from videoapi import SessionManager, VideoClient


async def count(client: VideoClient) -> int:
    total = 0
    async for _ in client.rooms.list():
        total += 1
    return total


async def main(projects: list[dict[str, str]]) -> None:
    # The code that creates the manager closes it; closing a client leaves it open for the others.
    async with SessionManager(max_connections=32) as manager, AsyncExitStack() as stack:
        clients: dict[str, VideoClient] = {}
        for project in projects:
            client = VideoClient(project["app_id"], project["app_key"], project.get("base_url"), session=manager)
            clients[project["app_id"]] = await stack.enter_async_context(client)
        totals = await asyncio.gather(*(count(client) for client in clients.values()))
    for app_id, total in zip(clients, totals, strict=True):
        print(f"{app_id}: {total} rooms")


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
