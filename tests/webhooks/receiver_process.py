"""A receiver in a process of its own: `python receiver_process.py RESULTS PORT [STORE]`.

Its handlers fail and stall as the event's room says. Results are rows of an SQLite file: with a store in the same file,
each is written in one transaction with the note that its event was handled.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from videoapi.webhooks import WebhookEvent, Webhooks

ROOT = Path(__file__).resolve().parents[2]
AUTH = ("service", "password")


def store_class() -> type[Any]:
    """Return the store of the guide."""
    page = (ROOT / "docs" / "howto" / "webhooks.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    (source,) = re.findall(r"```python\n(# store\.py\n.*?)```", page, re.DOTALL)
    exec(source, names)
    found: type[Any] = names["SQLiteStore"]
    return found


def main(results: str, port: int, durable: bool) -> None:
    store = store_class()(results, lease=1) if durable else None
    db: sqlite3.Connection = store.db if store is not None else sqlite3.connect(results)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("CREATE TABLE IF NOT EXISTS handled (conf_num TEXT, outcome TEXT)")
    db.commit()
    tries: dict[str, int] = {}

    def write(event: WebhookEvent, outcome: str) -> None:
        db.execute("INSERT INTO handled VALUES (?, ?)", (event.conf_num, outcome))

    def report(event: WebhookEvent, error: BaseException) -> None:
        with sqlite3.connect(results, timeout=30) as other:
            other.execute("INSERT INTO handled VALUES (?, ?)", (event.conf_num, f"reported {type(error).__name__}"))
        other.close()

    hooks = Webhooks(AUTH, store=store, queue_size=32, concurrency=8, retry_wait=0.05, on_error=report)

    @hooks.on(WebhookEvent)
    async def handle(event: WebhookEvent) -> None:
        conf_num = str(event.conf_num)
        tries[conf_num] = tries.get(conf_num, 0) + 1
        if event.room_id == "fails" or (event.room_id == "fails-once" and tries[conf_num] == 1):
            raise RuntimeError
        if event.room_id == "stalls":
            await asyncio.sleep(0.3)
        with db:
            write(event, "done")
            if store is not None:
                await store.done(event)

    async def resume(app: web.Application) -> AsyncIterator[None]:
        async with hooks if store is None else store.running(hooks):
            yield

    async def ready(app: web.Application) -> None:
        print("ready", flush=True)

    app = web.Application()
    app.router.add_post("/hooks", hooks.aiohttp())
    app.cleanup_ctx.append(resume)
    app.on_startup.append(ready)
    with contextlib.closing(db):
        web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None, shutdown_timeout=5)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "durable")
