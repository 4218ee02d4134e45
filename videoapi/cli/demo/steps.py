"""The demo's steps: each runs one part of the workflow, and compares it with the ledger."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from videoapi.bulk import BulkReport
from videoapi.cli.demo.results import DemoResults, DemoStep
from videoapi.cli.progress import display
from videoapi.cli.summary import words
from videoapi.client import VideoClient
from videoapi.models.archives import ArchiveFile
from videoapi.models.rooms import RoomSpec
from videoapi.models.settings import RoomSettings
from videoapi.models.times import utc_day
from videoapi.models.tokens import Token, TokenSpec
from videoapi.report.calendar import ReportPeriod
from videoapi.report.page import render
from videoapi.report.recordings import Recordings
from videoapi.report.rows import UsageRow, row_of
from videoapi.report.summary import summarize
from videoapi.report.tally import Tally
from videoapi.sandbox import Sandbox
from videoapi.sandbox.files import content
from videoapi.sandbox.record_templates import file_names
from videoapi.sandbox.records import RecordQuery

TOKENS_A_ROOM: Final = 2
LIVE: Final = 4
PAST: Final = 8
_ROWS: Final = 1_000


class DemoRun:
    """The demo's workflow, whose steps share a client, a sandbox and the results."""

    def __init__(self, client: VideoClient, sandbox: Sandbox, folder: Path, tally: Tally, *, quiet: bool) -> None:
        self._client = client
        self._sandbox = sandbox
        self._folder = folder
        self._quiet = quiet
        self._tally = tally
        self._recordings = Recordings()
        self.found: DemoResults = DemoResults()

    async def make_rooms(self, count: int) -> list[str]:
        """Create the rooms; return their IDs."""
        with self._step("rooms", count) as done:
            specs = (
                RoomSpec(
                    name=f"Room {place + 1}",
                    owner_ref=f"team-{place % 40}",
                    settings=RoomSettings(participants=10, auto_recording=place % 2 == 0),
                    key=place,
                )
                for place in range(count)
            )
            report = await self._client.rooms.create_many(specs, progress=_following(done))
        self._told(report)
        ledger = self._sandbox.ledger
        ids = [outcome.room_id for outcome in report.made if outcome.room_id is not None]
        self.found.check("rooms created", len(ids), ledger.count("rooms.create"))
        self.found.check("rooms unknown or not created", len(report.unknown) + len(report.failures), 0)
        self.found.check("rooms created twice", len(ids) - len(set(ids)), len(ledger.duplicates()))
        self.found.check("rooms known by their ID", len(ledger.rooms.keys() & set(ids)), len(ledger.rooms))
        listed = [room.room_id async for room in self._client.rooms.list()]
        self.found.check("rooms listed", len(listed), len(ledger.rooms))
        return ids

    async def issue_tokens(self, room_ids: Sequence[str]) -> list[Token]:
        """Issue two tokens per room; return them in order."""
        with self._step("tokens", TOKENS_A_ROOM * len(room_ids)) as done:
            specs = (
                TokenSpec(room_id, f"User {place}", role, f"u-{place}")
                for place, room_id in enumerate(room_ids)
                for role in ("moderator", "participant")
            )
            report = await self._client.tokens.create_many(specs, progress=_following(done))
        self._told(report)
        self.found.check("tokens issued", len(report.made), len(self._sandbox.ledger.tokens))
        return [outcome.token for outcome in report.made]

    async def hold_conferences(self, room_ids: Sequence[str], tokens: Sequence[Token]) -> list[str]:
        """Hold a few conferences, some with users who join and leave; return their numbers."""
        held: list[str] = []
        seen = inside = 0
        with self._step("conferences", min(LIVE, len(room_ids)) + min(PAST, len(room_ids))) as done:
            for place, room_id in enumerate(room_ids[:LIVE]):
                users = tokens[place * TOKENS_A_ROOM : (place + 1) * TOKENS_A_ROOM]
                conf_nums = {self._sandbox.join(token.value) for token in users}
                held += conf_nums
                inside += len(users)
                seen += len(await self._client.rooms.users(room_id))
                for token in users:
                    self._sandbox.leave(token.value)
                done(len(held))
            for room_id in room_ids[-PAST:]:
                held.append(self._sandbox.conference(room_id, users=3, minutes=0.5, recorded=True))
                done(len(held))
        self.found.check("users seen in their rooms", seen, inside)
        return held

    async def stream_records(self, first: str, last: str) -> None:
        """Stream the month's call records, and count them per day."""
        history, found = self._sandbox.history, self.found
        per_day = history.per_day()
        with self._step("records", sum(per_day.values())) as done:
            read = 0
            rows: list[UsageRow] = []
            async with self._client.cdr.by_period(first, last) as stream:
                async for record in stream:
                    read += 1
                    done(read)
                    rows.append(row_of(record))
                    if len(rows) >= _ROWS:
                        self._tally.add(rows)
                        rows = []
                    if (day := utc_day(record.trans_date)) is not None:
                        found.calls[day] += 1
                        found.minutes[day] += (record.sigserver.duration or 0) / 60
            rejected = stream.rejected_count
            self._tally.add(rows)
        found.check("call records streamed", read, sum(per_day.values()))
        same = sum(found.calls[day] == count for day, count in per_day.items())
        found.check("days with the right number", same, len(per_day))
        found.check("call records not readable", rejected, 0)

    async def count_archives(self, first: str, last: str, conferences: Sequence[str]) -> list[ArchiveFile]:
        """Count the month's archives; return the files of the conferences held by the demo."""
        history, files = self._sandbox.history, list[ArchiveFile]()
        read = expected = 0
        async with self._client.archives.by_period(first, last) as stream:
            async for archive in stream:
                self._recordings.add([archive])
                read += 1
        total = history.recordings(RecordQuery(), "ascending").size
        self.found.check("archives streamed", read, total)
        for conf_num in conferences:
            async for archive in self._client.archives.by_conference(conf_num):
                files += archive.files
            item = history.item(conf_num)
            expected += len(file_names(item)) if item is not None else 0
        self.found.check("files in our archives", len(files), expected)
        return files

    async def write_report(self, first: str, last: str, folder: Path | None) -> Path | None:
        """Write the month's usage as a page, and compare its figures; return its path, or None without plotly.

        Args:
            first: The first day.
            last: The last day.
            folder: Where to write it; by default a new folder below that of temporary files.
        """
        if find_spec("plotly") is None:
            return None
        with self._step("report", 1) as done:
            path = await asyncio.to_thread(self._write_page, ReportPeriod.parse(first, last), folder)
            done(1)
        total = self._tally.usage.total
        query = RecordQuery(date.fromisoformat(first), date.fromisoformat(last) + timedelta(days=1))
        sessions = {row.conf_num for row in self._sandbox.history.calls(query, "ascending")}
        self.found.check("sessions in the report", total.sessions, len(sessions))
        minutes = round(sum(self.found.minutes.values()))
        self.found.check("participant minutes in the report", round(total.user_ms / 60_000), minutes)
        return path

    def _write_page(self, period: ReportPeriod, folder: Path | None) -> Path:
        source = "the sandbox of the demo"
        summary = summarize(self._tally, period=period, timezone="UTC", source=source, recordings=self._recordings)
        page = render(summary, made=datetime.now(UTC))
        path = (folder or Path(tempfile.mkdtemp(prefix="videoapi-report-"))) / f"usage-{period.last}.html"
        path.write_text(page, encoding="utf-8", errors="replace")
        return path

    async def download(self, files: Sequence[ArchiveFile]) -> None:
        """Download the files, and compare recordings byte for byte with those of the sandbox."""
        whole = right = size = media = 0
        began = time.monotonic()
        with self._step("files", len(files)) as done:
            for file in files:
                to = f"{self._folder / (file.conf_num or 'session')}/"
                path = await self._client.archives.download(file, to=to)
                whole += path.is_file()
                size += path.stat().st_size
                if file.kind in ("recording", "transcoded"):
                    media += 1
                    right += _is_right(path, file)
                done(whole, f"{size / 1e6:,.1f} MB")
        self.found.steps.append(DemoStep("downloaded", round(size / 1e6), "MB", time.monotonic() - began))
        self.found.check("files downloaded", whole, len(files))
        self.found.check("recordings identical to the last byte", right, media)

    @contextmanager
    def _step(self, what: str, total: int) -> Generator[Any, None, None]:
        began = time.monotonic()
        with display(what, total=total, quiet=self._quiet) as show:
            yield show
        self.found.steps.append(DemoStep(what, total, what, time.monotonic() - began))

    def _told(self, report: BulkReport) -> None:
        # Every outcome should be "created"; report any other one.
        for status in ("failed", "unknown", "not_sent"):
            if report.counts[status]:
                self.found.check(f"{report.total:,} sent, {status.replace('_', ' ')}", report.counts[status], 0)


def _following(show: Any) -> Any:
    return lambda report: show(report.total, words(report.counts, but="created"))


def _is_right(path: Path, file: ArchiveFile) -> bool:
    whole = path.read_bytes()
    return whole == b"".join(content(urlsplit(file.url).path, 0, len(whole)))
