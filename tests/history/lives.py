"""Jobs whose process is killed and started again: the lives of one job, and how they end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import attrs

from history.checker import Event
from history.runs import SETTLE
from videoapi.sandbox import Sandbox


@attrs.frozen(kw_only=True)
class Plan:
    """The job that a victim runs.

    Args:
        app_id: The account, with `app_key` and `base_url`.
        job: The job's ID.
        rooms: Number of creates: `Room 0` with the key `row-0`, and so on.
        diary: File of the recorded events.
        journal: File of the journal, or None.
        settle: Settle time, in seconds.
        concurrency: Creates in flight.
        life: Number of the process.
        file_limit: Largest file that the process may write, in bytes; 0 for any size.
    """

    app_id: str
    app_key: str
    base_url: str
    job: str
    rooms: int
    diary: str
    journal: str | None = None
    settle: float = SETTLE
    concurrency: int = 16
    life: int = 0
    file_limit: int = 0

    @classmethod
    def of(cls, sandbox: Sandbox, job: str, rooms: int, folder: Path, *, journal: bool) -> Plan:
        """Return the plan of a job in a sandbox; its files are in a folder."""
        return cls(
            app_id=sandbox.app_id,
            app_key=sandbox.app_key,
            base_url=sandbox.base_url,
            job=job,
            rooms=rooms,
            diary=str(folder / "diary"),
            journal=str(folder / "journal.sqlite") if journal else None,
        )

    def history(self) -> list[Event]:
        """Return the events that all lives have recorded."""
        diary = Path(self.diary)
        return [Event(**json.loads(line)) for line in diary.read_text().splitlines()] if diary.exists() else []


async def live(
    sandbox: Sandbox, plan: Plan, kill_when: Callable[[], bool] = lambda: False, *, suspend: int = 0
) -> bool:
    """Run a job in its own process until it ends or is to be killed; return whether it ended.

    Args:
        sandbox: Where it creates its rooms.
        plan: The job.
        kill_when: Polled; true kills the process with SIGKILL.
        suspend: How often the process is suspended for longer than the settle time without noticing.
    """
    before = sandbox.ledger.requests("rooms.create")
    victim = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "history.victim",
        json.dumps(attrs.asdict(plan)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        ended = asyncio.ensure_future(victim.wait())
        while not ended.done() and not kill_when():
            if suspend and sandbox.ledger.requests("rooms.create") - before >= 10 * suspend:
                suspend -= 1
                victim.send_signal(signal.SIGSTOP)
                await asyncio.sleep(2 * plan.settle)
                victim.send_signal(signal.SIGCONT)
            await asyncio.wait([ended], timeout=0.005)
        assert suspend == 0
    finally:
        if victim.returncode is None:
            victim.kill()
        await victim.wait()
    assert victim.returncode in (0, -9), f"the job's process ended with {victim.returncode}"
    return victim.returncode == 0


def arrived(sandbox: Sandbox, more: int) -> Callable[[], bool]:
    """Return a condition that is true once that many more creates have arrived."""
    until = sandbox.ledger.requests("rooms.create") + more
    return lambda: sandbox.ledger.requests("rooms.create") >= until
