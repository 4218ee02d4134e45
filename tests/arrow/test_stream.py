"""`stream.arrow()`: batches of one schema, restarts, cursors, and streams that end early."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow
import pytest

from videoapi.arrow import ARCHIVE_SCHEMA, ROOM_SCHEMA, SCHEMA
from videoapi.errors import ConfigurationError, ValidationError, VideoAPIError
from videoapi.protocol.outcome import BodyInterrupted
from videoapi.resources.reports import ARCHIVES, Reports, cdr
from videoapi.streaming import records as records_module

if TYPE_CHECKING:
    from streaming.conftest import Piece, Service

LOST = BodyInterrupted("the body broke")


def rows_of(*names: str, week: int = 0, **others: str) -> list[Piece]:
    day = f"2026-01-{1 + 7 * week:02}T10:00:00.000Z"
    rows = [{"cdr_id": name, "trans_date": day, "call_num": others.get(name, name)} for name in names]
    return [json.dumps({"result": "0", "cdr": rows}).encode()]


def cut_before(name: str, pieces: list[Piece]) -> list[Piece]:
    (whole,) = pieces
    assert isinstance(whole, bytes)
    return [whole[: whole.index(f'{{"cdr_id": "{name}"'.encode())], LOST]


def ids(batch: Any) -> list[str]:
    return [str(name) for name in batch.column("call_num").to_pylist()]


async def test_batches_have_the_size_asked_for_and_the_cursor_follows(service: Service) -> None:
    service.answers["/cdr/conf/c1"] = [rows_of(*"abcdefg")]
    stream = cdr(service.pipeline()).by_conference("c1")
    sizes, cursors = [], []
    async for batch in stream.arrow(3):
        assert batch.schema.equals(SCHEMA)
        sizes.append(batch.num_rows)
        cursors.append(str(stream.cursor))
    assert sizes == [3, 3, 1]
    for done, cursor in enumerate(cursors, 1):
        rest = [ids(batch) async for batch in cdr(service.pipeline()).by_conference("c1", cursor=cursor).arrow()]
        assert rest == ([list("abcdefg")[3 * done :]] if done < 3 else [])


async def test_stream_whose_wait_for_a_thread_was_cancelled_does_not_end_in_silence(service: Service) -> None:
    service.answers["/cdr/conf/c1"] = [rows_of(*"abcdefg")]
    stream = cdr(service.pipeline()).by_conference("c1")
    threads = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(threads)
    batches, busy = stream.arrow(3), threading.Event()
    assert ids(await anext(batches)) == list("abc")
    threads.submit(busy.wait)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await anext(batches)
    busy.set()
    for default in ((), (None,)):
        with pytest.raises(ConfigurationError, match="was cancelled, which closed the stream") as failed:
            await anext(batches, *default)
        rest = cdr(service.pipeline()).by_conference("c1", cursor=failed.value.cursor).arrow()
        assert [ids(batch) async for batch in rest] == [list("defg")]
    await stream.aclose()


async def test_a_batch_may_have_rows_of_two_weeks(service: Service) -> None:
    service.answers["/cdr/period/2026-01-01/2026-01-08"] = [rows_of(*"abc")]
    service.answers["/cdr/period/2026-01-08/2026-01-15"] = [rows_of(*"def", week=1)]
    stream = cdr(service.pipeline()).by_period("2026-01-01", "2026-01-14")
    assert [ids(batch) async for batch in stream.arrow(4)] == [list("abcd"), list("ef")]


async def test_no_records_are_no_batch(service: Service) -> None:
    service.answers["/cdr/conf/c1"] = [rows_of()]
    assert [batch async for batch in cdr(service.pipeline()).by_conference("c1").arrow()] == []


@pytest.mark.parametrize("size", [0, -1, True, 1.0, "10", None, 1_000_001])
async def test_size_of_batches_is_checked_before_anything_is_sent(service: Service, size: Any) -> None:
    stream = cdr(service.pipeline()).by_conference("c1")
    with pytest.raises(ValidationError, match="1 to 1,000,000"):
        stream.arrow(size)
    assert service.requests == []


async def test_missing_pyarrow_is_an_error_that_names_the_extra(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    stream = cdr(service.pipeline()).by_conference("c1")
    with pytest.raises(ConfigurationError, match=r"pip install 'videoapi\[data\]'"):
        stream.arrow()


async def test_restart_of_rows_that_were_not_yielded_is_not_seen(service: Service) -> None:
    service.answers["/cdr/conf/c1"] = [cut_before("c", rows_of(*"abc")), rows_of(*"abc", b="new")]
    stream = cdr(service.pipeline()).by_conference("c1")
    assert [(ids(batch), stream.discarded) async for batch in stream.arrow()] == [(["a", "new", "c"], 0)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 10])
async def test_removing_what_is_discarded_leaves_each_row_once(service: Service, size: int) -> None:
    service.answers["/cdr/period/2026-01-01/2026-01-08"] = [rows_of(*"xyz")]
    service.answers["/cdr/period/2026-01-08/2026-01-15"] = [
        cut_before("e", rows_of(*"abcde", week=1)),
        rows_of(*"abcde", week=1, b="new"),
    ]
    stream = cdr(service.pipeline()).by_period("2026-01-01", "2026-01-14")
    stored: list[str] = []
    async for batch in stream.arrow(size):
        del stored[len(stored) - stream.discarded :]
        stored += ids(batch)
    assert stored == ["x", "y", "z", "a", "new", "c", "d", "e"]
    assert stream.restarted


async def test_a_window_that_comes_again_without_rows_ends_in_an_empty_batch(service: Service) -> None:
    day = "2026-01-01T10:00:00.000Z"
    other = json.dumps({"result": "0", "cdr": [{"cdr_id": "z", "trans_date": "2025-12-01T00:00:00.000Z"}]}).encode()
    lost = rows_of("a", "b", "c")
    assert day
    service.answers["/cdr/period/2026-01-01/2026-01-08"] = [cut_before("c", lost), [other]]
    stream = cdr(service.pipeline()).by_period("2026-01-01", "2026-01-07")
    found = [(batch.num_rows, stream.discarded) async for batch in stream.arrow(2)]
    assert found in ([(2, 0), (0, 2)], [(2, 0)])
    if stream.restarted:
        assert found[-1] == (0, 2)


async def test_a_failure_during_a_restart_continues_after_the_last_batch(
    service: Service, refused: Callable[[int, int], Any]
) -> None:
    changed = rows_of(*"abcde", b="new")
    service.answers["/cdr/conf/c1"] = [cut_before("e", rows_of(*"abcde")), changed, refused(403, 40002), changed]
    stored: list[str] = []
    cursor: Any = None
    for _ in range(2):
        stream = cdr(service.pipeline()).by_conference("c1", cursor=cursor)
        try:
            async for batch in stream.arrow(2):
                del stored[len(stored) - stream.discarded :]
                stored += ids(batch)
        except VideoAPIError as error:
            cursor = error.cursor
    assert stored == ["a", "new", "c", "d", "e"]


async def test_error_names_the_cursor_of_the_last_batch_not_of_rows_that_are_held(
    service: Service, refused: Callable[[int, int], Any]
) -> None:
    service.answers["/cdr/conf/c1"] = [cut_before("e", rows_of(*"abcde")), refused(403, 40002), rows_of(*"abcde")]
    stored: list[str] = []
    with pytest.raises(VideoAPIError) as caught:
        async for batch in cdr(service.pipeline()).by_conference("c1").arrow(3):
            stored += ids(batch)
    assert stored == ["a", "b", "c"]
    async for batch in cdr(service.pipeline()).by_conference("c1", cursor=caught.value.cursor).arrow(3):
        stored += ids(batch)
    assert stored == list("abcde")


async def test_leaving_early_closes_the_connections(service: Service) -> None:
    service.answers["/cdr/conf/c1"] = [rows_of(*"abc")]
    async with cdr(service.pipeline()).by_conference("c1") as stream:
        async for _ in stream.arrow(1):
            break
    assert service.open == 0
    with pytest.raises(ConfigurationError, match="read once"):
        stream.arrow()


async def test_odd_fields_read_null_and_are_counted(service: Service) -> None:
    rows = [{"cdr_id": "a", "sip": [1]}, {"cdr_id": "b", "sip": True}, 17]
    service.answers["/cdr/conf/c1"] = [[json.dumps({"result": "0", "cdr": rows}).encode()]]
    stream = cdr(service.pipeline()).by_conference("c1")
    (batch,) = [batch async for batch in stream.arrow()]
    assert batch.column("sip").to_pylist() == [None, True]
    assert (dict(stream.odd), stream.rejected_count) == ({"sip": 1}, 1)


async def test_archives_and_rooms_have_schemas_of_their_own(service: Service) -> None:
    archive = {"_id": "a", "conf_num": "c", "recording": [{"url": "https://x.example/1"}]}
    service.answers["/archive/conf/c1"] = [[json.dumps({"result": "0", "archive": [archive]}).encode()]]
    (batch,) = [one async for one in Reports(service.pipeline(), ARCHIVES).by_conference("c1").arrow()]
    assert (batch.schema, batch.num_rows) == (ARCHIVE_SCHEMA, 1)

    from videoapi.protocol import routes
    from videoapi.protocol.routes import Options, Request

    service.answers["/rooms"] = [[json.dumps({"result": 0, "rooms": [{"room_id": "r1", "name": "A"}]}).encode()]]
    request = Request(route=routes.LIST_ROOMS, path="/rooms", options=Options(), stream=True)
    stream = records_module.room_list(service.pipeline(), request, extra=False, strict=False, timeout=None)
    (batch,) = [one async for one in stream.arrow()]
    assert (batch.schema, batch.column("room_id").to_pylist()) == (ROOM_SCHEMA, ["r1"])


async def test_batches_make_a_table(service: Service) -> None:
    service.answers["/cdr/conf/c1"] = [rows_of(*"abcdefg")]
    batches = [batch async for batch in cdr(service.pipeline()).by_conference("c1").arrow(2)]
    assert pyarrow.Table.from_batches(batches).num_rows == 7
