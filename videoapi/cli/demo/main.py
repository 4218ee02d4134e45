"""The demo from end to end: sandbox, faults, workflow, report."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import attrs

from videoapi.cli import exit_codes
from videoapi.cli.demo.faults import REFUSED, met, script, unanswered
from videoapi.cli.demo.report import draw
from videoapi.cli.demo.steps import DemoRun
from videoapi.cli.demo.webhooks import DemoWebhooks
from videoapi.cli.terminal import print_result, print_status
from videoapi.client import VideoClient
from videoapi.errors import VideoAPIError
from videoapi.events import AttemptEvent, Event
from videoapi.protocol.backoff import RetryPolicy
from videoapi.report.calendar import Calendar
from videoapi.report.tally import Tally
from videoapi.sandbox import Sandbox
from videoapi.webhooks import Webhooks

DAYS: Final = 31


@attrs.frozen(kw_only=True)
class Sizes:
    """The size of the demo, and its random seed."""

    rooms: int
    records: int
    seed: int


async def run_demo(sizes: Sizes, *, keep: Path | None, quiet: bool) -> int:
    """Run the demo, print its report, and return the exit code."""
    auth = "demo", secrets.token_urlsafe(12)
    hooks = Webhooks(auth)
    async with hooks.serve() as url:
        return await _run(sizes, hooks, url, auth, keep=keep, quiet=quiet)


async def _run(
    sizes: Sizes, hooks: Webhooks, webhook_url: str, auth: tuple[str, str], *, keep: Path | None, quiet: bool
) -> int:
    began, page = time.monotonic(), None
    now = datetime.now(UTC)
    today = now.date()
    # Stop the clock at midnight, so that a demo that runs past it stays within the period.
    midnight = datetime.combine(today, datetime.max.time(), UTC)
    sandbox = Sandbox(
        seed=sizes.seed,
        calls=sizes.records,
        today=today,
        days=DAYS,
        clock=lambda: min(datetime.now(UTC), midnight),
        webhook_url=webhook_url,
        webhook_auth=auth,
        console=True,
    )
    print_status(f"Seed {sizes.seed}. The sandbox injects faults; the client handles all of them.", quiet=quiet)
    attempts: Counter[str] = Counter()
    with _folder(keep) as folder, Tally(Calendar()) as tally:
        async with _beside(sandbox), _client(sandbox, attempts) as client:
            print_status(f"Watch it at {sandbox.console_url} while it runs.", quiet=quiet)
            faults = script(sandbox, sizes.rooms)
            job = DemoRun(client, sandbox, folder, tally, quiet=quiet)
            received = DemoWebhooks(hooks, sandbox)
            first, last = f"{today - timedelta(days=DAYS - 1)}", f"{today}"
            try:
                rooms = await job.make_rooms(sizes.rooms)
                tokens = await job.issue_tokens(rooms)
                conferences = await job.hold_conferences(rooms, tokens)
                await job.stream_records(first, last)
                files = await job.count_archives(first, last, conferences)
                await job.download(files)
                page = await job.write_report(first, last, keep)
                await received.compare(job.found, conferences)
            except VideoAPIError as error:
                print_status(f"{type(error).__name__}: {error}")
                job.found.check("errors that ended the demo", 1, 0)
            ledger = sandbox.ledger
            api = ledger.requests() - ledger.requests("files.get") - unanswered(faults)
            job.found.check("API requests", attempts["answered"], api)
            job.found.survived = met(faults)
            # The sandbox counts an outage as one fault, but it refuses many attempts.
            job.found.survived[REFUSED] = attempts["refused"]
    draw(job.found, seconds=time.monotonic() - began)
    if page is None:
        print_status("No report was written. It needs the extra `report`: pip install 'videoapi[report]'", quiet=quiet)
    else:
        print_result(f"The month as a page for your browser: {page}")
    return exit_codes.DONE if job.found.agree else exit_codes.FAILED


def _client(sandbox: Sandbox, attempts: Counter[str]) -> VideoClient:
    def count(event: Event) -> None:
        if isinstance(event, AttemptEvent):
            attempts["refused"] += event.verdict == "not_sent"
            # A request that was not answered may have ended in the backlog of a socket that then stopped listening.
            attempts["answered"] += event.status is not None

    return VideoClient(
        sandbox.app_id,
        sandbox.app_key,
        sandbox.base_url,
        recording_auth=sandbox.recording_auth,
        # No proxy sits in front of the sandbox, so nothing can delay a request for long.
        settle=1.0,
        # The demo meets more faults in seconds than production does in weeks.
        retry=RetryPolicy(attempts=6),
        listeners=[count],
    )


@contextlib.asynccontextmanager
async def _beside(sandbox: Sandbox) -> AsyncGenerator[None, None]:
    """Run the sandbox in its own thread, without blocking this loop while it starts and stops."""
    running = sandbox.in_thread()
    await asyncio.to_thread(running.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


@contextlib.contextmanager
def _folder(keep: Path | None) -> Generator[Path, None, None]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="videoapi-demo-") as folder:
        yield Path(folder)
