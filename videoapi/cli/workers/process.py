"""A worker process of a command: `python -m videoapi.cli.workers.process`, which only the command starts.

It reads JSON lines from stdin: first the account, then shards, one at a time, each once the one before is done; and
`{"stop": true}` to end a shard early. It writes JSON lines to stdout: `alive` every second, `warning` for what the
library logs, and for each shard `report` or `later`, whether anything may have been `sent`, and the references of the
`creates` that were.
It ends with its stdin.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from videoapi.bulk import BulkRun
from videoapi.cli.attempts import PER_ITEM, AttemptLog
from videoapi.cli.bulk import settle_wait
from videoapi.cli.notices import handled_by
from videoapi.cli.running import STOPPING
from videoapi.client import VideoClient
from videoapi.config import hidden
from videoapi.errors import ConnectionFailed, LeaseHeld, LeaseLost, VideoAPIError
from videoapi.models.rooms import RoomSpec
from videoapi.redis.gate import RedisGate
from videoapi.sharding.worker import ShardTask, ShardWorker

ALIVE: Final = 1.0
LONGEST_LINE: Final = 1 << 26
"""Bytes of a shard, or of its report."""
_LATER: Final = 3.0
Write = Callable[[dict[str, Any]], None]


class _Warnings(logging.Handler):
    """A handler that gives warnings to the command, and shows the wait for a lease as progress."""

    def __init__(self, write: Write) -> None:
        super().__init__(logging.WARNING)
        self._write = write
        self._waits_until = 0.0

    def waits(self) -> str:
        """Return that a shard waits for a lease of an earlier run; empty if it does not."""
        left = self._waits_until - time.monotonic()
        return f"waiting {left:.0f} s: an earlier run with this job ID may still be sending" if left > 0 else ""

    def emit(self, record: logging.LogRecord) -> None:
        if (seconds := getattr(record, "lease_wait", None)) is not None:
            self._waits_until = time.monotonic() + seconds
        elif record.funcName not in PER_ITEM:
            self._write({"warning": record.getMessage()})


class _Shard:
    """The shard that the process works on.

    Args:
        worker: Runs it.
        task: The shard.
        limits: As in `run_shard`.
    """

    def __init__(self, worker: ShardWorker, task: ShardTask, limits: dict[str, Any]) -> None:
        self._run: BulkRun[RoomSpec] | None = None
        self.task = asyncio.ensure_future(worker.run(task, started=self._started, **limits))

    def _started(self, run: BulkRun[RoomSpec]) -> None:
        self._run = run

    @property
    def began(self) -> bool:
        """Whether a create may have been sent."""
        return self._run is not None

    @property
    def done(self) -> int:
        """How many of its rooms have an outcome."""
        return 0 if self._run is None else self._run.report.total

    def waits(self) -> str:
        """Return what it waits for; empty if it does not."""
        return "" if self._run is None else settle_wait(self._run.report, asyncio.get_running_loop().time())

    async def stop(self) -> None:
        """Send nothing more, and wait for what is in flight."""
        if self._run is None:
            self.task.cancel()
        else:
            await self._run.aclose()


async def serve(lines: asyncio.StreamReader, write: Write) -> None:
    """Work on shards until stdin ends."""
    account = _account(await lines.readline())
    attempts = AttemptLog()
    client = _client(account, attempts)
    worker, limits = ShardWorker(client, account["redis"]), account["limits"]
    shard: _Shard | None = None

    async def report(current: _Shard) -> None:
        answer = await _answer(current)
        write({**answer, "creates": attempts.take_sent(), "counts": attempts.take_counts()})

    async def show_life() -> None:
        while True:
            current = None if shard is None or shard.task.done() else shard
            began, waits, done = (False, "", 0) if current is None else (current.began, current.waits(), current.done)
            write({"alive": True, "waits": waits or warnings.waits(), "began": began, "done": done})
            await asyncio.sleep(ALIVE)

    warnings = _Warnings(write)
    reporting: asyncio.Task[None] | None = None
    life = asyncio.create_task(show_life())
    try:
        with handled_by(warnings):
            while line := await lines.readline():
                told = json.loads(line)
                if "stop" in told:
                    if shard is not None:
                        await shard.stop()
                    continue
                shard = _Shard(worker, ShardTask(**told), limits)
                reporting = asyncio.create_task(report(shard))
            # The command is gone.
            if shard is not None and reporting is not None:
                await shard.stop()
                await reporting
    finally:
        life.cancel()
        await worker.aclose()


async def _answer(shard: _Shard) -> dict[str, Any]:
    try:
        return {"report": await shard.task}
    except LeaseHeld as error:
        return {"later": str(error), "seconds": min(_LATER, error.retry_after or _LATER), "sent": False}
    except LeaseLost as error:
        return {"later": str(error), "seconds": _LATER, "sent": shard.began}
    except ConnectionFailed as error:
        return {"later": str(error), "seconds": _LATER, "sent": shard.began, "away": _reason(error)}
    except VideoAPIError as error:
        return {"report": {"refused": str(error)}}
    except asyncio.CancelledError:
        return {"later": "stopped", "seconds": 0.0, "sent": shard.began}


def _reason(error: ConnectionFailed) -> str:
    """Return why Redis cannot be used. That nothing was created is said of the shard, not of the job."""
    return str(error).removesuffix(" Nothing was created.")


def _account(line: bytes) -> dict[str, Any]:
    """Return the account of a line, with its secrets hidden: error reporters store the variables of frames."""
    account: dict[str, Any] = json.loads(line)
    account["client"] |= {name: hidden(account["client"].get(name)) for name in ("app_key", "proxy")}
    account["redis"] = hidden(account["redis"])
    return account


def _client(account: dict[str, Any], attempts: AttemptLog) -> VideoClient:
    options: dict[str, Any] = {**account["client"], "listeners": attempts}
    if account["rate"] is not None:
        gate = RedisGate(account["redis"], processes=account["processes"], rate=account["rate"])
        options |= {"rate": account["rate"], "gate": gate}
    return VideoClient(**options)


async def _main() -> None:
    # Ctrl-C reaches the whole group of processes; the command decides what it means.
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    lines = asyncio.StreamReader(limit=LONGEST_LINE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)

    def write(message: dict[str, Any]) -> None:
        # If the command is gone, the message has no reader.
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()

    await serve(lines, write)


if __name__ == "__main__":
    asyncio.run(_main())
