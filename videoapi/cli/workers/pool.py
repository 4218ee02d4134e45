"""The worker processes of a command: started, given shards, replaced when they die or give no sign of life."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from videoapi.cli.workers.process import LONGEST_LINE
from videoapi.config import Secret
from videoapi.errors import ConnectionFailed
from videoapi.sharding.worker import ShardTask

SILENT: Final = 30.0
"""After how many seconds without a sign of life a process counts as stopped."""
_MOST_DEATHS: Final = 5
"""How often a process may die in succession before it has reported anything."""
_AWAY: Final = 120.0
"""For how long Redis may be away before the run ends, in seconds."""


class WorkerGone(Exception):
    """A worker process has died, or gives no sign of life.

    Args:
        how: What happened to it.
        sent: Whether it may have sent anything of its shard.
    """

    def __init__(self, how: str, *, sent: bool) -> None:
        super().__init__(how)
        self.sent = sent


class WorkerProcess:
    """One worker process.

    Args:
        account: Its first line: what it needs to make its client.
        warn: Called with what the library logs there.
    """

    def __init__(self, account: Mapping[str, Any], warn: Callable[[str], object]) -> None:
        self._account = account
        self._warn = warn
        self._process: asyncio.subprocess.Process | None = None
        self._stopped = False
        self._lives = False
        self.has_started: bool = False
        """Whether it has ever given a sign of life."""
        self.is_used: bool = False
        """Whether it may have sent anything."""
        self.waits: str = ""
        """What it waits for."""
        self.done: int = 0
        """How many rooms of its shard have an outcome that it has not reported yet."""
        self.away: str = ""
        """Why it could not use Redis when it last tried to begin a shard."""

    async def run(self, task: ShardTask) -> dict[str, Any]:
        """Run a shard, and return `report` or `later`.

        Raises:
            WorkerGone: If the process has died, or gives no sign of life.
        """
        process = await self._running()
        if self._stopped:
            return {"later": "stopped", "seconds": 0.0, "sent": False}
        was_used, self.is_used = self.is_used, True
        self._send(process, task.to_dict())
        assert process.stdout is not None
        while True:
            try:
                async with asyncio.timeout(SILENT):
                    line = await process.stdout.readline()
            except TimeoutError:
                await self.kill()
                raise self._gone(f"did not respond for {SILENT:g} s", was_used) from None
            if not line.endswith(b"\n"):
                code = await process.wait()
                self._process = None
                raise self._gone(f"ended with {code}", was_used)
            self._lives = self.has_started = True
            message: dict[str, Any] = json.loads(line)
            if message.get("began"):
                self.away = ""
            if "warning" in message:
                self._warn(message["warning"])
                continue
            self.waits, self.done = message.get("waits", ""), message.get("done", 0)
            if "alive" not in message:
                self.is_used = was_used or message.get("sent", True)
                return message

    def stop(self) -> None:
        """Have it send nothing more, wait for what is in flight, and report."""
        self._stopped = True
        if self._process is not None:
            self._send(self._process, {"stop": True})

    async def aclose(self) -> None:
        """End the process once its shard is done."""
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SILENT):
                    await process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End the process at once."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "videoapi.cli.workers.process"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LONGEST_LINE,
                # Ctrl-C reaches all of a process group; the command decides what it means.
                process_group=0,
            )
            self._lives = False
            self._send(self._process, self._account)
        return self._process

    def _gone(self, how: str, was_used: bool) -> WorkerGone:
        self.waits, self.done = "", 0
        # A process gives a sign of life before it begins a shard.
        self.is_used = was_used or self._lives
        return WorkerGone(how, sent=self._lives)

    def _send(self, process: asyncio.subprocess.Process, message: Mapping[str, Any]) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(message, default=_revealed).encode() + b"\n")


def _revealed(secret: Secret) -> str:
    return secret.value


class WorkerPool:
    """Worker processes that work through shards.

    Args:
        account: As in `WorkerProcess`.
        workers: Number of processes.
        warn: As in `WorkerProcess`.
        report: Called with the name of a shard and its report.
        sent: Called before that with the references of the creates that were, or may have been, sent.
        counts: Called with the number of responses with HTTP 429 and of all attempts.
    """

    def __init__(
        self,
        account: Mapping[str, Any],
        workers: int,
        warn: Callable[[str], object],
        report: Callable[[str, Mapping[str, Any]], object],
        sent: Callable[[Iterable[str]], object],
        counts: Callable[[int, int], object] = lambda refusals, attempts: None,
    ) -> None:
        self._processes = [WorkerProcess(account, warn) for _ in range(workers)]
        self._warn = warn
        self._report = report
        self._note_sent = sent
        self._note_counts = counts
        self._left: deque[ShardTask] = deque()
        self._sent: set[str] = set()
        self._lost: set[str] = set()
        """Shards of which a process that is gone may have sent creates, it is not known which."""
        self._stopping = False
        self._total = 0
        self._reported = 0
        self._error: ConnectionFailed | None = None

    @property
    def unsent(self) -> list[str]:
        """The shards of which no process has sent anything."""
        return [task.shard for task in self._left if task.shard not in self._sent]

    @property
    def is_used(self) -> bool:
        """Whether any process may have sent anything."""
        return any(process.is_used for process in self._processes)

    @property
    def done(self) -> int:
        """How many rooms have an outcome that the processes have not reported yet."""
        return sum(process.done for process in self._processes)

    @property
    def waits(self) -> str:
        """What the processes wait for or that they start, and how many shards are done; empty once all are."""
        if self._reported == self._total:
            return ""
        away = next((f"waiting for {process.away}" for process in self._processes if process.away), "")
        found = next((process.waits for process in self._processes if process.waits), away)
        if not found and not any(process.has_started for process in self._processes):
            processes = min(self._total, len(self._processes))
            found = f"starting {processes} processes" if processes > 1 else "starting a process"
        done = f"{self._reported:,} of {self._total:,} shards done" if self._total > 1 else ""
        return "; ".join(filter(None, (found, done)))

    async def run(self, tasks: Sequence[ShardTask]) -> None:
        """Run all shards.

        Raises:
            ConnectionFailed: If processes die again and again, or Redis could not be used for two minutes.
        """
        self._left, self._total = deque(tasks), len(tasks)
        async with asyncio.TaskGroup() as group:
            for process in self._processes[: len(tasks)]:
                group.create_task(self._work(process))
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Begin no more shards, and have each process report what it has done."""
        self._stopping = True
        for process in self._processes:
            process.stop()

    async def aclose(self) -> None:
        """End the processes."""
        await asyncio.gather(*(process.aclose() for process in self._processes))

    async def kill(self) -> None:
        """End the processes at once."""
        await asyncio.gather(*(process.kill() for process in self._processes))

    def _fail(self, error: ConnectionFailed) -> None:
        # Raised by `run`, once the other processes have reported.
        self._error = self._error or error
        self.stop()

    async def _work(self, process: WorkerProcess) -> None:
        deaths = 0
        now = asyncio.get_running_loop().time
        away_since: float | None = None
        while self._left and not self._stopping:
            task = self._left.popleft()
            try:
                answer = await process.run(task)
            except WorkerGone as gone:
                self._left.append(task)
                if gone.sent:
                    self._sent.add(task.shard)
                    self._lost.add(task.shard)
                if not self._stopping:
                    self._warn(f"A worker process {gone}; its shard is assigned again.")
                deaths += 1
                if deaths >= _MOST_DEATHS:
                    self._fail(ConnectionFailed(f"A worker process {gone}, {deaths} times in a row."))
                continue
            deaths = 0
            self._note_sent(answer.get("creates", ()))
            self._note_counts(*answer.get("counts", (0, 0)))
            if reason := answer.get("away"):
                away_since = now() if away_since is None else away_since
                process.away = reason
                if now() - away_since > _AWAY:
                    text = f"Redis could not be used for {_AWAY:g} s ({reason}). Nothing more is sent."
                    self._fail(ConnectionFailed(text, retryable=True))
            else:
                away_since, process.away = None, ""
            if "report" in answer:
                self._reported += 1
                if task.shard in self._lost:
                    self._note_sent(row["reference"] for row in answer["report"].get("made", ()))
                self._report(task.shard, answer["report"])
            else:
                # Another process may have left it a moment ago: it is tried again when its lease has ended.
                self._left.append(task)
                if answer["sent"]:
                    self._sent.add(task.shard)
                await asyncio.sleep(0 if self._stopping else answer["seconds"])
