"""Streams of a service whose row order changes, whose IDs repeat, and whose dates come in many formats.

The multiset of yielded records equals that of the served rows, or the stream says that a window restarts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from videoapi.errors import ConnectionFailed, ProtocolError, ValidationError, VideoAPIError
from videoapi.models.cdr import CallRecord
from videoapi.protocol.outcome import BodyInterrupted
from videoapi.resources.reports import cdr
from videoapi.streaming import RecordStream

if TYPE_CHECKING:
    from .conftest import Piece, Service

START = date(2026, 1, 1)
LOST = BodyInterrupted("the body broke")


@attrs.define
class Ledger:
    """Rows with the days under which a service files them, served in a new order each time, and cut at times."""

    rows: list[tuple[int, Any]]
    inclusive: bool = True
    seed: int = 0
    cuts: list[float] = attrs.field(factory=list)
    shuffled: bool = True
    reads: list[str] = attrs.field(factory=list)

    def __getitem__(self, path: str) -> list[list[Piece]]:
        self.reads.append(path)
        found = [row for day, row in self.rows]
        if "period/" in path:
            first, until = (date.fromisoformat(text) for text in path.rsplit("/", 2)[1:])
            last = until if self.inclusive else until - timedelta(1)
            found = [row for day, row in self.rows if first <= START + timedelta(day) <= last]
        if self.shuffled:
            Random(f"{self.seed} {len(self.reads)}").shuffle(found)
        whole = json.dumps({"result": "0", "cdr": found}).encode()
        if self.cuts and (cut := self.cuts.pop()) < 1:
            return [[whole[: int(len(whole) * cut)], LOST]]
        return [[whole]]

    def wanted(self, last_day: int) -> list[Any]:
        return [row for day, row in self.rows if 0 <= day <= last_day]


def times(day: int, hour: int) -> list[str | int | float | None]:
    when = datetime.combine(START + timedelta(day), datetime.min.time(), UTC) + timedelta(hours=hour)
    seconds = int(when.timestamp())
    return [
        f"{when:%Y-%m-%dT%H:%M:%S.000Z}",
        f"{when:%Y-%m-%dT%H:%M:%S.000Z}  ",
        f" {when:%Y-%m-%d %H:%M:%S}",
        (when + timedelta(hours=5)).replace(tzinfo=None).isoformat() + "+05:00",
        seconds,
        f"{seconds}000",
        seconds * 1000.0,
        f"{when:%d/%m/%Y}",
        None,
    ]


@st.composite
def ledgers(draw: st.DrawFn) -> tuple[Ledger, int]:
    """Return a ledger, and the last day of a period that begins on day 0."""
    last_day = draw(st.integers(0, 16))
    rows: list[tuple[int, Any]] = []
    for n in range(draw(st.integers(0, 25))):
        day = draw(st.integers(-1, last_day + 2))
        kind = draw(st.integers(0, 12))
        # Rows with the same number have the same content.
        row: dict[str, Any] = {"call_num": f"{day}.{n}", "cdr_id": draw(st.sampled_from(["a", "b", f"id{n}", None]))}
        row["trans_date"] = times(day, draw(st.integers(0, 23)))[min(kind, 8)]
        repeats = draw(st.sampled_from([1, 1, 1, 2]))
        rows += [(day, row)] * repeats
    # Rows of different days may be equal.
    for day in draw(st.lists(st.integers(-1, last_day + 2), max_size=6)):
        rows.append((day, draw(st.sampled_from([None, [day], {"call_num": "u", "trans_date": None}]))))
    cuts = draw(st.lists(st.floats(0, 2), max_size=6))
    return Ledger(rows, draw(st.booleans()), draw(st.integers(0, 9)), cuts), last_day


def is_undated(row: Any) -> bool:
    return isinstance(row, dict) and (row["trans_date"] is None or "/" in str(row["trans_date"]))


def numbers(rows: list[Any]) -> Counter[str]:
    return Counter(row["call_num"] for row in rows if isinstance(row, dict))


def found(records: list[CallRecord]) -> Counter[str]:
    return Counter(str(record.call_num) for record in records)


def period(service: Service, last_day: int, **options: Any) -> RecordStream[CallRecord]:
    return cdr(service.pipeline(attempts=9)).by_period(START, START + timedelta(last_day), **options)


any_service = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@any_service
@given(served=ledgers())
async def test_every_row_is_yielded_once_in_any_order_with_any_cuts_and_dates(
    service: Service, served: tuple[Ledger, int]
) -> None:
    ledger, last_day = served
    service.answers = ledger  # type: ignore[assignment]
    wanted = ledger.wanted(last_day)
    stream = period(service, last_day)
    assert found(await stream.to_list()) == numbers(wanted)
    assert stream.rejected_count == sum(not isinstance(row, dict) for row in wanted)
    assert stream.received == len(wanted)
    assert stream.undated == sum(map(is_undated, wanted))
    # The rows themselves do not change.
    assert not stream.restarted


@any_service
@given(served=ledgers(), stop=st.integers(0, 30))
async def test_stream_resumed_anywhere_yields_the_rest_or_says_that_a_window_restarts(
    service: Service, served: tuple[Ledger, int], stop: int
) -> None:
    ledger, last_day = served
    service.answers = ledger  # type: ignore[assignment]
    stream = period(service, last_day)
    records: list[CallRecord] = []
    since, start = stream.cursor.since, 0
    async with stream:
        async for record in stream:
            if stream.cursor.since != since:
                since, start = stream.cursor.since, len(records)
            records.append(record)
            if len(records) >= stop:
                break
    cursor = str(stream.cursor)
    resumed = period(service, last_day, cursor=cursor)
    rest = await resumed.to_list()
    if resumed.restarted:
        assert [str(window.first) for window in resumed.restarted_windows] == [since]
        del records[start:]
    assert found(records + rest) == numbers(ledger.wanted(last_day))


async def test_a_body_cut_half_way_and_read_in_another_order_loses_nothing(service: Service) -> None:
    rows = [(0, {"call_num": str(n), "cdr_id": f"id{n}", "trans_date": "2026-01-01"}) for n in range(1_000)]
    ledger = Ledger(rows, cuts=[2, 0.7, 0.3, 0.5])
    service.answers = ledger  # type: ignore[assignment]
    stream = cdr(service.pipeline()).by_conference("c1")
    assert found(await stream.to_list()) == numbers([row for _, row in rows])
    assert (len(ledger.reads), stream.received, stream.restarted) == (4, 1_000, False)


@any_service
@given(served=ledgers(), sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4), stop=st.integers(0, 4))
async def test_pages_say_how_many_records_to_remove_also_after_a_resume(
    service: Service, served: tuple[Ledger, int], sizes: list[int], stop: int
) -> None:
    ledger, last_day = served
    service.answers = ledger  # type: ignore[assignment]
    stored: list[CallRecord] = []
    cursor = None
    for nth, size in enumerate(sizes, 1):
        # All but the last stream are left after some pages.
        count = 0
        async with period(service, last_day, cursor=cursor) as stream:
            async for page in stream.pages(size):
                del stored[len(stored) - page.discarded :]
                stored += page.records
                cursor = str(page.cursor)
                count += 1
                if nth < len(sizes) and count > stop:
                    break
    assert found(stored) == numbers(ledger.wanted(last_day))


def rows_of(*names: str, **changed: str) -> list[Piece]:
    rows = [{"cdr_id": name, "call_num": changed.get(name, name), "trans_date": "2026-01-01"} for name in names]
    return [json.dumps({"result": "0", "cdr": rows}).encode()]


def cut_before(name: str, pieces: list[Piece]) -> list[Piece]:
    (whole,) = pieces
    assert isinstance(whole, bytes)
    return [whole[: whole.index(f'{{"cdr_id": "{name}"'.encode())], LOST]


async def test_a_row_that_changes_between_two_reads_restarts_its_window(service: Service) -> None:
    service.answers["/cdr/conf/c1"] = [cut_before("c", rows_of("a", "b", "c")), rows_of("a", "b", "c", b="new")]
    stream = cdr(service.pipeline()).by_conference("c1")
    yielded = [(record.call_num, len(stream.restarted_windows)) async for record in stream]
    assert yielded == [("a", 0), ("b", 0), ("new", 0), ("c", 0), ("a", 1), ("new", 1), ("c", 1)]
    assert stream.restarted
    assert stream.received == 3


async def test_to_list_and_pages_contain_a_restarted_window_once(service: Service) -> None:
    answers = [cut_before("c", rows_of("a", "b", "c")), rows_of("a", "b", "c", b="new")]
    service.answers["/cdr/conf/c1"] = list(answers)
    listed = await cdr(service.pipeline()).by_conference("c1").to_list()
    assert [record.call_num for record in listed] == ["a", "new", "c"]
    service.answers["/cdr/conf/c1"] = list(answers)
    pages = [page async for page in cdr(service.pipeline()).by_conference("c1").pages(10)]
    assert [[record.call_num for record in page.records] for page in pages] == [["a", "new", "c"]]
    assert [page.discarded for page in pages] == [0]


async def test_pages_tell_how_many_records_of_a_restarted_window_to_remove(service: Service) -> None:
    service.answers["/cdr/conf/c1"] = [cut_before("c", rows_of("a", "b", "c")), rows_of("a", "b", "c", b="new")]
    pages = [page async for page in cdr(service.pipeline()).by_conference("c1").pages(2)]
    assert [([record.call_num for record in page.records], page.discarded) for page in pages] == [
        (["a", "b"], 0),
        (["new", "c"], 0),
        (["a", "new"], 4),
        (["c"], 0),
    ]


async def test_a_row_that_disappears_between_two_reads_is_logged_and_restarts_nothing(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.answers["/cdr/conf/c1"] = [cut_before("c", rows_of("a", "b", "c")), rows_of("a", "c")]
    stream = cdr(service.pipeline()).by_conference("c1")
    assert [record.cdr_id for record in await stream.to_list()] == ["a", "b", "c"]
    assert not stream.restarted
    (warned,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert "rows that were read before a response broke off are missing from window" in warned
    assert "now: 1." in warned


async def test_rows_that_are_different_at_each_read_end_the_stream(service: Service) -> None:
    def answers() -> Iterator[list[Piece]]:
        for n in range(40):
            rows = rows_of("a", "b", "c", a=f"a{n}", b=f"b{n}", c=f"c{n}")
            yield cut_before("c", rows) if n % 2 == 0 else rows

    service.answers["/cdr/conf/c1"] = [*answers()]
    with pytest.raises(ProtocolError, match="different each time") as caught:
        await cdr(service.pipeline()).by_conference("c1").to_list()
    assert caught.value.retryable
    assert len(service.requests) == 8


async def test_rows_with_one_id_are_different_rows(service: Service) -> None:
    names = [f"n{n}" for n in range(62)]
    rows = [{"cdr_id": "same", "call_num": name, "trans_date": "2026-01-01"} for name in names]
    service.answers["/cdr/period/2026-01-01/2026-01-02"] = [[json.dumps({"result": "0", "cdr": rows}).encode()]]
    stream = cdr(service.pipeline()).by_period("2026-01-01", "2026-01-01")
    assert [record.call_num for record in await stream.to_list()] == names


async def test_to_list_that_fails_has_the_records_read_and_its_beginning(service: Service) -> None:
    service.answers["/cdr/conf/c1"] = [cut_before("c", rows_of("a", "b", "c"))]
    stream = cdr(service.pipeline()).by_conference("c1")
    with pytest.raises(ConnectionFailed) as caught:
        await stream.to_list()
    assert [record.cdr_id for record in caught.value.partial] == ["a", "b"]
    service.answers["/cdr/conf/c1"] = [rows_of("a", "b", "c")]
    again = cdr(service.pipeline()).by_conference("c1", cursor=caught.value.cursor)  # type: ignore[arg-type]
    assert [record.cdr_id for record in await again.to_list()] == ["a", "b", "c"]


async def test_rejected_rows_keep_their_text(service: Service) -> None:
    body = json.dumps({"result": "0", "cdr": [5, "x" * 5_000, {"cdr_id": "a", "pad": "y" * 2**20}]}).encode()
    service.answers["/cdr/conf/c1"] = [[body]]
    stream = cdr(service.pipeline()).by_conference("c1")
    assert await stream.to_list() == []
    texts = [one.text for one in stream.rejected]
    assert texts[0] == "5"
    assert texts[1] == '"' + "x" * 999
    assert texts[2].startswith('{"cdr_id": "a", "pad": "yyy')
    assert len(texts[2]) == 1_000
    assert "yyy" not in repr(stream.rejected[2])


@pytest.mark.parametrize("cursor", [5, b"abc", "", 0.5, []], ids=repr)
async def test_invalid_cursor_is_a_clear_error(service: Service, cursor: Any) -> None:
    with pytest.raises(ValidationError, match=r"stream\.cursor"):
        cdr(service.pipeline()).by_conference("c1", cursor=cursor)


async def test_period_of_centuries_is_a_clear_error(service: Service) -> None:
    with pytest.raises(ValidationError, match="longer than 100 years"):
        cdr(service.pipeline()).by_period("2026-01-01", "9999-12-30")


class NotATime(datetime):
    """Like `pandas.NaT`: a datetime that equals nothing."""

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = datetime.__hash__


async def test_missing_time_of_a_data_frame_is_a_clear_error(service: Service) -> None:
    with pytest.raises(ValidationError, match="not a time"):
        cdr(service.pipeline()).by_period(NotATime(2026, 1, 1), "2026-01-02")


@pytest.mark.parametrize("number", ["a+b/c==", "x y", "ß-1", "a%2Fb", "a?b#c"])
async def test_any_conference_number_of_the_service_can_be_requested(service: Service, number: str) -> None:
    service.answers = Ledger([])  # type: ignore[assignment]
    assert await cdr(service.pipeline()).by_conference(number).to_list() == []
    (path,) = service.requests
    assert path.startswith("/cdr/conf/")
    assert path.count("/") == 3


@pytest.mark.parametrize("number", ["", ".", "..", "a\nb", "a\x00", "\ud800", None, 5, "x" * 300])
async def test_text_that_cannot_be_a_path_segment_is_rejected(service: Service, number: Any) -> None:
    with pytest.raises(ValidationError):
        cdr(service.pipeline()).by_conference(number)


@pytest.mark.parametrize("inclusive", [True, False])
async def test_equal_rows_without_a_day_in_different_weeks_are_different_rows(
    service: Service, inclusive: bool
) -> None:
    undated = {"call_num": "u", "trans_date": None}
    rows = [(day, row) for day in (3, 7, 10, 17, 24, 28) for row in (undated, None)]
    service.answers = Ledger(rows, inclusive)  # type: ignore[assignment]
    stream = period(service, 27)
    assert len(await stream.to_list()) == stream.rejected_count == stream.undated == 5


async def test_pages_that_fail_during_a_restart_continue_after_the_last_page(
    service: Service, refused: Callable[[int, int], Any]
) -> None:
    changed = rows_of(*"abcde", b="new")
    service.answers["/cdr/conf/c1"] = [cut_before("e", rows_of(*"abcde")), changed, refused(403, 40002), changed]
    stored: list[CallRecord] = []
    cursor: Any = None
    for _ in range(2):
        try:
            async for page in cdr(service.pipeline()).by_conference("c1", cursor=cursor).pages(2):
                del stored[len(stored) - page.discarded :]
                stored += page.records
        except VideoAPIError as error:
            cursor = error.cursor
    assert [record.call_num for record in stored] == ["a", "new", "c", "d", "e"]


async def test_records_that_fail_during_a_restart_continue_after_the_last_record(
    service: Service, refused: Callable[[int, int], Any]
) -> None:
    changed = rows_of(*"abcde", b="new")
    service.answers["/cdr/conf/c1"] = [cut_before("e", rows_of(*"abcde")), changed, refused(403, 40002), changed]
    first = cdr(service.pipeline()).by_conference("c1")
    with pytest.raises(VideoAPIError) as caught:
        async for _ in first:
            pass
    assert first.counts().received == 0
    again = cdr(service.pipeline()).by_conference("c1", cursor=str(caught.value.cursor))
    yielded = [(record.call_num, again.restarted) async for record in again]
    assert yielded == [(name, True) for name in ("a", "new", "c", "d", "e")]
