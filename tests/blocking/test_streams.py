"""Streams: iterators of the calling thread, handed over in chunks, with a cursor for the record yielded last."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from videoapi import ConfigurationError, ProtocolError, RoomSpec, VideoAPIError
from videoapi.blocking import VideoClient
from videoapi.blocking.portal import LoopThread
from videoapi.sandbox import Sandbox

PERIOD = ("2026-01-01", "2026-01-31")
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def history() -> Iterator[VideoClient]:
    """A client of a service with so many call records that a response is never read in advance to its end."""
    service = Sandbox(seed="1", calls=3000, today=NOW.date(), clock=lambda: NOW)
    with service.in_thread() as sandbox, VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as client:
        yield client


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[VideoClient]:
    with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as client:
        client.rooms.create_many([RoomSpec(f"Room {number:03}") for number in range(100)], audit=False)
        yield client


@pytest.fixture
def changes_of_threads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The coroutines that a portal has run."""
    run, seen = LoopThread.run, []

    def counted(self: LoopThread, coroutine: object, callbacks: object, form: object) -> object:
        seen.append(coroutine)
        return run(self, coroutine, callbacks, form)  # type: ignore[arg-type]

    monkeypatch.setattr(LoopThread, "run", counted)
    return seen


def free_streams(client: VideoClient) -> int:
    return client._source._manager.pool.stream_permits.free  # type: ignore[attr-defined,no-any-return]


def test_records_arrive_in_chunks(client: VideoClient, changes_of_threads: list[object]) -> None:
    assert len(list(client.rooms.list())) == 100
    assert 2 <= len(changes_of_threads) <= 20


def test_cursor_is_that_of_the_record_yielded_last(client: VideoClient) -> None:
    ids = [room.room_id for room in client.rooms.list()]
    assert len(ids) == 100
    stream = client.cdr.by_period(*PERIOD)
    assert list(stream) == []
    listed = client.rooms.list()
    start = listed.cursor
    cursors = []
    for nth, _ in enumerate(listed, 1):
        cursors.append(listed.cursor)
        assert listed.counts().received == nth
    assert len({start, *cursors}) == 101


def test_stream_resumes_from_a_cursor_taken_within_a_chunk(history: VideoClient) -> None:
    everything = history.cdr.by_period(*PERIOD).to_list()
    assert len(everything) > 2000
    for stop in (1, 7, 60, 1999):
        stream = history.cdr.by_period(*PERIOD)
        first = list(itertools.islice(stream, stop))
        rest = history.cdr.by_period(*PERIOD, cursor=stream.cursor)
        assert [*first, *rest] == everything


@pytest.mark.parametrize(
    "leave",
    [
        lambda stream: next(iter(stream)),
        lambda stream: next(iter(stream.pages(3))),
        lambda stream: stream.__enter__() and [next(iter(stream)), stream.__exit__(None, None, None)],
        lambda stream: [next(iter(stream)), stream.close(), stream.close()],
    ],
    ids=["break", "break from pages", "with", "close"],
)
def test_stream_that_is_left_early_gives_its_connection_back(
    history: VideoClient, leave: Callable[[object], object]
) -> None:
    free = free_streams(history)
    for _ in range(free + 2):
        leave(history.cdr.by_period(*PERIOD))
        assert free_streams(history) == free


def test_stream_that_is_held_keeps_its_connection(history: VideoClient) -> None:
    free = free_streams(history)
    stream = iter(history.cdr.by_period(*PERIOD))
    next(stream)
    assert free_streams(history) < free
    del stream
    assert free_streams(history) == free


def test_error_in_the_loop_body_closes_the_stream(history: VideoClient) -> None:
    free = free_streams(history)

    def consume() -> None:
        for _ in history.cdr.by_period(*PERIOD):
            raise LookupError

    with pytest.raises(LookupError):
        consume()
    gc.collect()
    assert free_streams(history) == free


def test_broken_stream_raises_its_error_with_the_cursor(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.list", "cut", times=None)
    stream, seen = client.with_options(timeout=5).rooms.list(timeout=2), 0
    with pytest.raises(VideoAPIError) as caught:
        for _ in stream:
            seen += 1
    assert caught.value.cursor == stream.cursor
    with pytest.raises(VideoAPIError) as listed:
        client.rooms.list(timeout=2).to_list()
    assert isinstance(listed.value.partial, tuple)


def test_pages_have_the_requested_size_and_a_cursor(client: VideoClient) -> None:
    pages = list(client.rooms.list().pages(30))
    assert [len(page.records) for page in pages] == [30, 30, 30, 10]
    assert len({page.cursor for page in pages}) == 4


def test_stream_is_read_once(client: VideoClient) -> None:
    stream = client.rooms.list()
    assert len(list(stream)) == 100
    for again in (lambda: iter(stream), lambda: stream.pages(5), stream.to_list):
        with pytest.raises(ConfigurationError, match="once"):
            again()


def test_streams_of_many_threads(client: VideoClient) -> None:
    with ThreadPoolExecutor(8) as threads:
        lists = list(threads.map(lambda _: [room.room_id for room in client.rooms.list()], range(24)))
    assert len({tuple(sorted(ids)) for ids in lists}) == 1


def test_strict_stream_raises(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.add_room(b"7")
    with pytest.raises(ProtocolError):
        client.rooms.list(strict=True).to_list()
    stream = client.rooms.list()
    assert len(stream.to_list()) == 100
    assert stream.rejected_count == len(stream.rejected) == 1
