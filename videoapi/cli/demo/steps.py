"""The demo's steps: each runs one part of the workflow, and compares it with the ledger."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
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
from videoapi.sandbox import Sandbox
from videoapi.sandbox.files import content
from videoapi.sandbox.record_templates import file_names
from videoapi.sandbox.records import RecordQuery

TOKENS_A_ROOM: Final = 2
LIVE: Final = 4
PAST: Final = 8


class DemoRun:
    """The demo's workflow, whose steps share a client, a sandbox and the results."""

    def __init__(self, client: VideoClient, sandbox: Sandbox, folder: Path, *, quiet: bool) -> None:
        self._client = client
        self._sandbox = sandbox
        self._folder = folder
        self._quiet = quiet
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
            async with self._client.cdr.by_period(first, last) as stream:
                async for record in stream:
                    read += 1
                    done(read)
                    if (day := utc_day(record.trans_date)) is not None:
                        found.calls[day] += 1
                        found.minutes[day] += (record.sigserver.duration or 0) / 60
            rejected = stream.rejected_count
        found.check("call records streamed", read, sum(per_day.values()))
        same = sum(found.calls[day] == count for day, count in per_day.items())
        found.check("days with the right number", same, len(per_day))
        found.check("call records not readable", rejected, 0)

    async def count_archives(self, first: str, last: str, conferences: Sequence[str]) -> list[ArchiveFile]:
        """Count the month's archives; return the files of the conferences held by the demo."""
        history, files = self._sandbox.history, list[ArchiveFile]()
        read = expected = 0
        async with self._client.archives.by_period(first, last) as stream:
            async for _ in stream:
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
        self.found.check("recordings right to the last byte", right, media)

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
