"""A bulk run of the command line: reads a file of inputs, writes a file of outcomes and a report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

import attrs

from videoapi.bulk import BulkOutcome, BulkReport
from videoapi.cli import exit_codes
from videoapi.cli.attempts import AttemptLog
from videoapi.cli.inputs import InputFile, InputLine
from videoapi.cli.outcomes import OutcomeFile
from videoapi.cli.progress import Show, display
from videoapi.cli.room_lines import in_columns
from videoapi.cli.spreadsheet import BadInput
from videoapi.cli.summary import BulkOptions, Summary, words
from videoapi.cli.terminal import print_status
from videoapi.errors import ValidationError, VideoAPIError

T = TypeVar("T")


class Run(Protocol):
    """A run that yields outcomes as they finish, as `BulkRun` does."""

    report: BulkReport

    async def __aenter__(self) -> AsyncIterable[BulkOutcome]: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


_TICK: Final = 0.5


async def run_bulk(
    options: BulkOptions,
    given: InputFile[T],
    attempts: AttemptLog,
    start: Callable[[AsyncIterator[T]], Run],
    *,
    what: str = "rooms",
) -> int:
    """Run all inputs, write each outcome as it arrives, and return the exit code.

    If cancelled, sends nothing more, waits for the requests in flight and writes their outcomes too.

    Args:
        options: The output options.
        given: The inputs.
        attempts: A listener of the client.
        start: Starts the run from an iterator of the valid inputs.
        what: What the progress counts.
    """
    began = time.monotonic()
    with closing(given.lines), attempts.logged(), OutcomeFile(options.out) as file:
        for path in file.kept_as:
            print_status(f"The outcomes of an earlier run are kept in {path}", quiet=options.quiet)
        summary = Summary(options, given, file)
        try:
            with display(what, total=given.total, quiet=options.quiet) as show:
                writer = OutcomeWriter(file, given.lines, attempts, summary)
                run = start(writer.inputs())
                summary.report = run.report
                async with _progress(show, writer, run.report):
                    try:
                        async with run as outcomes:
                            async for outcome in outcomes:
                                writer.enter(outcome)
                    finally:
                        writer.enter_rest(run.report)
        except asyncio.CancelledError:
            summary.stopped = "Interrupted"
            raise
        except BadInput as error:
            summary.stopped = f"Stopped before the end: {error}"
            summary.to_continue = f"Correct the file first. {options.to_continue}"
        except VideoAPIError as error:
            if error is not summary.report.stopped:
                # If nothing was done, the error says it all.
                summary.stopped = "Stopped by an error" if file.total > file.counts["not_sent"] else None
                raise
        finally:
            summary.warnings, summary.throttled = attempts.warnings, attempts.throttled()
            if file.total:
                # Before the summary, which names it.
                file.finish()
            summary.tell(time.monotonic() - began)
            has_ids = summary.write_ids()
    if file.error is not None:
        raise file.error
    code = exit_codes.of_run(
        file.counts, summary.report.stopped, exhausted=summary.report.exhausted, exact=summary.exact
    )
    return code if code or has_ids else exit_codes.FAILED


class OutcomeWriter:
    """A writer of one outcome per input, which also feeds the valid inputs to the run.

    The run numbers only the inputs it receives, and invalid lines are not among them; so each input
    in flight is kept under the run's number.
    """

    def __init__(
        self, file: OutcomeFile, lines: Iterator[InputLine[Any]], attempts: AttemptLog, summary: Summary
    ) -> None:
        self.file = file
        self.attempts = attempts
        self._lines = lines
        self._summary = summary
        self._out: dict[int, InputLine[Any]] = {}

    async def inputs(self) -> AsyncIterator[Any]:
        """Yield the valid inputs; write a failure for each of the others."""
        sent = 0
        for line in self._lines:
            if line.error is not None:
                outcome = BulkOutcome(index=line.index, key=line.key, status="failed", error=line.error)
                self.file.enter(outcome, line.index, line.number, line.title)
                # Ten thousand invalid lines must not keep Ctrl-C from being noticed.
                await asyncio.sleep(0)
                continue
            self._out[sent] = line
            sent += 1
            yield line.given

    def enter(self, outcome: BulkOutcome) -> None:
        """Write an outcome under the line of its input."""
        line = self._out.pop(outcome.index)
        # The run has keys of its own for tokens; those of the file may occur twice there.
        error = outcome.error
        if isinstance(error, ValidationError):
            error = in_columns(error, line.columns)
        # Only the create of a room has a reference.
        earlier = outcome.reference is not None and not self.attempts.forget(outcome.reference)
        self._summary.note(outcome, line.given, earlier=earlier)
        # Last, because it fails on a full disk, and the summary still counts the outcome.
        self.file.enter(attrs.evolve(outcome, key=line.key, error=error), line.index, line.number, line.title)

    def enter_rest(self, report: BulkReport) -> None:
        """Write the outcomes that remain in the report of a run that stopped early; on a full disk, count them."""
        for rows in (report.made, report.failures, report.unknown, report.not_sent):
            for outcome in rows:
                # The file keeps its error.
                with suppress(OSError):
                    self.enter(outcome)


def settle_wait(report: BulkReport, now: float) -> str:
    """Return what a run in its settle wait waits for; empty for any other run.

    Args:
        report: The report of the run.
        now: The event loop's time.
    """
    if report.settles_at is None:
        return ""
    wait = f"waiting {max(0.0, report.settles_at - now):.0f} s for proof (settle time)"
    if not report.in_doubt:
        # Rooms of an earlier run are looked for before the first outcome.
        what = "checking the list of rooms" if report.total else "looking for rooms of an earlier run"
        return f"{what}: {wait}"
    creates = "1 create" if report.in_doubt == 1 else f"{report.in_doubt:,} creates"
    return f"{creates} in doubt: {wait}"


@asynccontextmanager
async def _progress(show: Show, writer: OutcomeWriter, report: BulkReport) -> AsyncGenerator[None, None]:
    """Show the progress of a run twice per second, also while nothing happens."""
    work = asyncio.current_task()

    def done() -> tuple[int, str]:
        counts = writer.file.counts
        # After Ctrl-C, the inputs that were not sent do not fill the bar.
        return counts.total() - counts["not_sent"] + writer.attempts.unreported(), words(counts, but="created")

    def waits() -> str:
        if work is not None and work.cancelling():
            return "stopping: waiting for the requests in flight"
        return settle_wait(report, asyncio.get_running_loop().time()) or writer.attempts.waits()

    async def tick() -> None:
        while True:
            show(*done(), waits())
            await asyncio.sleep(_TICK)

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()
        show(*done())
