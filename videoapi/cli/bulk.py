"""One bulk run of the command line: a file of inputs in, a file of outcomes and a report out."""

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
    """What was asked for: where outcomes go, and how much is said on the way."""

    out: Path
    as_json: bool
    quiet: bool
    job_id: str | None = None


async def run_bulk(job: BulkOptions, lines: InputLines[T], start: Callable[[Iterator[T]], BulkRun[T]]) -> int:
    """Run all inputs, write each outcome as it comes, and return the exit code.

    Told to stop, it sends nothing more, waits for what is in flight and writes that down too.

    Args:
        job: Where the outcomes go.
        lines: The inputs.
        start: Makes the run from an iterator of inputs that can be sent.
    """
    began = time.monotonic()
    with closing(lines), OutcomeFile(job.out) as file:
        if file.kept_as is not None:
            print_status(f"The outcomes of an earlier run are kept in {file.kept_as}", quiet=job.quiet)
        report = BulkReport()
        try:
            with display("rooms", quiet=job.quiet) as show:
                desk = OutcomeWriter(file, lines, show)
                run = start(desk.inputs())
                report = run.report
                try:
                    async with run as outcomes:
                        async for outcome in outcomes:
                            desk.enter(outcome)
                finally:
                    desk.enter_rest(report)
        finally:
            _tell(job, file, report, time.monotonic() - began)
    return exit_codes.of_run(file.counts, exhausted=report.exhausted)


class OutcomeWriter:
    """Hands out the inputs that can be sent, and enters what becomes of every input.

    The run numbers what it is handed; lines that cannot be sent are missing there, so each input in
    flight is remembered by the run's number.
    """

    def __init__(self, file: OutcomeFile, lines: Iterator[InputLine[Any]], show: Show) -> None:
        self._file = file
        self._lines = lines
        self._show = show
        self._out: dict[int, InputLine[Any]] = {}

    def inputs(self) -> Iterator[Any]:
        """Yield what can be sent; enter what cannot at once."""
        handed = 0
        for line in self._lines:
            if line.error is not None:
                self._write(BulkOutcome(index=line.index, status="failed", error=line.error), line)
                continue
            self._out[handed] = line
            handed += 1
            yield line.given

    def enter(self, outcome: BulkOutcome) -> None:
        """Enter an outcome under its own line."""
        self._write(outcome, self._out.pop(outcome.index))

    def enter_rest(self, report: BulkReport) -> None:
        """Enter what a run that was left early has in its report."""
        for rows in (report.made, report.failures, report.unknown, report.not_sent):
            for outcome in rows:
                self.enter(outcome)

    def _write(self, outcome: BulkOutcome, line: InputLine[Any]) -> None:
        self._file.enter(outcome, line.index, line.number)
        self._show(self._file.total, words(self._file.counts, but="created"))


def words(counts: dict[str, int], *, but: str = "") -> str:
    """Return counts in words, such as `998 created, 2 failed`."""
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
        print_status(
            f"{len(report.duplicates):,} rooms stand there twice; {len(report.removed):,} of them were deleted."
        )
    if report.missing:
        print_status(f"{len(report.missing):,} rooms that were made are gone.")
    done = words(file.counts) or "nothing to do"
    print_status(f"{done}, in {seconds:.1f} s. Outcomes: {file.path}", quiet=job.quiet)
    if job.as_json:
        told = {
            "total": file.total,
            "counts": {status: file.counts[status] for status in _STATUSES if file.counts[status]},
            "exhausted": report.exhausted,
            "stopped": stopped,
            "duplicates": len(report.duplicates),
            "missing": len(report.missing),
            "outcomes": str(file.path),
            "seconds": round(seconds, 3),
        }
        click.echo(json.dumps(told))
