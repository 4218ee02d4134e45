"""Record stream tests with scripted bodies: yielded records, retries, cursors, pages, timeouts."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from contextlib import aclosing
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import videoapi
from videoapi.errors import (
    CallTimeout,
    ConfigurationError,
    ConnectionFailed,
    NotFound,
    ProtocolError,
    ValidationError,
)
from videoapi.models.archives import Archive
from videoapi.models.cdr import CallRecord
from videoapi.protocol.outcome import BodyInterrupted
from videoapi.protocol.routes import LIST_ROOMS, Request
from videoapi.resources.reports import ARCHIVES, Reports, cdr
from videoapi.streaming import RecordStream, room_list

if TYPE_CHECKING:
    from .conftest import Service

CONF = "/cdr/conf/c1"
DATA = Path(__file__).parents[1] / "data"
LOST = BodyInterrupted("the body broke")


def row(name: str, day: str | None = "2026-01-01", /, **more: Any) -> dict[str, Any]:
    dated = {"trans_date": f"{day}T10:00:00.000Z"} if day else {}
    return {**dated, "cdr_id": name, "conf_num": "c1", **more}


def body(rows: list[Any], key: str = "cdr", result: Any = "0") -> bytes:
    return json.dumps({"result": result, key: rows}).encode()


def rows(*names: str) -> bytes:
    return body([row(name) for name in names])


def cut(whole: bytes, marker: str) -> list[Any]:
    """Return the bytes up to a marker, then a broken body."""
    return [whole[: whole.index(marker.encode())], LOST]


async def ids(stream: RecordStream[CallRecord]) -> list[str | None]:
    return [record.cdr_id for record in await stream.to_list()]


def path(start: str, until: str) -> str:
    return f"/cdr/period/{start}/{until}"


# One response


async def test_records_are_yielded_in_order_and_counted(service: Service) -> None:
    service.answers[CONF] = [[rows("a", "b", "c")]]
    stream = cdr(service.pipeline()).by_conference("c1")
    assert await ids(stream) == ["a", "b", "c"]
    assert (stream.received, stream.rejected_count, stream.outside) == (3, 0, 0)
    assert "3 received" in repr(stream)


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("ends", ["cut", "rejected"])
async def test_no_frame_of_a_stream_that_fails_holds_a_token_of_its_records(
    service: Service, ends: str, extra: bool
) -> None:
    whole = body([row("a", user={"token": "canary"}), row("b", user={"token": "canary"}, sip=["odd"]), "not a record"])
    service.answers[CONF] = [[whole[: whole.index(b'"not a')]] if ends == "cut" else [whole]] * 9
    with pytest.raises((ConnectionFailed, ProtocolError)) as caught:
        await cdr(service.pipeline()).by_conference("c1", extra=extra, strict=True).to_list()
    library = Path(videoapi.__file__).parent
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    inner = [frame for frame in frames if Path(frame.f_code.co_filename).is_relative_to(library)]
    assert len(inner) > 2
    assert not {name for frame in inner for name, value in frame.f_locals.items() if "canary" in repr(value)}


@pytest.mark.parametrize(
    "answer",
    [
        b'{"result":"0","cdr":[]}',
        b'{"cdr":[],"result":0}',
        b'{"result":"0","cdr":null}',
    ],
)
async def test_empty_list_or_null_is_an_empty_stream(service: Service, answer: bytes) -> None:
    service.answers[CONF] = [[answer]]
    assert await cdr(service.pipeline()).by_conference("c1").to_list() == []


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b'{"result":"0"}', ProtocolError, "'cdr' is missing, not a list"),
        (b'{"result":"0","cdr":{}}', ProtocolError, "'cdr' is something else"),
        (b'{"result":"0","cdr":[],"cdr":[]}', ProtocolError, "twice"),
        (b'{"result":"0","cdr":[]} {}', ProtocolError, "follow the document"),
        (b'{"result":false,"cdr":[]}', ProtocolError, "without a result"),
        (b'{"cdr":[]}', ProtocolError, "without a result"),
        (b"<html>portal</html>", ProtocolError, "without a result"),
        (b"", ProtocolError, "without a result"),
        (b'{"result":"0","cdr":[{}', ConnectionFailed, "ends too early"),
        (b'{"result":40001,"error":"[Reason] Room not found","desc":""}', NotFound, "Room not found"),
        (b'{"cdr":[],"result":40001,"error":"[Reason] Room not found"}', NotFound, "Room not found"),
    ],
)
async def test_incomplete_or_failed_response_raises(
    service: Service, answer: bytes, error: type[Exception], words: str
) -> None:
    service.answers[CONF] = [[answer]]
    with pytest.raises(error, match=words):
        await cdr(service.pipeline()).by_conference("c1").to_list()


async def test_error_status_is_raised_at_the_first_record(service: Service, refused: Callable[[int, int], Any]) -> None:
    service.answers[CONF] = [refused(404, 40001)]
    stream = cdr(service.pipeline()).by_conference("c1")
    with pytest.raises(NotFound) as caught:
        await anext(aiter(stream))
    assert str(caught.value.cursor) == str(stream.cursor)  # type: ignore[attr-defined]


async def test_null_in_place_of_rooms_is_an_error(service: Service) -> None:
    service.answers["/rooms"] = [[b'{"result":0,"rooms":null}']]
    with pytest.raises(ProtocolError, match="'rooms' is null, not a list"):
        await rooms(service).to_list()


async def test_unparsable_record_is_skipped_and_logged(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    whole = body([row("a"), 7, row("b"), [], row("c")])
    service.answers[CONF] = [[whole]]
    stream = cdr(service.pipeline()).by_conference("c1")
    with caplog.at_level(logging.DEBUG, "videoapi.streaming"):
        assert await ids(stream) == ["a", "b", "c"]
    assert [(r.index, whole[r.offset : r.offset + 1]) for r in stream.rejected] == [(1, b"7"), (3, b"[")]
    assert all(r.reason for r in stream.rejected)
    assert (stream.rejected_count, stream.received) == (2, 5)
    assert [r.levelname for r in caplog.records if r.name == "videoapi.streaming"] == ["WARNING", "DEBUG"]


async def test_rejected_keeps_at_most_1000_records(service: Service) -> None:
    service.answers[CONF] = [[body([1] * 1500)]]
    stream = cdr(service.pipeline()).by_conference("c1")
    assert await stream.to_list() == []
    assert (len(stream.rejected), stream.rejected_count) == (1000, 1500)


async def test_strict_yields_earlier_records_before_it_raises(
    service: Service,
) -> None:
    service.answers[CONF] = [[body([row("a"), 7, row("b")])]]
    seen = []
    stream = cdr(service.pipeline()).by_conference("c1", strict=True)
    with pytest.raises(ProtocolError, match="index 1") as caught:
        async for record in stream:
            seen += [record.cdr_id]
    assert seen == ["a"]
    assert caught.value.cursor == stream.cursor  # type: ignore[attr-defined]
    assert stream.cursor.count == 1


async def test_unusual_records_do_not_affect_others(service: Service) -> None:
    odd = [
        row("a", name=None),
        row("\ud800"),
        row("b", conf_num=5),
        row("c", usage={"connect_minutes": "9.5"}),
    ]
    service.answers[CONF] = [[b"\xef\xbb\xbf" + body(odd)]]
    stream = cdr(service.pipeline()).by_conference("c1")
    records = await stream.to_list()
    assert [r.cdr_id for r in records] == ["a", "\ufffd", "b", "c"]
    assert records[2].conf_num == "5"
    assert records[3].usage.connect_minutes == 9.5


async def test_oversized_record_is_rejected_and_the_stream_continues(service: Service) -> None:
    service.answers[CONF] = [[body([row("a"), row("b", pad="x" * 2**20), row("c")])]]
    stream = cdr(service.pipeline()).by_conference("c1")
    assert await ids(stream) == ["a", "c"]
    assert [(r.index, r.reason) for r in stream.rejected] == [(1, "longer than 1 MiB")]


async def test_body_over_the_size_limit_raises(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videoapi.streaming.streamed_response.MAX_BODY", 300)
    service.answers[CONF] = [[b'{"result":"0","cdr":[', *[json.dumps(row("x")).encode() + b","] * 9]]
    with pytest.raises(ProtocolError, match="1 GiB"):
        await cdr(service.pipeline()).by_conference("c1").to_list()
    assert len(service.requests) == 1


async def test_unknown_fields_are_kept_if_requested(service: Service) -> None:
    service.answers[CONF] = [[body([row("a", novel=1)])]]
    (record,) = await cdr(service.pipeline()).by_conference("c1", extra=True).to_list()
    assert record.extra == {"novel": 1}
    (bare,) = await cdr(service.pipeline()).by_conference("c1").to_list()
    with pytest.raises(ConfigurationError, match="extra=True"):
        _ = bare.extra


# Retries


async def test_broken_body_resumes_after_the_last_record(service: Service) -> None:
    whole = rows("a", "b", "c", "d")
    service.answers[CONF] = [cut(whole, '"c"'), cut(whole, '"d"'), [whole]]
    stream = cdr(service.pipeline()).by_conference("c1")
    assert await ids(stream) == ["a", "b", "c", "d"]
    assert (stream.received, stream.restarted) == (4, False)
    assert len(service.requests) == 3
    assert len(service.slept) == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_no_record_is_lost_or_repeated_wherever_bodies_break(service: Service, data: st.DataObject) -> None:
    rejects = data.draw(st.sets(st.integers(0, 11)))
    whole = body([7 if n in rejects else row(f"id{n}") for n in range(12)])
    breaks = data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=2))
    bodies: list[list[Any]] = [[whole[:at], LOST] for at in breaks]
    service.answers[CONF] = [*bodies, [whole]]
    stream = cdr(service.pipeline()).by_conference("c1")
    assert await ids(stream) == [f"id{n}" for n in range(12) if n not in rejects]
    assert [r.index for r in stream.rejected] == sorted(rejects)
    assert stream.received == 12


async def test_retries_without_a_new_record_end_the_stream_with_a_cursor(
    service: Service,
) -> None:
    whole = rows("a", "b", "c")
    service.answers[CONF] = [cut(whole, '"b"')]
    stream = cdr(service.pipeline()).by_conference("c1")
    seen = []
    with pytest.raises(ConnectionFailed) as caught:
        async for record in stream:
            seen += [record.cdr_id]
    assert seen == ["a"]
    assert len(service.requests) == 3
    service.answers[CONF] = [[whole]]
    cursor = caught.value.cursor  # type: ignore[attr-defined]
    assert await ids(cdr(service.pipeline()).by_conference("c1", cursor=cursor)) == ["b", "c"]


async def test_each_new_record_resets_the_attempts(service: Service) -> None:
    names = [f"r{n}" for n in range(9)]
    whole = rows(*names)
    service.answers[CONF] = [*[cut(whole, f'"{name}"') for name in names[1:]], [whole]]
    assert await ids(cdr(service.pipeline()).by_conference("c1")) == names


async def test_first_break_ends_the_stream_without_retries(service: Service) -> None:
    service.answers[CONF] = [cut(rows("a", "b"), '"b"')]
    with pytest.raises(ConnectionFailed):
        await cdr(service.pipeline(attempts=1)).by_conference("c1").to_list()
    assert len(service.requests) == 1


async def test_records_without_ids_are_recognized_by_content(service: Service) -> None:
    whole = json.dumps({"result": "0", "cdr": [{"conf_num": str(n)} for n in range(6)]}).encode()
    service.answers[CONF] = [cut(whole, '"3"'), [whole]]
    stream = cdr(service.pipeline()).by_conference("c1")
    assert [record.conf_num for record in await stream.to_list()] == ["0", "1", "2", "3", "4", "5"]
    assert stream.cursor.count == 6


async def test_cursor_of_a_missing_record_restarts_its_window(service: Service) -> None:
    service.answers[CONF] = [[rows("a", "b", "c")]]
    async with cdr(service.pipeline()).by_conference("c1") as first:
        async for record in first:
            if record.cdr_id == "b":
                break
    service.requests.clear()
    service.answers[CONF] = [[rows("a", "c")]]
    cursor = first.cursor
    stream = cdr(service.pipeline()).by_conference("c1", cursor=str(cursor))
    assert await ids(stream) == ["a", "c"]
    assert stream.restarted
    assert stream.cursor.restarted
    assert len(service.requests) == 2


# Cursors and pages


async def test_stream_resumes_after_any_record(service: Service) -> None:
    service.answers[CONF] = [[rows("a", "b", "c")]]
    reports = cdr(service.pipeline())
    stream = reports.by_conference("c1")
    cursors = [str(stream.cursor)]
    async for _ in stream:
        cursors += [str(stream.cursor)]
    rest = [await ids(reports.by_conference("c1", cursor=cursor)) for cursor in cursors]
    assert rest == [["a", "b", "c"], ["b", "c"], ["c"], []]


async def test_cursor_of_another_query_is_rejected_before_any_request(service: Service) -> None:
    reports = cdr(service.pipeline())
    cursor = reports.by_conference("c1").cursor
    with pytest.raises(ValidationError, match="belongs to"):
        reports.by_conference("c2", cursor=cursor)
    with pytest.raises(ValidationError, match="belongs to"):
        Reports(service.pipeline(), ARCHIVES).by_conference("c1", cursor=str(cursor))
    assert service.requests == []


async def test_pages_hold_size_records_and_a_cursor_past_them(service: Service) -> None:
    names = [f"r{n}" for n in range(7)]
    service.answers[CONF] = [[rows(*names)]]
    reports = cdr(service.pipeline())
    pages = [page async for page in reports.by_conference("c1").pages(3)]
    assert [[record.cdr_id for record in page.records] for page in pages] == [
        names[:3],
        names[3:6],
        names[6:],
    ]
    for nth, page in enumerate(pages, 1):
        assert await ids(reports.by_conference("c1", cursor=page.cursor)) == names[3 * nth :]


async def test_pages_span_blocks_and_windows(service: Service) -> None:
    first, second = path("2026-01-01", "2026-01-08"), path("2026-01-08", "2026-01-10")
    service.answers[first] = [[body([row("a", "2026-01-01"), row("b", "2026-01-02"), row("c", "2026-01-07")])]]
    service.answers[second] = [[body([row("d", "2026-01-08"), row("e", "2026-01-09")])]]
    reports = cdr(service.pipeline())
    stream = reports.by_period("2026-01-01", "2026-01-09")
    found = [([r.cdr_id for r in page.records], page.cursor.since) async for page in stream.pages(2)]
    assert found == [(["a", "b"], "2026-01-01"), (["c", "d"], "2026-01-08"), (["e"], "2026-01-08")]


@pytest.mark.parametrize("size", [0, -1, True, 2.0])
async def test_invalid_page_size_is_rejected(service: Service, size: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        cdr(service.pipeline()).by_conference("c1").pages(size)
    assert caught.value.field == "size"


async def test_second_iteration_of_a_stream_raises(service: Service) -> None:
    service.answers[CONF] = [[rows("a")]]
    stream = cdr(service.pipeline()).by_conference("c1")
    assert await ids(stream) == ["a"]
    with pytest.raises(ConfigurationError, match="read once"):
        aiter(stream)
    with pytest.raises(ConfigurationError, match="read once"):
        stream.pages(2)


# Periods


def serve(service: Service, records: list[dict[str, Any]], *, inclusive: bool, order: Callable[..., Any]) -> None:
    """Respond to each window of January's first 20 days like a service that filters by `trans_date`."""
    first = date(2026, 1, 1)
    for n in range(0, 21, 7):
        start = first + timedelta(n)
        until = min(start + timedelta(7), date(2026, 1, 21))
        last = until if inclusive else until - timedelta(1)
        found = [r for r in records if str(start) <= r["trans_date"][:10] <= str(last)]
        service.answers[path(str(start), str(until))] = [[body(order(found))]]


@pytest.mark.parametrize("inclusive", [True, False])
@pytest.mark.parametrize("order", [list, lambda found: found[::-1], lambda found: found[1::2] + found[::2]])
async def test_period_is_complete_for_any_end_date_rule_order_and_cursor(
    service: Service, inclusive: bool, order: Callable[..., Any]
) -> None:
    days = [date(2025, 12, 31) + timedelta(n) for n in range(22)]
    records = [row(f"{day}#{n}", str(day)) for day in days for n in range(2)]
    wanted = sorted(r["cdr_id"] for r in records if "2026-01-01" <= r["trans_date"][:10] <= "2026-01-20")
    serve(service, records, inclusive=inclusive, order=order)
    reports = cdr(service.pipeline())
    stream = reports.by_period("2026-01-01", "2026-01-20")
    cursors, found = [str(stream.cursor)], []
    async for record in stream:
        found.append(record.cdr_id)
        cursors += [str(stream.cursor)]
    assert sorted(map(str, found)) == wanted
    assert stream.outside == (0 if not inclusive else sum(r["trans_date"][:10] == "2026-01-21" for r in records))
    for nth in (0, 1, 13, 14, 15, 27, 40):
        resumed = reports.by_period("2026-01-01", "2026-01-20", cursor=cursors[nth])
        assert found[:nth] + await ids(resumed) == found
        assert not resumed.restarted


async def test_rows_that_share_an_id_on_a_boundary_day_are_different_rows(service: Service) -> None:
    service.answers[path("2026-01-01", "2026-01-08")] = [[body([row("a", "2026-01-01"), row("b", "2026-01-08")])]]
    again = [row("b", "2026-01-08"), row("b", "2026-01-08"), row("c", "2026-01-09")]
    service.answers[path("2026-01-08", "2026-01-10")] = [[body(again)]]
    assert await ids(cdr(service.pipeline()).by_period("2026-01-01", "2026-01-09")) == ["a", "b", "b", "c"]


@pytest.mark.parametrize("inclusive", [True, False])
async def test_record_without_a_day_is_yielded_once_and_counted(service: Service, inclusive: bool) -> None:
    shared, next_day = row("u", None), [row("v", None), row("w", "2026-01-10")] if inclusive else []
    service.answers[path("2026-01-01", "2026-01-08")] = [[body([*([shared] * inclusive), row("a", "2026-01-01")])]]
    service.answers[path("2026-01-08", "2026-01-10")] = [[body([shared, row("c", "2026-01-09"), *next_day])]]
    service.answers[path("2026-01-08", "2026-01-08")] = [[body([shared] * inclusive)]]
    service.answers[path("2026-01-10", "2026-01-10")] = [[body(next_day)]]
    stream = cdr(service.pipeline()).by_period("2026-01-01", "2026-01-09")
    assert sorted(map(str, await ids(stream))) == ["a", "c", "u"]
    assert (stream.undated, stream.received, stream.outside) == (1, 3, len(next_day))


async def test_day_after_the_period_may_be_refused_alone(service: Service, refused: Callable[[int, int], Any]) -> None:
    service.answers[path("2026-01-01", "2026-01-02")] = [[body([row("u", None)])]]
    service.answers[path("2026-01-02", "2026-01-02")] = [refused(400, 10203)]
    assert await ids(cdr(service.pipeline()).by_period("2026-01-01", "2026-01-01")) == ["u"]


async def test_day_after_the_period_is_read_again_if_its_body_breaks(service: Service) -> None:
    whole = body([row("u", None), row("v", None)])
    service.answers[path("2026-01-01", "2026-01-02")] = [[body([row("x", None), row("u", None), row("v", None)])]]
    service.answers[path("2026-01-02", "2026-01-02")] = [cut(whole, '"v"'), [whole]]
    assert await ids(cdr(service.pipeline()).by_period("2026-01-01", "2026-01-01")) == ["x"]


async def test_failed_window_ends_the_stream_with_a_cursor(
    service: Service, refused: Callable[[int, int], Any]
) -> None:
    first, second = path("2026-01-01", "2026-01-08"), path("2026-01-08", "2026-01-10")
    service.answers[first] = [[body([row("a", "2026-01-01")])]]
    service.answers[second] = [refused(400, 10203)]
    reports = cdr(service.pipeline())
    stream = reports.by_period("2026-01-01", "2026-01-09")
    seen = []
    with pytest.raises(Exception, match="so it is") as caught:
        async for record in stream:
            seen += [record.cdr_id]
    assert seen == ["a"]
    service.answers[second] = [[body([row("b", "2026-01-09")])]]
    cursor = caught.value.cursor  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(cursor)) == cursor
    assert await ids(reports.by_period("2026-01-01", "2026-01-09", cursor=cursor)) == ["b"]


@pytest.mark.parametrize(("start", "end"), [("2026-01-02", "2026-01-01"), ("soon", "2026-01-01"), ("2026-01-01", "")])
async def test_invalid_period_or_room_id_is_rejected_before_any_request(service: Service, start: str, end: str) -> None:
    with pytest.raises(ValidationError):
        cdr(service.pipeline()).by_period(start, end)
    with pytest.raises(ValidationError):
        cdr(service.pipeline()).by_room("../x")


async def test_all_queries_work_for_cdr_and_archives(service: Service) -> None:
    reports: list[tuple[Reports[Any], str, str]] = [
        (cdr(service.pipeline()), "cdr", "/cdr"),
        (Reports(service.pipeline(), ARCHIVES), "archive", "/archive"),
    ]
    for report, key, prefix in reports:
        for query in (
            "period/2026-01-01/2026-01-02",
            "room/r1",
            "room-period/r1/2026-01-01/2026-01-02",
            "conf/c1",
        ):
            dated = row("x", "2026-01-01") | {"_id": "x"}
            service.answers[f"{prefix}/{query}"] = [[body([dated], key)]]
        for stream in (
            report.by_period("2026-01-01", "2026-01-01"),
            report.by_room("r1"),
            report.by_room_period("r1", "2026-01-01", "2026-01-01"),
            report.by_conference("c1"),
        ):
            (record,) = await stream.to_list()
            assert isinstance(record, Archive if key == "archive" else CallRecord)
            assert record.identity == "x"
    assert len(service.requests) == 8


# Rooms


def rooms(service: Service, **options: Any) -> RecordStream[Any]:
    pipeline = service.pipeline()
    request = Request(route=LIST_ROOMS, path="/rooms", options=pipeline.options, stream=True)
    return room_list(pipeline, request, **{"extra": False, "strict": False, "timeout": None, **options})


async def test_broken_room_list_resumes_after_the_last_room(service: Service) -> None:
    whole = body([{"room_id": f"r{n}", "name": "Room", "settings": {}} for n in range(5)], "rooms", 0)
    service.answers["/rooms"] = [cut(whole, '"r3"'), [whole]]
    assert [room.room_id for room in await rooms(service).to_list()] == ["r0", "r1", "r2", "r3", "r4"]
    assert len(service.requests) == 2


# Prefetching and back-pressure


def month(service: Service) -> list[str]:
    """Set up five windows with one record each, and return their paths."""
    paths = []
    for n in range(0, 35, 7):
        start = date(2026, 1, 1) + timedelta(n)
        paths.append(path(str(start), str(start + timedelta(7))))
        service.answers[paths[-1]] = [[body([row(f"w{n // 7}", str(start))])]]
    return paths


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_two_windows_are_prefetched_and_yielded_in_order(service: Service) -> None:
    paths = month(service)
    async with cdr(service.pipeline()).by_period("2026-01-01", "2026-02-04") as stream:
        records = aiter(stream)
        assert (await anext(records)).cdr_id == "w0"
        await settle()
        assert service.requests == paths[:3]
        assert [body.read for body in service.bodies] == [1, 0, 0]
        assert [record.cdr_id async for record in records] == ["w1", "w2", "w3", "w4"]
    assert service.requests == paths


async def test_nothing_is_prefetched_without_a_free_permit(service: Service) -> None:
    paths = month(service)
    for _ in range(3):
        await service.manager.pool.stream_permits.acquire()
    async with cdr(service.pipeline()).by_period("2026-01-01", "2026-02-04") as stream:
        async for _ in stream:
            await settle()
            assert asyncio.all_tasks() == {asyncio.current_task()}
    assert service.requests == paths
    for _ in range(3):
        service.manager.pool.stream_permits.release()


async def read_three_streams_at_once(reports: Reports[CallRecord]) -> None:
    async with reports.by_room("r1") as one, reports.by_room("r1") as two, reports.by_room("r1") as three:
        # Kept, because a stream is closed when its iterator is dropped.
        others = [aiter(stream) for stream in (one, two, three)]
        async with asyncio.timeout(5):
            for other in others:
                assert (await anext(other)).cdr_id == "x"


async def test_idle_streams_with_prefetched_windows_do_not_starve_another_stream(service: Service) -> None:
    month(service)
    service.answers["/cdr/room/r1"] = [[rows("x")]]
    reports = cdr(service.pipeline())
    async with reports.by_period("2026-01-01", "2026-02-04") as idle:
        records = aiter(idle)
        await anext(records)
        await settle()
        assert service.manager.pool.stream_permits.free == 1
        await read_three_streams_at_once(reports)
        # The windows that were given up are requested again.
        assert [record.cdr_id async for record in records] == ["w1", "w2", "w3", "w4"]
    assert service.manager.pool.prefetchers == []


async def test_stream_gets_a_permit_although_the_newest_prefetch_holds_none(service: Service) -> None:
    paths = month(service)
    waits = asyncio.Event()
    service.before_permit[paths[2]] = waits
    service.answers["/cdr/room/r1"] = [[rows("x")]]
    reports = cdr(service.pipeline())
    async with reports.by_period("2026-01-01", "2026-02-04") as idle:
        records = aiter(idle)
        await anext(records)
        await settle()
        assert service.manager.pool.stream_permits.free == 2
        await read_three_streams_at_once(reports)
        waits.set()
        assert [record.cdr_id async for record in records] == ["w1", "w2", "w3", "w4"]


async def test_failed_prefetch_is_repeated_when_the_window_is_needed(
    service: Service, refused: Callable[[int, int], Any]
) -> None:
    paths = month(service)
    service.answers[paths[1]] = [refused(400, 10203), *service.answers[paths[1]]]
    stream = cdr(service.pipeline()).by_period("2026-01-01", "2026-02-04")
    found = []
    async with stream:
        async for record in stream:
            await settle()
            found.append(record.cdr_id)
    assert found == ["w0", "w1", "w2", "w3", "w4"]


async def test_prefetch_that_user_code_cancelled_is_repeated_when_the_window_is_needed(service: Service) -> None:
    def cancelled(request: Request) -> Any:
        raise asyncio.CancelledError

    paths = month(service)
    service.answers[paths[1]] = [cancelled, *service.answers[paths[1]]]
    found = []
    async with cdr(service.pipeline()).by_period("2026-01-01", "2026-02-04") as stream:
        async for record in stream:
            await settle()
            found.append(record.cdr_id)
    assert found == ["w0", "w1", "w2", "w3", "w4"]


async def test_body_is_not_read_ahead_of_a_paused_consumer(service: Service) -> None:
    piece = b",".join(json.dumps(row(f"id{n}", pad="x" * 900)).encode() for n in range(64))
    service.answers[CONF] = [[b'{"result":"0","cdr":[', *[piece + b","] * 50, b"{}]}"]]
    async with cdr(service.pipeline()).by_conference("c1") as stream:
        records = aiter(stream)
        for _ in range(100):
            await anext(records)
        await settle()
        assert service.bodies[0].read <= 4


async def test_parsing_buffered_data_yields_to_the_event_loop(service: Service) -> None:
    piece = b",".join(json.dumps(row(f"id{n}", pad="x" * 900)).encode() for n in range(640))
    service.answers[CONF] = [[b'{"result":"0","cdr":[' + piece + b"]}"]]
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert len(await cdr(service.pipeline()).by_conference("c1").to_list()) == 640
    task.cancel()
    assert turns >= 9


# Leaving early


async def test_released_records_do_not_trigger_the_garbage_collector(service: Service) -> None:
    usual = json.loads((DATA / "cdr/new.200.json").read_bytes())["cdr"][0] | {"parent_partner_id": "p" * 400}
    whole = body([usual | {"cdr_id": f"id{n}"} for n in range(5_000)])
    pieces: list[Any] = [whole[start : start + 100_000] for start in range(0, len(whole), 100_000)]
    service.answers[CONF] = [pieces]
    gc.collect()
    before = gc.get_stats()[0]["collections"]
    count = 0
    async for _ in cdr(service.pipeline()).by_conference("c1"):
        count += 1
    assert count == 5_000
    # One collection per block would be more than 200.
    assert gc.get_stats()[0]["collections"] - before < 20


async def test_leaving_async_with_closes_everything_immediately(service: Service) -> None:
    paths = month(service)
    service.gates[paths[2]] = asyncio.Event()
    async with cdr(service.pipeline()).by_period("2026-01-01", "2026-02-04") as stream:
        async for _ in stream:
            await settle()
            break
        assert service.open == 2
    assert service.open == 0
    assert not service.manager.pool.stream_permits.locked()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_bare_break_closes_everything_a_few_iterations_later(service: Service) -> None:
    month(service)
    async for _ in cdr(service.pipeline()).by_period("2026-01-01", "2026-02-04"):
        break
    gc.collect()
    await settle()
    assert service.open == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_bare_break_closes_without_the_garbage_collector(service: Service) -> None:
    service.answers[CONF] = [[rows("a", "b")]]
    gc.disable()
    try:
        async for _ in cdr(service.pipeline()).by_conference("c1"):
            break
        await settle()
        assert service.open == 0
    finally:
        gc.enable()


async def test_stream_closed_before_its_first_record_sends_nothing(service: Service) -> None:
    async with cdr(service.pipeline()).by_conference("c1") as stream:
        pass
    await stream.aclose()
    with pytest.raises(ConfigurationError):
        aiter(stream)
    assert service.requests == []


async def test_cancelled_reader_leaves_nothing_open(service: Service) -> None:
    paths = month(service)
    service.answers[paths[0]] = [[b'{"result":"0","cdr":[', asyncio.Event()]]
    stream = cdr(service.pipeline()).by_period("2026-01-01", "2026-02-04")
    task = asyncio.create_task(stream.to_list())
    await settle()
    assert service.open == 3
    with pytest.raises(ConfigurationError, match="another task"):
        await stream.aclose()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.open == 0


async def test_reader_cancelled_during_a_prefetch_leaves_nothing_open(
    service: Service,
) -> None:
    paths = month(service)
    service.gates[paths[1]] = asyncio.Event()
    stream = cdr(service.pipeline()).by_period("2026-01-01", "2026-02-04")
    task = asyncio.create_task(stream.to_list())
    await settle()
    task.cancel()
    service.gates[paths[1]].set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.open == 0


@pytest.mark.parametrize("turns", range(4))
async def test_reader_cancelled_twice_leaves_no_prefetched_response_open(service: Service, turns: int) -> None:
    paths = month(service)
    service.answers[paths[0]] = [[rows("w0")[:-10], asyncio.Event()]]
    task = asyncio.create_task(cdr(service.pipeline()).by_period("2026-01-01", "2026-02-04").to_list())
    await settle()
    assert service.open == 3
    task.cancel()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()
    assert service.open == 0
    assert service.manager.pool.stream_permits.free == 4


# Timeouts


async def test_timeout_counts_time_waiting_for_the_service(service: Service) -> None:
    gate = asyncio.Event()
    whole = rows("a", "b")
    at = whole.index(b'"b"')
    service.answers[CONF] = [[whole[:at], gate, whole[at:]]]
    stream = cdr(service.pipeline()).by_conference("c1", timeout=0.05)
    seen = []
    async with aclosing(stream):
        with pytest.raises(CallTimeout, match="timeout") as caught:
            async for record in stream:
                seen += [record.cdr_id]
                await asyncio.sleep(0.1)
    assert seen == ["a"]
    assert caught.value.cursor.count == 1  # type: ignore[attr-defined]


async def test_timeout_excludes_the_time_of_a_slow_consumer(service: Service) -> None:
    service.answers[CONF] = [[rows("a"), b" "]]
    async for _ in cdr(service.pipeline()).by_conference("c1", timeout=0.05):
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), True])
async def test_invalid_timeout_is_rejected(service: Service, timeout: Any) -> None:
    with pytest.raises(ConfigurationError):
        cdr(service.pipeline()).by_conference("c1", timeout=timeout)
