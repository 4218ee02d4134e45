"""A bulk run of the command line: reads a file of inputs, writes a file of outcomes and a report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
import click

from videoapi.bulk import BulkOutcome, BulkReport, BulkRun
from videoapi.cli import exit_codes
from videoapi.cli.inputs import InputLine, InputLines
from videoapi.cli.outcomes import OutcomeFile
from videoapi.cli.progress import Show, display
from videoapi.cli.terminal import print_status

T = TypeVar("T")
_STATUSES: Final = ("created", "deleted", "failed", "unknown", "not_sent")


@attrs.frozen(kw_only=True)
class BulkOptions:
    """The output options of a bulk run."""

    out: Path
    as_json: bool
    quiet: bool
    job_id: str | None = None


async def run_bulk(job: BulkOptions, lines: InputLines[T], start: Callable[[Iterator[T]], BulkRun[T]]) -> int:
    """Run all inputs, write each outcome as it arrives, and return the exit code.

    If cancelled, sends nothing more, waits for the requests in flight and writes their outcomes too.

    Args:
        job: The output options.
        lines: The inputs.
        start: Starts the run from an iterator of valid inputs.
    """
    began = time.monotonic()
    with closing(lines), OutcomeFile(job.out) as file:
        if file.kept_as is not None:
            print_status(f"The outcomes of an earlier run are kept in {file.kept_as}", quiet=job.quiet)
        report = BulkReport()
        try:
            with display("rooms", quiet=job.quiet) as show:
                writer = OutcomeWriter(file, lines, show)
                run = start(writer.inputs())
                report = run.report
                try:
                    async with run as outcomes:
                        async for outcome in outcomes:
                            writer.enter(outcome)
                finally:
                    writer.enter_rest(report)
        finally:
            _tell(job, file, report, time.monotonic() - began)
    return exit_codes.of_run(file.counts, exhausted=report.exhausted)


class OutcomeWriter:
    """A writer of one outcome per input, which also feeds the valid inputs to the run.

    The run numbers only the inputs it receives, and invalid lines are not among them; so each input
    in flight is kept under the run's number.
    """

    def __init__(self, file: OutcomeFile, lines: Iterator[InputLine[Any]], show: Show) -> None:
        self._file = file
        self._lines = lines
        self._show = show
        self._out: dict[int, InputLine[Any]] = {}

    def inputs(self) -> Iterator[Any]:
        """Yield the valid inputs; write a failure for each of the others."""
        sent = 0
        for line in self._lines:
            if line.error is not None:
                self._write(BulkOutcome(index=line.index, status="failed", error=line.error), line)
                continue
            self._out[sent] = line
            sent += 1
            yield line.given

    def enter(self, outcome: BulkOutcome) -> None:
        """Write an outcome under the line of its input."""
        self._write(outcome, self._out.pop(outcome.index))

    def enter_rest(self, report: BulkReport) -> None:
        """Write the outcomes that remain in the report of a run that stopped early."""
        for rows in (report.made, report.failures, report.unknown, report.not_sent):
            for outcome in rows:
                self.enter(outcome)

    def _write(self, outcome: BulkOutcome, line: InputLine[Any]) -> None:
        self._file.enter(outcome, line.index, line.number)
        self._show(self._file.total, words(self._file.counts, but="created"))


def words(counts: dict[str, int], *, but: str = "") -> str:
    """Return counts as text, such as `998 created, 2 failed`."""
    return ", ".join(
        f"{counts[status]:,} {status.replace('_', ' ')}" for status in _STATUSES if counts.get(status) and status != but
    )


def _tell(job: BulkOptions, file: OutcomeFile, report: BulkReport, seconds: float) -> None:
    stopped = None if report.stopped is None else str(report.stopped)
    for line in file.shown:
        print_status(line, quiet=job.quiet)
    if report.stopped is not None or not report.exhausted:
        print_status(f"Stopped before the end. {stopped or ''}".rstrip())
        if job.job_id is not None:
            print_status(f"The same command with --job-id {job.job_id} goes on here.")
    if file.counts["unknown"]:
        print_status("Unknown ones may exist: `videoapi rooms resolve REFERENCE` finds out.")
    if report.duplicates:
        print_status(f"{len(report.duplicates):,} rooms exist twice; {len(report.removed):,} of them were deleted.")
    if report.missing:
        print_status(f"{len(report.missing):,} rooms that were created are gone.")
    done = words(file.counts) or "nothing to do"
    print_status(f"{done}, in {seconds:.1f} s. Outcomes: {file.path}", quiet=job.quiet)
    if job.as_json:
        summary = {
            "total": file.total,
            "counts": {status: file.counts[status] for status in _STATUSES if file.counts[status]},
            "exhausted": report.exhausted,
            "stopped": stopped,
            "duplicates": len(report.duplicates),
            "missing": len(report.missing),
            "outcomes": str(file.path),
            "seconds": round(seconds, 3),
        }
        click.echo(json.dumps(summary))
