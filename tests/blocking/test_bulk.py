"""Bulk runs: user code runs in the thread that waits, and holds up no other call."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import pytest

from videoapi import BulkReport, ConfigurationError, ConnectionFailed, Room, RoomSpec, TokenSpec, VideoAPIError
from videoapi.blocking import SessionManager, VideoClient, portal
from videoapi.sandbox import Sandbox

USER: ContextVar[str] = ContextVar("USER", default="none")


class Specs:
    """A generator of specs that notes in which thread and context it runs, and whether it was closed."""

    def __init__(self, count: int | None = None) -> None:
        self.threads: set[threading.Thread] = set()
        self.users: set[str] = set()
        self.read = 0
        self.closed = False
        self._count = count

    def __iter__(self) -> Iterator[RoomSpec]:
        try:
            for number in itertools.count() if self._count is None else range(self._count):
                self.threads.add(threading.current_thread())
                self.users.add(USER.get())
                self.read += 1
                yield RoomSpec(f"Room {number}", key=f"row-{number}")
        finally:
            self.threads.add(threading.current_thread())
            self.closed = True


def test_inputs_and_progress_run_in_the_calling_thread(client: VideoClient, sandbox: Sandbox) -> None:
    USER.set("Ann")
    specs, totals, threads = Specs(40), [], set()

    def progress(report: BulkReport) -> None:
        totals.append((report.total, sum(report.counts.values())))
        threads.add(threading.current_thread())

    report = client.rooms.create_many(iter(specs), concurrency=4, progress=progress)
    assert report.counts == {"created": 40}
    assert [outcome.index for outcome in report.made] == list(range(40))
    assert totals == [(total, total) for total in range(1, 41)]
    assert specs.threads == threads == {threading.current_thread()}
    assert specs.users == {"Ann"}
    assert len(sandbox.ledger.created) == 40


def test_failing_progress_changes_no_outcome(client: VideoClient, caplog: pytest.LogCaptureFixture) -> None:
    def progress(report: BulkReport) -> None:
        raise LookupError("progress")

    report = client.rooms.create_many([RoomSpec("One"), RoomSpec("Two")], progress=progress)
    assert report.counts == {"created": 2}
    assert "progress= raised an error" in caplog.text


@pytest.mark.parametrize("error", [LookupError, StopIteration, StopAsyncIteration])
def test_failing_inputs_raise_with_the_report(client: VideoClient, error: type[Exception]) -> None:
    class Inputs:
        """An iterator, because a generator cannot raise `StopIteration`."""

        def __init__(self) -> None:
            self._left = iter(range(3))

        def __iter__(self) -> Inputs:
            return self

        def __next__(self) -> RoomSpec:
            number = next(self._left, None)
            if number is None:
                raise error
            return RoomSpec(f"Room {number}")

    if error is StopIteration:
        assert client.rooms.create_many(Inputs()).counts == {"created": 3}
        return
    with pytest.raises((error, RuntimeError)) as caught:
        client.rooms.create_many(Inputs())
    assert caught.value.report.counts == {"created": 3}  # type: ignore[union-attr]


def test_progress_that_exits_each_time_raises_with_the_report(client: VideoClient) -> None:
    def progress(report: BulkReport) -> None:
        raise SystemExit("enough")

    with pytest.raises(SystemExit, match="enough") as caught:
        client.rooms.create_many([RoomSpec(f"Room {number}") for number in range(20)], progress=progress, audit=False)
    report = caught.value.report  # type: ignore[attr-defined]
    assert report.counts["created"] >= 1
    assert report.total == 20


def test_slow_inputs_hold_up_no_other_call(client: VideoClient) -> None:
    reading, released = threading.Event(), threading.Event()

    def slow() -> Iterator[RoomSpec]:
        reading.set()
        assert released.wait(20)
        yield RoomSpec("Slow")

    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(client.rooms.create_many, slow())
        assert reading.wait(20)
        client.rooms.create(name="Quick")
        assert not run.done()
        released.set()
        assert run.result(20).counts == {"created": 1}


def test_callbacks_can_use_the_client(client: VideoClient, sandbox: Sandbox) -> None:
    def specs() -> Iterator[RoomSpec]:
        for number in range(3):
            client.rooms.create(name=f"Before {number}")
            yield RoomSpec(f"Room {number}")

    seen: list[Room] = []
    report = client.rooms.create_many(specs(), progress=lambda report: seen.append(client.rooms.list().to_list()[0]))
    assert report.counts == {"created": 3}
    assert len(seen) == 3
    assert len(sandbox.ledger.created) == 6


def test_outcomes_of_create_each(client: VideoClient, sandbox: Sandbox) -> None:
    specs = Specs(50)
    with client.rooms.create_each(iter(specs), concurrency=8) as run:
        keys = Counter(outcome.key for outcome in run)
    assert keys == Counter(f"row-{number}" for number in range(50))
    assert specs.threads == {threading.current_thread()}
    assert run.report.counts == {"created": 50}
    assert run.report.exhausted
    with pytest.raises(ConfigurationError):
        iter(run)


@pytest.mark.parametrize("way", ["with", "bare", "close"])
def test_run_that_is_left_early_keeps_every_outcome_and_closes_the_inputs(
    client: VideoClient, sandbox: Sandbox, way: str
) -> None:
    specs, seen = Specs(), []
    run = client.rooms.create_each(iter(specs), concurrency=4, audit=False)
    if way == "with":
        with run:
            seen = list(itertools.islice(run, 5))
    else:
        for outcome in run:
            seen.append(outcome)
            if len(seen) == 5:
                break
        if way == "close":
            run.close()
    report = run.report
    kept = [*report.made, *report.failures, *report.unknown, *report.not_sent]
    assert sorted(outcome.index for outcome in [*seen, *kept]) == list(range(specs.read))
    assert report.total == specs.read
    assert specs.closed
    assert specs.threads == {threading.current_thread()}
    assert report.counts["created"] == len(sandbox.ledger.created)


def test_outcome_that_was_taken_when_the_consumer_was_interrupted_is_in_the_report(
    client: VideoClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = client.rooms.create_each([RoomSpec(f"Room {number}") for number in range(5)], audit=False)
    outcomes = iter(run)
    seen = [next(outcomes)]
    result = portal._Call.result

    def interrupted(call: portal._Call[object]) -> object:
        monkeypatch.setattr(portal._Call, "result", result)
        raise KeyboardInterrupt

    monkeypatch.setattr(portal._Call, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(outcomes)
    report = run.report
    assert report.total > 1
    kept = [*report.made, *report.failures, *report.unknown, *report.not_sent]
    assert sorted(outcome.index for outcome in [*seen, *kept]) == list(range(report.total))


@pytest.mark.parametrize("by", ["progress", "inputs"])
def test_close_from_a_callback_stops_the_run(client: VideoClient, by: str) -> None:
    def specs() -> Iterator[RoomSpec]:
        for number in itertools.count():
            if by == "inputs" and number == 10:
                run.close()
            yield RoomSpec(f"Room {number}")

    def progress(report: BulkReport) -> None:
        if by == "progress" and report.total == 10:
            run.close()

    run = client.rooms.create_each(specs(), concurrency=2, progress=progress, audit=False)
    with run:
        assert len(list(run)) < 20
    assert not run.report.exhausted


@pytest.mark.parametrize("by", ["inputs", "progress"])
@pytest.mark.parametrize("iterated", [False, True], ids=["many", "each"])
def test_client_closed_by_a_callback_of_its_run_does_not_hang(sandbox: Sandbox, by: str, iterated: bool) -> None:
    client = VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url)

    def specs() -> Iterator[RoomSpec]:
        for number in range(20):
            if by == "inputs" and number == 3:
                client.close()
            yield RoomSpec(f"Room {number}")

    def progress(report: BulkReport) -> None:
        if by == "progress" and report.total == 3:
            client.close()

    def run() -> None:
        options: dict[str, Any] = {"progress": progress, "audit": False, "concurrency": 2}
        if iterated:
            list(client.rooms.create_each(specs(), **options))
        elif client.rooms.create_many(specs(), **options).stopped is not None:
            raise ConfigurationError

    with pytest.raises((ConfigurationError, ConnectionFailed)):
        run()
    assert len(sandbox.ledger.created) < 20


def test_client_closed_by_another_thread_keeps_the_outcomes_that_were_not_taken(sandbox: Sandbox) -> None:
    client = VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url)
    taken: list[str | None] = []
    enough, closing = threading.Event(), threading.Event()

    def consume() -> None:
        for outcome in run:
            taken.append(outcome.reference)
            if len(taken) == 3:
                enough.set()
                closing.wait(20)

    run = client.rooms.create_each((RoomSpec(f"Room {number}") for number in range(10_000)), concurrency=4)
    with ThreadPoolExecutor(2) as threads:
        consumer = threads.submit(consume)
        assert enough.wait(20)
        while sandbox.ledger.requests("rooms.create") < 3 + 4:
            time.sleep(0.01)
        closed = threads.submit(client.close)
        closed.result(20)
        closing.set()
        with pytest.raises(ConfigurationError, match="closed"):
            consumer.result(20)
    assert {*taken, *(outcome.reference for outcome in (*run.report.made, *run.report.unknown))} >= {
        entry.reference for entry in sandbox.ledger.created
    }


def test_client_closed_by_progress_says_that_rooms_were_created(sandbox: Sandbox) -> None:
    client = VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url)

    def progress(report: BulkReport) -> None:
        if report.counts["created"] == 5:
            client.close()

    specs = [RoomSpec(f"Room {number}") for number in range(100)]
    with pytest.raises(ConnectionFailed, match=r"May have been executed\.") as caught:
        client.rooms.create_many(specs, progress=progress, concurrency=2, audit=False)
    assert caught.value.may_have_executed
    assert caught.value.report is not None
    assert caught.value.report.counts["created"] >= 5


@pytest.mark.parametrize("by", ["inputs", "progress"])
@pytest.mark.parametrize("kind", ["function", "method", "object"])
def test_time_limit_that_a_signal_raises_in_a_callback_ends_the_run(client: VideoClient, by: str, kind: str) -> None:
    """As the soft time limit of Celery does; an error of `progress=` itself is only logged."""

    class TimeLimit(Exception):
        pass

    class Handler:
        def __call__(self, *_: object) -> None:
            raise TimeLimit

    def handler(*_: object) -> None:
        raise TimeLimit

    def specs() -> Iterator[RoomSpec]:
        for number in range(500):
            if by == "inputs" and number == 5:
                signal.raise_signal(signal.SIGUSR1)
            yield RoomSpec(f"Room {number}")

    def progress(report: BulkReport) -> None:
        if by == "progress" and report.total == 5:
            signal.raise_signal(signal.SIGUSR1)

    handlers: dict[str, Any] = {"function": handler, "method": Handler().__call__, "object": Handler()}
    before = signal.signal(signal.SIGUSR1, handlers[kind])
    try:
        with pytest.raises(TimeLimit) as caught:
            client.rooms.create_many(specs(), progress=progress, concurrency=2, audit=False)
    finally:
        signal.signal(signal.SIGUSR1, before)
    report: BulkReport = caught.value.report  # type: ignore[attr-defined]
    assert 3 <= report.counts["created"] < 20


def test_streams_are_inputs_of_the_same_and_of_another_client(client: VideoClient, sandbox: Sandbox) -> None:
    client.rooms.create_many([RoomSpec(f"Room {number}") for number in range(12)], audit=False)
    with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as other:
        firsts = itertools.islice(other.rooms.list(), 5)
        assert client.rooms.delete_many(firsts).counts == {"deleted": 5}
        assert client.rooms.delete_many(other.rooms.list()).counts == {"deleted": 7}
    room = client.rooms.create(name="Last")
    assert client.rooms.delete_many(client.rooms.list()).counts == {"deleted": 1}
    assert room.room_id not in sandbox.ledger.rooms


def test_deletes_and_tokens(client: VideoClient) -> None:
    room_id = client.rooms.create(name="Stand-up").room_id
    report = client.tokens.create_many(TokenSpec(room_id, f"User {n}", "viewer", "u") for n in range(5))
    assert report.counts == {"created": 5}
    with client.tokens.create_each([TokenSpec(room_id, "Ann", "viewer", "u")]) as run:
        assert [outcome.status for outcome in run] == ["created"]
    with client.rooms.delete_each({room_id}) as deletes:
        assert [outcome.status for outcome in deletes] == ["deleted"]


@pytest.mark.parametrize("given", [None, 5, "text", b"bytes"])
def test_invalid_inputs_are_the_usual_error(client: VideoClient, given: Any) -> None:
    with pytest.raises(ConfigurationError, match="iterable"):
        client.rooms.create_many(given)


def test_job_resumes_with_its_journal(client: VideoClient, sandbox: Sandbox, tmp_path: Any) -> None:
    job = {"job_id": "import", "journal": tmp_path / "jobs.sqlite"}
    assert client.rooms.create_many(iter(Specs(10)), **job).counts == {"created": 10}
    assert client.rooms.create_many(iter(Specs(15)), **job).counts == {"created": 15}
    assert sandbox.ledger.duplicates() == {}
    assert len({entry.reference for entry in sandbox.ledger.created if "row" in str(entry.name)}) == 0
    assert sum((entry.name or "").startswith("Room ") for entry in sandbox.ledger.created) == 15


def storm(sandbox: Sandbox, threads: int, creates: int) -> None:
    """Create rooms in many threads of one client under faults, and compare every outcome with the ledger."""
    for kind in ("drop_after", "drop_before", "reset_after", "status_after"):
        sandbox.fault("rooms.create", kind, times=None, rate=0.02, status=502 if kind == "status_after" else None)
    sandbox.fault("rooms.create", "throttle", times=None, rate=0.01, retry_after=0)
    wanted = [(thread, number) for thread in range(threads) for number in range(creates)]
    made: dict[tuple[int, int], Room] = {}

    def create(thread: int) -> None:
        for number in range(creates):
            while (thread, number) not in made:
                name = f"{thread}-{number}"
                try:
                    made[thread, number] = client.rooms.create(name=name, owner_ref=name, on_unknown="resend")
                except VideoAPIError as error:
                    # Otherwise it is proven absent each time that it was sent, and can be repeated.
                    if error.may_have_executed:
                        raise

    with (
        SessionManager(max_connections=threads) as session,
        VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, session=session, settle=0.3) as client,
        ThreadPoolExecutor(threads) as pool,
    ):
        for done in [pool.submit(create, thread) for thread in range(threads)]:
            done.result()
    assert sorted(made) == wanted
    rooms = sandbox.ledger.rooms
    assert len({room.room_id for room in made.values()}) == len(wanted)
    assert all(room.room_id in rooms and room.name == f"{t}-{n}" for (t, n), room in made.items())
    created = Counter(entry.owner_ref for entry in sandbox.ledger.created if "self-check" not in (entry.name or ""))
    assert created == Counter(f"{thread}-{number}" for thread, number in wanted)
    assert sandbox.ledger.duplicates() == {}


def test_creates_of_many_threads_under_faults_exist_exactly_once(sandbox: Sandbox) -> None:
    storm(sandbox, 8, 40)


@pytest.mark.scale
@pytest.mark.timeout(600)
def test_creates_of_16_threads_under_faults_exist_exactly_once(sandbox: Sandbox) -> None:
    storm(sandbox, 16, 500)
