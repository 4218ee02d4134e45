"""A stream that yields a window again, because its records have changed, is added up once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import date
from itertools import count
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from videoapi.cli.report_run import add_stream
from videoapi.models.archives import Archive
from videoapi.models.cdr import CallRecord
from videoapi.report.calendar import Calendar
from videoapi.report.recordings import Recordings
from videoapi.report.rows import row_of
from videoapi.report.summary import summarize
from videoapi.report.tally import Tally
from videoapi.streaming.windows import Window, since_of

WEEKS = tuple(Window(index, date(2026, 1, 1 + 7 * index)) for index in range(4))
AGAIN = "again"
Step = list[int] | str
steps = st.lists(st.lists(st.lists(st.integers(0, 50), max_size=3) | st.just(AGAIN), max_size=5), max_size=4)


class Script:
    """A stream that yields chunks of records, given as seconds, window by window; `again` restarts the window."""

    def __init__(self, windows: list[list[Step]]) -> None:
        self._windows = windows
        self.restarted_windows: tuple[Window, ...] = ()
        self.cursor: Any = None

    async def __aenter__(self) -> Script:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def _chunks(self) -> AsyncIterator[list[CallRecord]]:
        for window, chunks in zip(WEEKS, self._windows, strict=False):
            for chunk in chunks:
                if isinstance(chunk, str):
                    self.restarted_windows = (*self.restarted_windows, window)
                    yield []
                    continue
                if chunk:
                    self.cursor = SimpleNamespace(since=since_of(window))
                yield [CallRecord.from_dict({"sigserver": {"duration": seconds}}) for seconds in chunk]


def left(chunks: list[Step]) -> list[int]:
    """Return the seconds of a window after its last restart."""
    found: list[int] = []
    for chunk in chunks:
        found = [] if isinstance(chunk, str) else [*found, *chunk]
    return found


@given(steps)
@settings(max_examples=60)
def test_each_record_is_added_once(windows: list[list[Step]]) -> None:
    async def total() -> tuple[int, int, float]:
        read = 0
        with Tally(Calendar(), kept=2) as tally:
            async for read in add_stream(tally, Script(windows), lambda some: tally.add(map(row_of, some))):  # type: ignore[arg-type]
                assert read
            summary = summarize(tally, period=None, timezone="UTC", source="")
        return read, summary.total.records, round(60 * summary.total.participant_minutes)

    expected = [seconds for chunks in windows for seconds in left(chunks)]
    read, records, seconds = asyncio.run(total())
    assert (records, seconds) == (len(expected), sum(expected))
    if windows and windows[-1] and not isinstance(windows[-1][-1], str) and windows[-1][-1]:
        assert read == len(expected)


@given(steps)
@settings(max_examples=60)
def test_each_archive_is_added_once(windows: list[list[Step]]) -> None:
    """Each reading has other URLs: that the ID is the same does not say that the archive is."""
    texts = (f"https://example.com/{number}" for number in count())

    def add(some: list[CallRecord]) -> None:
        recordings.add(
            Archive.from_dict(
                {
                    "_id": "a",
                    "trans_date": f"2026-01-{1 + round(one.sigserver.duration or 0) % 28:02d}T10:00:00.000Z",
                    "recording": [{"url": next(texts)}],
                }
            )
            for one in some
            if one.sigserver is not None
        )

    async def run() -> None:
        async for _ in add_stream(recordings, Script(windows), add):  # type: ignore[arg-type]
            pass

    recordings = Recordings()
    asyncio.run(run())
    expected = [seconds for chunks in windows for seconds in left(chunks)]
    assert (recordings.archives, recordings.files["recording"]) == (len(expected), len(expected))
    assert recordings.days == Counter(date(2026, 1, 1 + seconds % 28).toordinal() for seconds in expected)
    assert (recordings.same_id, recordings.repeated) == (max(0, len(expected) - 1), 0)
