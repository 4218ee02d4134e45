"""Lists and reports: no record is skipped or duplicated, and an incomplete list proves nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Any

import pytest
from support.clients import EAGER, ONCE, client_for
from support.server import Link, Script, answer, serve

from videoapi import ConnectionFailed, CreateOutcomeUnknown, ServerFault, VideoClient
from videoapi.creation.references import reference_for
from videoapi.streaming.records import RecordStream

Row = dict[str, Any]
Rows = Callable[[date, date], Sequence[Row]]
FIRST, LAST = date(2026, 1, 1), date(2026, 1, 20)


def row(number: int, day: date, size: int = 0) -> Row:
    return {"cdr_id": f"id{number}", "trans_date": f"{day}T10:00:00.000Z", "pad": "x" * size}


def days(first: date, last: date) -> list[date]:
    return [first + timedelta(n) for n in range((last - first).days + 1)]


def period_of(target: str) -> tuple[date, date]:
    first, until = target.rsplit("/", 2)[1:]
    return date.fromisoformat(first), date.fromisoformat(until)


def cdr_body(rows: Sequence[Row]) -> bytes:
    return json.dumps({"result": "0", "cdr": list(rows)}).encode()


def reports(rows: Rows, period_end: str) -> Script:
    """Return a service that filters by day; the period's end is inclusive or exclusive."""

    async def script(link: Link) -> None:
        while True:
            first, until = period_of((await link.request()).target)
            last = until if period_end == "inclusive" else until - timedelta(1)
            found = [r for r in rows(first, until) if str(first) <= r["trans_date"][:10] <= str(last)]
            link.answer(200, cdr_body(found))
            await link.drain()

    return script


async def record_ids(stream: RecordStream[Any]) -> list[str]:
    return [record.cdr_id for record in await stream.to_list()]


both_ends = pytest.mark.parametrize("period_end", ["inclusive", "exclusive"])


@both_ends
async def test_f67_record_on_a_day_shared_by_two_windows(period_end: str) -> None:
    """F67 | a record on a day shared by two windows, or outside the period | once, or not at all | both period ends"""
    everything = [row(number, day) for number, day in enumerate(days(FIRST - timedelta(2), LAST + timedelta(2)))]
    wanted = [r["cdr_id"] for r in everything if str(FIRST) <= r["trans_date"][:10] <= str(LAST)]
    async with serve(reports(lambda *_: everything, period_end)) as server, client_for(server.base_url) as client:
        assert await record_ids(client.cdr.by_period(FIRST, LAST)) == wanted
        assert len(server.requests) == 3


@both_ends
async def test_f67_rows_appear_between_two_windows(period_end: str) -> None:
    """F67 | rows appear late, between the reads of two windows | none skipped, none twice | both period ends"""
    late = row(99, date(2026, 1, 8))
    requested: list[date] = []
    everything = [row(number, day) for number, day in enumerate(days(FIRST, LAST))]

    def rows(first: date, until: date) -> list[Row]:
        requested.append(first)
        return everything if first == FIRST else [late, *everything]

    async with serve(reports(rows, period_end)) as server, client_for(server.base_url) as client:
        found = await record_ids(client.cdr.by_period(FIRST, LAST))
    assert sorted(found) == sorted([r["cdr_id"] for r in everything] + ["id99"])
    assert FIRST in requested


@both_ends
@pytest.mark.parametrize("change", ["gone", "late"])
async def test_f67_rows_change_between_two_reads(period_end: str, change: str) -> None:
    """F67 | a row appears or disappears between two reads of a window | others: none skipped, none twice | both ends"""
    start, end = FIRST, FIRST + timedelta(4)
    before = [row(number, day) for number, day in enumerate(days(start, end))]
    after = before[:1] + before[2:] if change == "gone" else [*before, row(99, end)]

    async def script(link: Link) -> None:
        await link.request()
        if len(link.server.requests) == 1:
            # The first response ends after the third row.
            complete = answer(200, cdr_body(before))
            link.send(complete[: complete.index(b'{"cdr_id": "id3"')])
            await link.drain()
            link.close()
        else:
            link.answer(200, cdr_body(after))
            await link.gone()

    async with serve(script) as server, client_for(server.base_url) as client:
        found = await record_ids(client.cdr.by_period(start, end))
        assert len(server.requests) == 2
    assert found == [r["cdr_id"] for r in before] + (["id99"] if change == "late" else [])


@pytest.mark.parametrize(
    "hint",
    [
        {"total": 10**9},
        {"total": -1},
        {"total": 0},
        {"next": "/video/v2/cdr/period/2026-01-01/2026-01-08"},
        {"page": 1, "pages": 99, "cursor": "again"},
        {},
    ],
    ids=["total-huge", "total-negative", "total-0", "next", "cursor", "none"],
)
@both_ends
async def test_f68_service_always_responds_the_same(hint: dict[str, Any], period_end: str) -> None:
    """F68 | same rows for every request; `next`, cursors, totals | one request per window, then the end | raw server

    No route has pages, and no response field triggers another request.
    """
    rows = [row(number, day) for number, day in enumerate(days(FIRST, LAST))]
    body = json.dumps({"result": "0", "cdr": rows, **hint}).encode()

    async def script(link: Link) -> None:
        while True:
            await link.request()
            link.answer(200, body)

    async with serve(script) as server, client_for(server.base_url) as client:
        assert await record_ids(client.cdr.by_period(FIRST, LAST)) == [r["cdr_id"] for r in rows]
        assert len(server.requests) == 3


def failing(window: date, times: int | None, how: str) -> tuple[Script, list[date]]:
    """Return a service with two rows per day; one window fails `times` times: in its body, with 503, or unanswered."""
    failed: list[date] = []

    async def script(link: Link) -> None:
        while True:
            first, until = period_of((await link.request()).target)
            rows = [row(10 * day.toordinal() + n, day) for day in days(first, until) for n in (0, 1)]
            complete = answer(200, cdr_body(rows))
            if first != window or (times is not None and len(failed) >= times):
                link.send(complete)
                await link.drain()
                continue
            failed.append(first)
            if how == "503":
                link.answer(503, b"<html>busy</html>")
                await link.drain()
                continue
            link.send(complete[: len(complete) * (1 + len(failed)) // 6] if how == "body" else b"")
            await link.drain()
            link.close()
            return

    return script, failed


@pytest.mark.parametrize("how", ["body", "503", "closed"])
async def test_f69_window_fails_twice_then_succeeds(how: str) -> None:
    """F69 | window k fails twice | resumed after the last record: none skipped, none twice | three ways"""
    script, failed = failing(FIRST + timedelta(7), 2, how)
    async with serve(script) as server, client_for(server.base_url) as client:
        stream = client.cdr.by_period(FIRST, LAST)
        found = await record_ids(stream)
        assert not stream.restarted
    assert found == [f"id{10 * day.toordinal() + n}" for day in days(FIRST, LAST) for n in (0, 1)]
    assert len(failed) == 2


@pytest.mark.parametrize("how", ["body", "503", "closed"])
async def test_f69_window_always_fails(how: str) -> None:
    """F69 | window k always fails | an error whose cursor resumes after the last record | three ways"""
    script, _ = failing(FIRST + timedelta(7), None, how)
    seen: list[str] = []
    async with serve(script) as server, client_for(server.base_url, retry=ONCE) as client:
        with pytest.raises((ConnectionFailed, ServerFault)) as failed:
            async for record in client.cdr.by_period(FIRST, LAST):
                seen.append(record.cdr_id or "")
    assert seen
    complete, _ = failing(FIRST, 0, how)
    async with serve(complete) as server, client_for(server.base_url) as client:
        rest = client.cdr.by_period(FIRST, LAST, cursor=str(failed.value.cursor))
        found = seen + await record_ids(rest)
        assert not rest.restarted
    assert found == [f"id{10 * day.toordinal() + n}" for day in days(FIRST, LAST) for n in (0, 1)]


@both_ends
async def test_f69_cursor_record_is_gone(period_end: str) -> None:
    """F69 | the cursor's record is gone | its window is read again from the start; `cursor.restarted` | both ends"""
    everything = [row(number, day) for number, day in enumerate(days(FIRST, LAST))]
    async with serve(reports(lambda *_: everything, period_end)) as server, client_for(server.base_url) as client:
        stream = client.cdr.by_period(FIRST, LAST)
        async with stream:
            async for record in stream:
                if record.cdr_id == "id9":
                    break
        cursor = str(stream.cursor)
        del everything[9]
        again = client.cdr.by_period(FIRST, LAST, cursor=cursor)
        found = await record_ids(again)
        assert again.cursor.restarted
    # The window that starts on the 8th, from its first record.
    assert found == ["id7", "id8", *(f"id{n}" for n in range(10, 20))]


# Room scans

REFERENCE = reference_for("job", "unresolved")
KNOWN_REFERENCE = reference_for("job", "certain")
KNOWN: Row = {"room_id": "known0known0", "owner_ref": KNOWN_REFERENCE, "data": {"videoapi_ref": KNOWN_REFERENCE}}
FOREIGN: list[Row] = [{"room_id": f"foreign{n:05}", "owner_ref": f"u{n}", "name": "F" * 60} for n in range(300)]
WANTED: Row = {"room_id": "wanted0wanted0", "owner_ref": REFERENCE, "name": "W", "created": "2026-01-01T00:00:00Z"}
SETTLE = 0.05


def listing(*rooms: Row | bytes, before: str = '{"result":0,"rooms":[', after: str = "]}") -> bytes:
    texts = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in rooms]
    return before.encode() + b",".join(texts) + after.encode()


# The known room comes first, so that truncation does not hide it.
GOOD = listing(KNOWN, *FOREIGN)


@asynccontextmanager
async def scanning(listed: bytes, *, end: str = "open") -> AsyncIterator[VideoClient]:
    """Yield a client with a short settle time, of a service whose room list is these bytes, headers included."""

    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            if not seen.target.endswith("/rooms"):
                link.answer(200, {"result": 0, "room": KNOWN})
                continue
            link.send(listed)
            await link.drain()
            if end == "fin":
                link.close()
                return
            if end == "rst":
                await asyncio.sleep(0.02)
                link.reset()
                return

    async with serve(script) as server, client_for(server.base_url, settle=SETTLE, retry=EAGER) as client:
        yield client


def cut(body: bytes, share: float) -> bytes:
    complete = answer(200, body)
    return complete[: int(len(complete) * share)]


NOT_PROVEN: dict[str, tuple[bytes, str]] = {
    "cut-at-99": (cut(GOOD, 0.99), "fin"),
    "reset-at-99": (cut(GOOD, 0.99), "rst"),
    "short-as-if-it-were-all": (answer(200, GOOD[: int(len(GOOD) * 0.99)]), "open"),
    "without-its-last-bracket": (answer(200, GOOD[:-1]), "open"),
    "gzip-cut": (answer(200, gzip.compress(GOOD)[:-30], {"Content-Encoding": "gzip"}), "open"),
    "another-encoding": (answer(200, GOOD, {"Content-Encoding": "br"}), "open"),
    "203": (answer(203, GOOD), "open"),
    "206": (answer(206, GOOD), "open"),
    "a-later-error": (answer(200, listing(KNOWN, *FOREIGN, before='{"rooms":[', after='],"result":50002}')), "open"),
    "two-results": (answer(200, listing(*FOREIGN, KNOWN, after='],"result":0}')), "open"),
    "no-result": (answer(200, listing(*FOREIGN, KNOWN, before='{"rooms":[')), "open"),
    "rooms-null": (answer(200, b'{"result":0,"rooms":null}'), "open"),
    "rooms-object": (answer(200, b'{"result":0,"rooms":{}}'), "open"),
    "no-rooms": (answer(200, b'{"result":0}'), "open"),
    "rooms-twice": (answer(200, listing(KNOWN, after='],"rooms":[]}')), "open"),
    "trailing-bytes": (answer(200, GOOD + b" x"), "open"),
    "two-documents": (answer(200, GOOD + GOOD), "open"),
    "no-known-room": (answer(200, listing(*FOREIGN)), "open"),
    "known-room-changed": (answer(200, listing({**KNOWN, "owner_ref": KNOWN["owner_ref"][:-1]})), "open"),
    "ours-unreadable": (answer(200, listing(KNOWN, b'{"owner_ref":"%b",}' % REFERENCE.encode())), "open"),
}


@pytest.mark.parametrize(("listed", "end"), NOT_PROVEN.values(), ids=NOT_PROVEN)
async def test_f69a_incomplete_list_does_not_prove_absence(listed: bytes, end: str) -> None:
    """F69a | list cut at 99 %, reset, gzip cut, 203, 206, a later code, `rooms` null or twice | not "absent" | list"""
    async with scanning(listed, end=end) as client, asyncio.timeout(5):
        with pytest.raises(CreateOutcomeUnknown) as unknown:
            await client.rooms.resolve(REFERENCE, control=KNOWN["room_id"])
        assert unknown.value.reference == REFERENCE
        assert unknown.value.may_have_executed


UNUSUAL: dict[str, bytes] = {
    "nothing-odd": GOOD,
    "result-last": listing(*FOREIGN, KNOWN, before='{"rooms":[', after='],"result":0}'),
    "result-text": listing(*FOREIGN, KNOWN, before='{"result":"0","rooms":['),
    "bom": b"\xef\xbb\xbf" + GOOD,
    "lone-surrogate": listing(*FOREIGN, b'{"room_id":"odd0odd0odd0","name":"\\ud800"}', KNOWN),
    "raw-bad-bytes": listing(*FOREIGN, b'{"room_id":"odd0odd0odd0","name":"\xff\xfe"}', KNOWN),
    "null-name": listing(*FOREIGN, {"room_id": "odd0odd0odd0", "name": None}, KNOWN),
    "number-as-reference": listing(*FOREIGN, {"room_id": "odd0odd0odd0", "owner_ref": 42}, KNOWN),
    "not-json": listing(*FOREIGN, b'{"room_id":NaN,}', KNOWN),
    "not-an-object": listing(*FOREIGN, b"null", b'"vx"', b"[1]", KNOWN),
    "like-a-reference": listing({"room_id": "odd0odd0odd0", "owner_ref": "vx-my-own", "name": "vx"}, KNOWN),
}


@pytest.mark.parametrize("body", UNUSUAL.values(), ids=UNUSUAL)
@pytest.mark.parametrize("coding", ["identity", "gzip", "chunked"])
async def test_f69a_unusual_foreign_rooms_do_not_break_a_scan(body: bytes, coding: str) -> None:
    """F69a | a lone surrogate, BOM, null name, number as `owner_ref` in foreign rooms | the scan is valid | list"""
    if coding == "gzip":
        listed = answer(200, gzip.compress(body), {"Content-Encoding": "gzip"})
    elif coding == "chunked":
        pieces = [body[n : n + 997] for n in range(0, len(body), 997)]
        framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        listed = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"
    else:
        listed = answer(200, body)
    async with scanning(listed) as client:
        assert await client.rooms.resolve(REFERENCE, control=KNOWN["room_id"]) is None


@pytest.mark.parametrize("name", ['"\\ud800"', '"\\u0000"', "null", "5", '{"a":1}'])
async def test_f69a_wanted_room_with_an_odd_name_is_found(name: str) -> None:
    """F69a | the wanted room has an odd name | found | list"""
    ours = b'{"room_id":"wanted0wanted0","owner_ref":"%b","name":%b}' % (REFERENCE.encode(), name.encode())
    async with scanning(answer(200, listing(*FOREIGN, ours, KNOWN))) as client:
        found = await client.rooms.resolve(REFERENCE)
    assert found is not None
    assert found.room_id == "wanted0wanted0"


@pytest.mark.parametrize("share", [0.99, 0.5])
async def test_f69a_presence_is_proof_even_in_a_truncated_list(share: float) -> None:
    """F69a | a truncated list that shows the room | found: presence is always proof | list"""
    async with scanning(cut(listing(WANTED, *FOREIGN), share), end="fin") as client:
        found = await client.rooms.resolve(REFERENCE)
    assert found is not None
    assert found.room_id == WANTED["room_id"]


SERVER = """
    import asyncio, sys
    rooms, size, share = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    async def answer(reader, writer):
        await reader.readuntil(b"\\r\\n\\r\\n")
        writer.write(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
        def send(block):
            writer.write(b"%x\\r\\n%b\\r\\n" % (len(block), block))
        send(b'{"result":0,"rooms":[')
        pad = "n" * (size - 60)
        for start in range(0, int(rooms * share), 500):
            block = ",".join('{"room_id":"room%08d","owner_ref":"u","name":"%s"}' % (n, pad)
                             for n in range(start, start + 500)).encode()
            send((b"," if start else b"") + block)
            await writer.drain()
        if share == 1:
            send(b"]}")
            writer.write(b"0\\r\\n\\r\\n")
        await writer.drain()
        writer.close()
    async def main():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()
    asyncio.run(main())
"""
CLIENT = """
    import asyncio, os, sys
    from support.clients import ONCE, client_for
    from videoapi import CreateOutcomeUnknown, VideoAPIError
    from videoapi.creation.references import reference_for
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    async def main():
        count = base = most = 0
        failed = ""
        async with client_for(f"http://127.0.0.1:{sys.argv[1]}/video/v2", retry=ONCE, settle=0.05) as client:
            try:
                async for room in client.rooms.list():
                    count += 1
                    if count == 1_000:
                        base = resident()
                    if count % 5_000 == 0:
                        most = max(most, resident())
            except VideoAPIError as error:
                failed = type(error).__name__
            try:
                print(await client.rooms.resolve(reference_for("job", "x")))
            except CreateOutcomeUnknown:
                pass
        print(count, most - base, resident() - base, failed)
    asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
@pytest.mark.parametrize("share", [1.0, 0.99])
@pytest.mark.parametrize(
    ("rooms", "size"), [(50_000, 400), pytest.param(200_000, 1500, marks=[pytest.mark.scale, pytest.mark.slow])]
)
def test_f69a_lists_of_any_size_in_bounded_memory(rooms: int, size: int, share: float) -> None:
    """F69a | 20 MB of rooms, at scale 300 MB; complete, or cut at 99 % | memory within 64 MiB; cut: an error | RSS"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(SERVER), str(rooms), str(size), str(share)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            done = subprocess.run(
                [sys.executable, "-c", textwrap.dedent(CLIENT), port],
                capture_output=True,
                text=True,
                timeout=200,
                check=False,
                env=environment,
            )
        finally:
            server.kill()
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    count, grown, grown_by_scan, *failed = line.split()
    # The last rooms before the cut may be missing.
    assert int(count) == rooms if share == 1 else rooms * 0.9 < int(count) <= rooms * share
    assert int(grown) < 64 << 10
    assert int(grown_by_scan) < 64 << 10
    assert failed == ([] if share == 1 else ["ConnectionFailed"])


# The consumer


async def flood(link: Link, sent: list[int], blocks: int = 600) -> None:
    link.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for number in range(blocks):
        rows = [json.dumps(row(number * 50 + n, FIRST, 1500)) for n in range(50)]
        block = ('{"result":"0","cdr":[' if number == 0 else ",").encode() + ",".join(rows).encode()
        link.send(b"%x\r\n%b\r\n" % (len(block), block))
        await link.writer.drain()
        sent.append(len(block))
    link.send(b"2\r\n]}\r\n0\r\n\r\n")


async def test_f70_slow_consumer_applies_backpressure() -> None:
    """F70 | a consumer that pauses | backpressure: only the buffers fill up | 45 MB available"""
    sent: list[int] = []

    async def script(link: Link) -> None:
        await link.request()
        await flood(link, sent)

    async with serve(script) as server, client_for(server.base_url) as client:
        async with client.cdr.by_room("room12345678") as stream:
            await anext(aiter(stream))
            before = -1
            while len(sent) != before:
                before = len(sent)
                await asyncio.sleep(0.1)
            assert sum(sent) < 20_000_000
            assert stream.received < 2_000


async def test_f70_at_most_two_windows_are_opened_ahead() -> None:
    """F70 | a period of many windows, read slowly | at most two windows are opened ahead | raw server"""
    async with serve(reports(lambda first, until: [row(first.toordinal(), first)], "inclusive")) as server:
        async with client_for(server.base_url) as client:
            count = 0
            async with client.cdr.by_period(FIRST, FIRST + timedelta(100)) as stream:
                async for _ in stream:
                    count += 1
                    for _ in range(30):
                        await asyncio.sleep(0)
                    assert len(server.requests) <= count + 2
            assert count == len(server.requests) == 15


async def in_flight(client: VideoClient) -> int:
    return len(client._manager.pool.api().connector._acquired)  # type: ignore[union-attr]


@pytest.mark.parametrize("how", ["block", "aclose", "break", "error", "cancel"])
async def test_f70_leaving_early_closes_the_connection(how: str) -> None:
    """F70 | left by `async with`, `aclose()`, `break`, an error, a cancellation | the connection closes | raw server"""
    gone = asyncio.Event()

    async def script(link: Link) -> None:
        await link.request()
        try:
            await flood(link, [])
        except ConnectionError:
            gone.set()

    async def leave(client: VideoClient) -> None:
        stream = client.cdr.by_room("room12345678")
        if how == "break":
            async for _ in stream:
                break
            return
        if how == "aclose":
            await anext(aiter(stream))
            await stream.aclose()
            assert await in_flight(client) == 0
            return
        async with stream:
            async for _ in stream:
                if how == "error":
                    raise KeyError("raised by the consumer")
                if how == "cancel":
                    asyncio.current_task().cancel()  # type: ignore[union-attr]
                    await asyncio.sleep(0)
                break
        assert await in_flight(client) == 0

    async with serve(script) as server, client_for(server.base_url) as client:
        task = asyncio.create_task(leave(client))
        await asyncio.wait([task])
        assert task.cancelled() == (how == "cancel")
        assert how == "cancel" or isinstance(task.exception(), KeyError) == (how == "error")
        async with asyncio.timeout(5):
            await gone.wait()
        assert await in_flight(client) == 0
        manager = client._manager
        assert manager.pool.stream_permits.free == manager.pool.max_streams
