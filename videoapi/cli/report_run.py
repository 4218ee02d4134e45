"""The run of `videoapi report`: reads call records and archives, adds them up, and writes the page."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Final, TypeVar

import attrs
import click

from videoapi.arrow.periods import LATE_DAYS
from videoapi.cli import exit_codes
from videoapi.cli.client_options import ClientOptions
from videoapi.cli.progress import display
from videoapi.cli.queries import ReportQuery
from videoapi.cli.terminal import counted, for_people, print_json, print_result, print_status
from videoapi.errors import PermissionDenied
from videoapi.files import FileTaken, PartFile
from videoapi.models.cdr import CallRecord
from videoapi.report import sources
from videoapi.report.calendar import Calendar, ReportPeriod, parse_zone
from videoapi.report.coverage import Coverage, coverage_of, open_days
from videoapi.report.notices import notices_of
from videoapi.report.page import render, require_plotly
from videoapi.report.recordings import Recordings
from videoapi.report.rows import row_of
from videoapi.report.selection import Limits, Selection
from videoapi.report.summary import SERVICE, MissingDays, UsageSummary, groups_of, summarize
from videoapi.report.tally import Tally
from videoapi.streaming import RecordStream
from videoapi.streaming.windows import since_of

R = TypeVar("R")
STDOUT: Final = "-"
_USUAL: Final = ("owner_ref", "room")
_PAGE_TOP: Final = 20
_AT_ONCE: Final = 500
_PAGE_MOST: Final = 500


@attrs.frozen(kw_only=True)
class ReportOptions:
    """The options of a report.

    Args:
        periods: The period, or the first and the last one; empty for all records.
        source: The export to read, or None for the service.
        archives: The export of archives, or None.
        out: The page to write, `-` for stdout, or None for a name of the period.
        overwrite: Whether an existing page may be replaced.
        timezone: The time zone of days and hours.
        groups: What to show first.
        top: How many entries of a group to list, or None for 20 in the page and all in the figures.
        room_id: Only this room's, or None.
        conf_num: Only this session's, or None.
        timeout: Seconds to wait for the service, or None.
        as_json: Whether to print the figures.
        quiet: Whether to print no progress and no summary.
    """

    periods: tuple[str, ...]
    source: Path | None
    archives: Path | None
    out: str | None
    overwrite: bool
    timezone: str
    groups: tuple[str, ...]
    top: int | None
    room_id: str | None
    conf_num: str | None
    timeout: float | None
    as_json: bool
    quiet: bool

    @property
    def with_page(self) -> bool:
        """Whether to write a page."""
        return self.out is not None or not self.as_json

    @property
    def shown(self) -> tuple[str, ...]:
        """The groups to list."""
        return tuple(name for name in dict.fromkeys((*self.groups, *_USUAL)) if name != "day")

    @property
    def scope(self) -> str:
        """The limit of the report in words; empty for none."""
        limits = (("room", self.room_id), ("session", self.conf_num))
        return " and ".join(f"{name} {value}" for name, value in limits if value is not None)


@attrs.define
class Reading:
    """What is read for a report, so far."""

    tally: Tally
    selection: Selection
    limited: ReportOptions
    unread: sources.Unread
    recordings: Recordings | None = None
    archives_refused: str = ""


async def write_report(access: ClientOptions, options: ReportOptions) -> int:
    """Write a report, and return the exit code."""
    began = time.monotonic()
    calendar = Calendar(parse_zone(options.timezone))
    period = ReportPeriod.parse(*options.periods) if options.periods else None
    asked = now(calendar.zone)
    today = asked.date()
    if period is not None and options.source is None and period.first > today:
        raise click.UsageError(f"{period} is in the future: today is {today} ({options.timezone})")
    if options.with_page:
        require_plotly()
    if options.out == STDOUT and options.as_json:
        raise click.UsageError("--json and a page on stdout: give one of them")
    if options.with_page and (options.top or 0) > _PAGE_MOST:
        raise click.UsageError(
            f"--top {options.top}: a page lists at most {_PAGE_MOST} entries per group. --json prints all."
        )
    found = await asyncio.to_thread(_coverages, options)
    limited = _limited(options, found)
    _check_limits(limited, found)
    with _page_file(options, period) as page, Tally(calendar) as tally:
        selection = Selection(calendar, period, _limits(options, None if options.source is None else found["cdr"]))
        reading = Reading(tally, selection, limited, unread=sources.Unread(has=selection.has))
        if options.source is not None:
            await _read_export(options.source, options, reading, found)
            _note_unread(reading, options, found)
            source = f"the export {_base_name(options.source)}"
        else:
            source = await _read_service(access, options, reading)
        summary = await asyncio.to_thread(_summarize, reading, options, source)
        summary = _with_coverage(summary, options, found, asked)
        summary = attrs.evolve(summary, as_of=_as_of(summary, options, found, asked))
        if page is not None or options.out == STDOUT:
            lead = options.groups[0] if options.groups else None
            shown = attrs.evolve(summary, groups=groups_of(tally, options.shown, options.top or _PAGE_TOP))
            text = render(shown, made=now(calendar.zone), lead=lead).encode(errors="replace")
            if page is None:
                _to_stdout(text)
            else:
                page.write(text)
                _finish(page)
    if options.as_json:
        print_json(summary.to_dict())
    elif page is not None:
        print_result(str(page.path))
    _tell(summary, options, time.monotonic() - began)
    return exit_codes.DONE if summary.is_complete else exit_codes.REJECTED


def now(zone: tzinfo) -> datetime:
    """Return the current time in a time zone."""
    return datetime.now(zone)


async def _read_export(path: Path, options: ReportOptions, reading: Reading, found: Mapping[str, Coverage]) -> None:
    read = 0
    with display("records", quiet=options.quiet) as show, closing(sources.call_rows(path, reading.unread)) as blocks:
        for block in blocks:
            reading.tally.add(reading.selection.of(block), reading.unread.times)
            read += len(block)
            show(read)
            # So that a signal ends the command.
            await asyncio.sleep(0)
    if options.archives is not None:
        reading.recordings = recordings = Recordings(reading.selection.calendar)
        limits = _limits(reading.limited, found["archives"])
        with closing(sources.archives(options.archives, reading.unread)) as archives:
            for nth, archive in enumerate(archives):
                if nth % _AT_ONCE == 0:
                    await asyncio.sleep(0)
                if (known := limits.has(archive.room_id, archive.conf_num)) is not False:
                    recordings.add([archive], *_bounds(reading.selection.period), is_known=known)


def _note_unread(reading: Reading, options: ReportOptions, found: Mapping[str, Coverage]) -> None:
    """Count what the exports say that they could not read, unless it is known not to belong to the report."""
    selection, unread = reading.selection, reading.unread

    def belongs(span: tuple[date, date] | None, has: Coverage) -> bool | None:
        # Records without a readable date always count.
        period = None if span is None else selection.period
        known = True if period is None or span is None else period.contains(span, selection.calendar.zone)
        is_scope = _limits(reading.limited, has).has(None, None)
        return known if known is False or is_scope else None

    if unread.records and not all(belongs(has.span, has) for has in found.values()):
        unread.uncertain.add("unreadable")
    for kind, path in (("cdr", options.source), ("archives", options.archives)):
        if path is None:
            continue
        # A copy of the export may lack the list of what could not be read, or the note that counts it.
        has, rejected = found[kind], sources.rejected_of(path, found[kind].span[1])
        rejected[has.span] += max(0, has.rejected - rejected.total())
        for span, count in rejected.items():
            known = belongs(span, has)
            if count and known is not False:
                unread.records += count
                unread.uncertain.update(() if known else ("unreadable",))
    if options.source is not None and sources.is_parquet(options.source):
        # What could not be read when it was exported is null.
        for part, odd in found["cdr"].odd:
            known = belongs(part, found["cdr"])
            if odd and known is not False:
                unread.note_all(odd)
                unread.uncertain.update(() if known else ("unreadable_values",))


async def _read_service(access: ClientOptions, options: ReportOptions, reading: Reading) -> str:
    period, calendar = reading.selection.period, reading.selection.calendar
    days = period.in_utc(calendar.zone) if period is not None else None
    first, last = (None, None) if days is None else (f"{days.first}", f"{days.last}")
    query = ReportQuery(first, last, options.room_id, options.conf_num).checked()
    async with access.client() as client:
        stream = query.stream(client.cdr, timeout=options.timeout)
        stream._count_unreadable(lambda record: reading.unread.counts(row_of(record)))
        with display("records", quiet=options.quiet) as show:

            def add(records: list[CallRecord]) -> None:
                reading.tally.add(reading.selection.of(map(row_of, records)))

            async for read in add_stream(reading.tally, stream, add):
                show(read)
        reading.unread.records += stream.rejected_count
        if period is not None and days is not None and not period.contains((days.first, days.last), calendar.zone):
            reading.unread.uncertain.add("unreadable")
        reading.unread.note_all(stream.odd)
        reading.unread.fields = stream.odd.total()
        # The days in UTC that contain those of the period contain others, too.
        reading.selection.outside = 0
        recordings = Recordings(calendar)
        found = query.stream(client.archives, timeout=options.timeout)
        try:
            with display("archives", quiet=options.quiet) as show:
                async for _ in add_stream(recordings, found, lambda some: recordings.add(some, *_bounds(period))):
                    show(recordings.archives)
        except PermissionDenied as error:
            # The call records are still worth a report.
            reading.archives_refused = for_people(error)
            return SERVICE
        reading.recordings = recordings
        reading.unread.records += found.rejected_count
    return SERVICE


async def add_stream(
    sums: Tally | Recordings, stream: RecordStream[R], add: Callable[[list[R]], None]
) -> AsyncGenerator[int, None]:
    """Add the records of a stream, each once; yield how many were read.

    Args:
        sums: What they are added to.
        stream: The records. If a window is read again with other records, what was added of it is forgotten.
        add: Adds some of them.
    """
    window: str | None = None
    restarts = read = marked = 0
    async with stream as records:
        async for chunk in records._chunks():
            some = list(chunk)
            if (restarted := records.restarted_windows[restarts:]) and window == since_of(restarted[-1]):
                sums.rewind()
                read = marked
            restarts += len(restarted)
            if not some:
                continue
            if (entered := records.cursor.since) != window:
                sums.mark()
                window, marked = entered, read
            add(some)
            read += len(some)
            yield read


def _summarize(reading: Reading, options: ReportOptions, source: str) -> UsageSummary:
    return summarize(
        reading.tally,
        period=reading.selection.period,
        timezone=options.timezone,
        source=source,
        scope=reading.limited.scope,
        groups=options.shown,
        top=options.top,
        recordings=reading.recordings,
        archives_refused=reading.archives_refused,
        unreadable=reading.unread.records,
        unreadable_values=reading.unread.values,
        odd_fields=reading.unread.fields,
        outside=reading.selection.outside,
        unknown_scope=reading.selection.unknown,
        uncertain=frozenset(reading.unread.uncertain),
    )


def _coverages(options: ReportOptions) -> dict[str, Coverage]:
    """Return what the exports say about themselves, by what their records are."""
    given = {"cdr": options.source, "archives": options.archives}
    return {kind: coverage_of(path, kind) for kind, path in given.items() if path is not None}


def _with_coverage(
    summary: UsageSummary, options: ReportOptions, found: Mapping[str, Coverage], began: datetime
) -> UsageSummary:
    """Return the summary with the days that its source lacks, or may lack.

    Args:
        summary: The figures.
        options: The options.
        found: What the exports say about themselves.
        began: When the report began, in its time zone: the source may lack what came later.
    """
    zone, today = parse_zone(options.timezone), began.astimezone(UTC).date()
    asked = summary.period.in_utc(zone) if summary.period is not None and options.periods else None
    partial = tuple(kind for kind, one in found.items() if one.is_partial and not one.has_all(asked))
    summary = attrs.evolve(
        summary,
        partial=partial,
        unstated=tuple(kind for kind, one in found.items() if one.days is None),
        changed=tuple(kind for kind, one in found.items() if one.is_changed),
    )
    # Without a period, an export is one of all of its days, whether they have records or not.
    lasting = () if options.periods else [span for one in found.values() for span in one.bounded_unfinished()]
    if summary.period is None:
        untimed = tuple(kind for kind, one in found.items() if one.undated)
        return attrs.evolve(summary, untimed=untimed, unfinished=_around(lasting))
    period, days = summary.period, summary.period.in_utc(zone)
    rest = period.unfinished(began.date())
    future = frozenset[date]() if rest is None else frozenset(rest.days())
    if options.source is None:
        opened = open_days(days, today - timedelta(LATE_DAYS))
        gaps_of_live = summary.with_gaps(future, future, future)
        return attrs.evolve(gaps_of_live, days_in_utc=days, open_days=opened, unfinished=rest)
    future = future.union(*(period.overlapping(one.unfinished, zone) for one in found.values()))
    gaps = {kind: future | period.overlapping(one.gaps(days), zone) for kind, one in found.items()}
    lacking = future | (period.overlapping(found["cdr"].missing(days), zone))
    every = ReportPeriod(days.first, max((days.last, *(last for _, last in lasting))))
    late = [
        opened
        for coverage in found.values()
        if (options.periods or coverage.open_from) and (opened := coverage.open_days(every, today)) is not None
    ]
    return attrs.evolve(
        summary.with_gaps(gaps["cdr"], gaps.get("archives", ()), lacking),
        days_in_utc=days,
        untimed=tuple(kind for kind, one in found.items() if days.has_any(one.undated)),
        unfinished=_around([*((day, day) for day in future), *lasting]),
        missing=tuple(MissingDays(kind, *span) for kind, one in found.items() for span in one.missing(days)),
        open_days=ReportPeriod(min(one.first for one in late), max(one.last for one in late)) if late else None,
    )


def _as_of(
    summary: UsageSummary, options: ReportOptions, found: Mapping[str, Coverage], asked: datetime
) -> tuple[datetime, datetime] | None:
    """Return the first and the last time at which the records of the period were exported, or requested."""
    if options.source is None:
        return asked.astimezone(UTC), asked.astimezone(UTC)
    days = summary.days_in_utc
    known = days is not None and not (summary.unstated or summary.untimed)
    times = [when for one in found.values() for when in one.exported_at(days)] if known and days is not None else []
    return (min(times), max(times)) if times else None


def _around(spans: Collection[tuple[date, date]]) -> ReportPeriod | None:
    """Return the period from the first to the last day of spans; None without any."""
    return ReportPeriod(min(first for first, _ in spans), max(last for _, last in spans)) if spans else None


def _limited(options: ReportOptions, found: Mapping[str, Coverage]) -> ReportOptions:
    """Return the options with the room or the session to which the export of the call records is limited."""
    calls = found.get("cdr", Coverage())
    return attrs.evolve(options, room_id=options.room_id or calls.room_id, conf_num=options.conf_num or calls.conf_num)


def _check_limits(asked: ReportOptions, found: Mapping[str, Coverage]) -> None:
    """Refuse exports that have less than the report is about, or that are of two accounts.

    Raises:
        click.UsageError: If there is one.
    """
    accounts = [one.account for one in found.values() if one.account is not None]
    if len(set(accounts)) > 1:
        theirs = " and ".join(" at ".join(account) for account in accounts)
        raise click.UsageError(
            f"{asked.source} and {asked.archives} are exports of two accounts: {theirs}. Give exports of one account."
        )
    for kind, has in found.items():
        path = asked.source if kind == "cdr" else asked.archives
        for what, option, one, wanted in (
            ("room", "--room", has.room_id, asked.room_id),
            ("session", "--conference", has.conf_num, asked.conf_num),
        ):
            if one is not None and one != wanted:
                about = f"{what} {wanted}" if wanted is not None else f"more than one {what}"
                raise click.UsageError(
                    f"{path} has only {what} {one}, and the report is of {about}. "
                    f"Give {option} {one}, or another export."
                )


def _limits(options: ReportOptions, source: Coverage | None) -> Limits:
    """Return the room and the session of a report, and of its source: an export, or the request to the service."""
    only = options if source is None else source
    return Limits(options.room_id, options.conf_num, only.room_id, only.conf_num)


def _bounds(period: ReportPeriod | None) -> tuple[int, int]:
    return (0, 1 << 32) if period is None else (period.first.toordinal(), period.last.toordinal())


@contextmanager
def _page_file(options: ReportOptions, period: ReportPeriod | None) -> Generator[PartFile | None, None, None]:
    """Open the page to write, before anything is read."""
    if not options.with_page or options.out == STDOUT:
        yield None
        return
    path = Path(options.out or f"{_name(options, period)}.html")
    if not path.parent.is_dir():
        raise click.UsageError(f"no such folder: {path.parent}")
    page = PartFile(path.parent, path.name, overwrite=options.overwrite, is_temporary=True)
    try:
        try:
            page.open()
        except FileTaken as taken:
            raise _taken(taken) from None
        yield page
    finally:
        page.discard()
        page.close()


def _finish(page: PartFile) -> None:
    try:
        page.finish()
    except FileTaken as taken:
        raise _taken(taken) from None


def _taken(taken: FileTaken) -> click.UsageError:
    advice = {
        "exists": "exists. To replace it, give --overwrite; or give another OUT.",
        "directory": "is a directory. Give another OUT.",
        "link": "is a link, or not a file of yours. Move it away, or give another OUT.",
    }
    return click.UsageError(f"{taken.path} {advice[taken.reason]}")


def _name(options: ReportOptions, period: ReportPeriod | None) -> str:
    parts = [f"{period}".replace(" ", "-")] if period is not None else []
    if options.source is not None and not parts:
        parts.append(_base_name(options.source).split(".")[0])
    parts += [value for value in (options.room_id, options.conf_num) if value is not None]
    return "-".join(["usage", *(part.replace("/", "_") for part in parts)])


def _base_name(export: Path) -> str:
    """Return the name of an export; of `.` and `..`, that of the folder."""
    return export.name if export.name not in ("", "..") else export.resolve().name


def _to_stdout(text: bytes) -> None:
    if sys.stdout is not None:
        try:
            sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()
        except OSError as error:
            error.filename = "stdout"
            raise


def _tell(summary: UsageSummary, options: ReportOptions, seconds: float) -> None:
    total = summary.total
    print_status(
        f"{counted(total.records, 'record', 'records')}, {counted(total.sessions or 0, 'session', 'sessions')}, "
        f"{counted(round(total.participant_minutes), 'participant minute', 'participant minutes')}, "
        f"in {seconds:.1f} s.",
        quiet=options.quiet,
    )
    if not total.records:
        period = f" of {summary.period}" if options.periods else ""
        print_status(f"{summary.source[:1].upper()}{summary.source[1:]} has no call records{period}.")
    for notice in notices_of(summary):
        print_status(notice)
