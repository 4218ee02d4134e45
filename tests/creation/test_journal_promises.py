"""What a journal promises: intents before every send, one account, its own past only, and no wait without end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from history.lives import Plan, arrived, live
from history.runs import REFUSAL
from support.jobs import LONG, SETTLE, abandon_job, client_of, created, keyed, run_job

from videoapi import ConfigurationError, Outcome, Request, RoomSpec, Send, VideoAPIError, VideoClient
from videoapi.bulk import BulkReport
from videoapi.creation import journal as journal_module
from videoapi.creation.journal import Journal
from videoapi.sandbox import Sandbox

DOUBTFUL = "vx" + "a" * 26
NEW = "vx" + "b" * 26

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite"


async def run(sandbox: Sandbox, count: int, **options: Any) -> BulkReport:
    return await run_job(sandbox, keyed(count), **options)


def each_once(count: int) -> list[str]:
    return sorted(spec.name for spec in keyed(count))


class TestIntents:
    async def test_create_refused_first_and_in_flight_when_killed_is_created_once(
        self, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        plan = attrs.evolve(Plan.of(sandbox, "j", 3, tmp_path, journal=True), settle=SETTLE)
        sandbox.plan([REFUSAL] * 3)
        assert await live(sandbox, plan)
        sandbox.plan([("late", {"seconds": 0.3})] * 3)
        assert not await live(sandbox, attrs.evolve(plan, life=1), arrived(sandbox, 3))

        report = await run(sandbox, 3, journal=plan.journal)

        assert await created(sandbox) == each_once(3)
        assert report.counts == {"created": 3}

    async def test_create_proven_absent_and_in_flight_when_killed_is_created_once(
        self, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        plan = attrs.evolve(Plan.of(sandbox, "j", 3, tmp_path, journal=True), settle=SETTLE)
        sandbox.plan(["drop_before"] * 3 + [None] + [("late", {"seconds": 0.3})] * 3)
        # The three, the self-check room, and the three again.
        assert not await live(sandbox, plan, arrived(sandbox, 7))

        report = await run(sandbox, 3, journal=plan.journal)

        assert await created(sandbox) == each_once(3)
        assert report.counts == {"created": 3}

    async def test_intent_is_on_disk_before_each_send(self, sandbox: Sandbox, journal: Path) -> None:
        sandbox.plan([REFUSAL] * 4)
        await run(sandbox, 4, journal=journal)
        states: list[list[Any]] = []

        async def recording(request: Request, send: Send) -> Outcome:
            if request.route.name == "rooms.create" and b'"Room ' in (request.body or b""):
                states.append(dump(journal))
            return await send(request)

        refused = dump(journal)
        async with client_of(sandbox, middleware=[recording]) as client:
            await client.rooms.create_many(keyed(4), job_id="j", journal=journal, concurrency=1)

        assert len(states) == 4
        assert all(state != refused for state in states), "the journal still says only that they were refused"

    async def test_not_sent_is_noted(self, sandbox: Sandbox, journal: Path) -> None:
        sandbox.fault("rooms.create", "throttle", times=None)
        first = await run(sandbox, 6, journal=journal, give_up_after=0.3)
        assert set(first.counts) == {"not_sent"}
        sandbox.clear_faults()

        async with asyncio.timeout(15):
            report = await run(sandbox, 6, settle=LONG, journal=journal)

        assert report.counts == {"created": 6}

    async def test_cancelled_run_notes_what_it_did_not_send(self, sandbox: Sandbox, journal: Path) -> None:
        sandbox.fault("rooms.create", "throttle", times=None, retry_after=20)
        task = asyncio.create_task(run(sandbox, 6, journal=journal, concurrency=4))
        while sandbox.ledger.requests("rooms.create") < 1:
            await asyncio.sleep(0.01)
        # The throttled ones wait for the pause to end.
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait([task])
        sandbox.clear_faults()

        async with asyncio.timeout(15):
            report = await run(sandbox, 6, settle=LONG, journal=journal)

        assert report.counts == {"created": 6}

    async def test_cancelled_run_has_no_doubt_about_creates_that_wait_for_the_rate(
        self, sandbox: Sandbox, journal: Path
    ) -> None:
        async def limited() -> None:
            async with client_of(sandbox, rate="6/min") as client:
                await client.rooms.create_many(keyed(6), job_id="j", journal=journal, concurrency=4)

        await run(sandbox, 1, journal=journal)
        task = asyncio.create_task(limited())
        while len([status for status in statuses(journal) if status is None]) < 3:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait([task])
        made = await created(sandbox)

        async with asyncio.timeout(15):
            report = await run(sandbox, 6, settle=LONG, journal=journal)

        assert len(made) < 6
        assert report.counts == {"created": 6}
        assert await created(sandbox) == each_once(6)

    async def test_run_cancelled_while_its_intents_are_written_has_nothing_in_doubt(
        self, sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        writing = slow_down(monkeypatch, 0.3)
        task = asyncio.create_task(run(sandbox, 6, journal=journal, concurrency=4))
        while not writing.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert not await created(sandbox)

        async with asyncio.timeout(15):
            report = await run(sandbox, 6, settle=LONG, journal=journal)

        assert report.counts == {"created": 6}
        assert await created(sandbox) == each_once(6)

    async def test_cancelled_intent_leaves_an_earlier_create_in_doubt(self, journal: Path) -> None:
        async with opened(journal) as log:
            assert await log.intend(DOUBTFUL, "", "=") is None
        async with opened(journal) as log:
            again = asyncio.create_task(log.intend(DOUBTFUL, "", "="))
            new = asyncio.create_task(log.intend(NEW, "", "="))
            await asyncio.sleep(0)
            again.cancel()
            new.cancel()
            await asyncio.wait([again, new])

        with contextlib.closing(sqlite3.connect(journal)) as database:
            left = dict(rows(database))
        assert left.pop(DOUBTFUL) is None
        # Nothing is written of a create that is cancelled before the thread takes its intent.
        assert left in ({}, {NEW: "not_sent"})

    async def test_intent_of_another_process_is_seen_while_both_run(self, journal: Path) -> None:
        async with opened(journal) as log, opened(journal) as other, opened(journal, "another job") as third:
            assert await other.intend(NEW, "", "=") is None
            assert await third.intend(DOUBTFUL, "", "=") is None
            entry = await log.intend(NEW, "", "=")
            assert entry is not None
            assert entry.status is None
            other.ended(NEW, "created", "6571f3c2a1b2c3d4e5f60718")
            await other.aclose()
            entry = await log.intend(NEW, "", "=")
            assert entry is not None
            assert entry.room_id == "6571f3c2a1b2c3d4e5f60718"

    async def test_journals_that_share_a_file_keep_their_rows_apart(self, journal: Path) -> None:
        async def write(log: Journal, who: int) -> None:
            for number in range(60):
                reference = f"vx{who:013d}{number:013d}"
                assert await log.intend(reference, f"identity {who}", f"={number}") is None
                log.ended(reference, "created", f"{who}-{number}", spec=None if number % 2 else "?")

        jobs = ("a", "b", "c")
        async with opened(journal, "a") as first, opened(journal, "b") as second, opened(journal, "c") as third:
            await asyncio.gather(*(write(log, who) for who, log in enumerate((first, second, third))))
        with contextlib.closing(sqlite3.connect(journal)) as database:
            found = database.execute("SELECT job, reference, identity, spec, status, room_id FROM creates").fetchall()
        assert sorted(found) == [
            (
                job,
                f"vx{who:013d}{number:013d}",
                f"identity {who}",
                f"={number}" if number % 2 else "?",
                "created",
                f"{who}-{number}",
            )
            for who, job in enumerate(jobs)
            for number in range(60)
        ]

    async def test_create_that_another_process_ends_meanwhile_is_not_in_doubt(
        self, journal: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, found = Journal._new, []

        def new(self: Journal, database: sqlite3.Connection, intents: Any) -> Any:
            wanted = real(self, database, intents)
            if not found and intents:
                found.append(intents[0].result)
                with contextlib.closing(sqlite3.connect(journal, isolation_level=None)) as other:
                    other.execute("UPDATE creates SET status = 'not_sent'")
                    other.execute("INSERT INTO creates (job, reference, identity, spec) VALUES ('other', 'x', '', '')")
            return wanted

        async with opened(journal) as log:
            await log.intend(DOUBTFUL, "", "=")
        async with opened(journal) as log:
            monkeypatch.setattr(Journal, "_new", new)
            new_one, again = await asyncio.gather(log.intend(NEW, "", "="), log.intend(DOUBTFUL, "", "="))
        assert new_one is None
        assert again is None
        with contextlib.closing(sqlite3.connect(journal)) as database:
            assert rows(database) == [(DOUBTFUL, "not_sent"), ("x", None), (NEW, None), (DOUBTFUL, None)]

    async def test_last_intent_of_a_reference_counts(self, journal: Path) -> None:
        async with opened(journal) as log:
            await log.intend(NEW, "", "=")
            log.ended(NEW, "failed")
            await log.intend(NEW, "", "=", again=True)
        async with opened(journal) as log:
            entry = await log.find(NEW)
            assert entry is not None
            assert entry.status is None
            log.ended(NEW, "not_sent")
            log.ended(NEW, "created", "6571f3c2a1b2c3d4e5f60718")
        with contextlib.closing(sqlite3.connect(journal)) as database:
            assert rows(database) == [(NEW, "failed"), (NEW, "created")]

    async def test_outcomes_are_known_without_waiting(self, sandbox: Sandbox, journal: Path) -> None:
        sandbox.plan([None, REFUSAL, None])
        await run(sandbox, 3, journal=journal)

        async with asyncio.timeout(15):
            report = await run(sandbox, 3, settle=LONG, journal=journal)

        assert report.counts == {"created": 3}
        assert await created(sandbox) == each_once(3)


class TestCommits:
    async def test_intents_that_come_in_while_one_is_written_share_a_commit(self, journal: Path) -> None:
        # However many turns of the event loop they come in, only the disk limits how often the file is written.
        log = Journal(journal, "j")
        await log.open("https://video.example", "app")
        other = sqlite3.connect(journal, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        before = commits(journal)

        waiting = []
        for number in range(30):
            waiting.append(asyncio.create_task(log.intend(f"vx{number:026d}", "", "=")))
            await asyncio.sleep(0.001)
        other.execute("ROLLBACK")
        await asyncio.gather(*waiting)

        assert commits(journal) - before == 2
        assert len(rows(other)) == 30
        other.close()
        await log.aclose()

    async def test_intents_of_consecutive_turns_of_the_loop_share_a_commit(self, journal: Path) -> None:
        async with opened(journal) as log:
            before, waiting = commits(journal), []
            for number in range(30):
                waiting.append(asyncio.create_task(log.intend(f"vx{number:026d}", "", "=")))
                await asyncio.sleep(0)
            await asyncio.gather(*waiting)
            assert commits(journal) - before == 1

    async def test_ends_are_written_soon_without_another_intent(self, journal: Path) -> None:
        log = Journal(journal, "j")
        await log.open("https://video.example", "app")
        other = sqlite3.connect(journal, isolation_level=None)
        for number in range(3):
            reference = f"vx{number:026d}"
            await log.intend(reference, "", "=")
            # One comes in while the file is written, one while it is not.
            query = asyncio.create_task(log.find(reference))
            await asyncio.sleep(0)
            log.ended(reference, "created", f"{number:024x}")
            await query

        while not all(status == "created" for _, status in rows(other)):
            await asyncio.sleep(0.01)
        other.close()
        await log.aclose()

    async def test_job_that_writes_all_the_time_does_not_lock_out_another(
        self, journal: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slow_down(monkeypatch, 0.1)
        monkeypatch.setattr("videoapi.creation.journal._LOCKED", 1.0)
        async with opened(journal, "busy") as busy:
            async with asyncio.TaskGroup() as tasks:
                writing = [tasks.create_task(write_on(busy, number)) for number in range(8)]
                async with opened(journal, "other") as other:
                    for number in range(10):
                        await other.intend(f"vxother{number:021d}", "", "=")
                for task in writing:
                    task.cancel()

    async def test_file_that_another_process_is_making_is_a_journal(
        self, journal: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = sqlite3.connect
        statements = itertools.count(1)

        class Slow(sqlite3.Connection):
            """Another process makes the journal before the third statement, unless it has to wait."""

            def execute(self, *args: Any) -> sqlite3.Cursor:
                if next(statements) == 3:
                    with (
                        contextlib.closing(real(journal, isolation_level=None, timeout=0.1)) as database,
                        contextlib.suppress(sqlite3.OperationalError),
                    ):
                        database.executescript(journal_module._TABLES)
                return super().execute(*args)

        monkeypatch.setattr(sqlite3, "connect", functools.partial(real, factory=Slow))
        async with opened(journal) as log:
            assert await log.intend(NEW, "", "=") is None


@contextlib.asynccontextmanager
async def opened(journal: Path, job: str = "j") -> AsyncIterator[Journal]:
    log = Journal(journal, job)
    await log.open("https://video.example", "app")
    try:
        yield log
    finally:
        await log.aclose()


def slow_down(monkeypatch: pytest.MonkeyPatch, seconds: float) -> threading.Event:
    """Make every commit with intents take that long, as on a slow disk; return what is set once one is written."""
    real, writing = Journal._write_rows, threading.Event()

    def slow(self: Journal, database: sqlite3.Connection, batch: Any) -> None:
        is_slow = bool(batch.intents) and not database.in_transaction
        if is_slow:
            journal_module._when_unlocked(lambda: database.execute("BEGIN IMMEDIATE"))
        real(self, database, batch)
        if is_slow:
            writing.set()
            time.sleep(seconds)
            database.execute("COMMIT")

    monkeypatch.setattr(Journal, "_write_rows", slow)
    return writing


async def write_on(log: Journal, worker: int) -> None:
    for number in itertools.count():
        await log.intend(f"vx{worker:013d}{number:013d}", "", "=")


def commits(journal: Path) -> int:
    """Return how many commits the write-ahead log of a journal holds."""
    log = journal.with_name(journal.name + "-wal").read_bytes()
    page = int.from_bytes(log[8:12], "big")
    # The last frame of a commit has the size of the database in pages, the others 0.
    sizes = [log[at + 4 : at + 8] for at in range(32, len(log), 24 + page)]
    return sum(any(size) for size in sizes)


def rows(database: sqlite3.Connection) -> list[tuple[str, str | None]]:
    return database.execute("SELECT reference, status FROM creates").fetchall()


def statuses(journal: Path) -> list[str | None]:
    with contextlib.closing(sqlite3.connect(journal)) as database:
        return [status for _, status in rows(database)]


def dump(journal: Path) -> list[Any]:
    """Return the text of all rows, read as any other process may read them."""
    database = sqlite3.connect(journal)
    try:
        return list(database.iterdump())
    finally:
        database.close()


class TestWhatItIsAbout:
    async def test_origin_account_and_job_are_recorded(self, sandbox: Sandbox, journal: Path) -> None:
        await run(sandbox, 2, job_id="import of May", journal=journal)

        text = "\n".join(dump(journal))
        for fact in (sandbox.app_id, f"127.0.0.1:{sandbox.port}", "import of May"):
            assert fact in text
        assert sandbox.app_key not in text

    @pytest.mark.parametrize("differs", ["account and origin", "account", "origin"])
    async def test_journal_of_another_account_is_refused(self, sandbox: Sandbox, journal: Path, differs: str) -> None:
        await run(sandbox, 5, journal=journal)
        app_id = None if "account" in differs else sandbox.app_id
        host = "127.0.0.1" if differs == "account and origin" else "localhost"
        async with Sandbox(seed=99, app_id=app_id, host=host) as other:
            url = other.base_url.replace("127.0.0.1", host)
            async with VideoClient(other.app_id, other.app_key, url, settle=SETTLE) as client:
                with pytest.raises(ConfigurationError, match="journal"):
                    await client.rooms.create_many(keyed(5), job_id="j", journal=journal)
                with pytest.raises(ConfigurationError, match="journal"):
                    async for _ in client.rooms.create_each(keyed(5), job_id="j", journal=journal):
                        pass

            assert other.ledger.requests() == 0

    async def test_several_jobs_of_one_account_share_a_journal(self, sandbox: Sandbox, journal: Path) -> None:
        first = await run(sandbox, 3, job_id="one", journal=journal)
        second = await run(sandbox, 3, job_id="two", journal=journal)

        assert first.counts == second.counts == {"created": 3}
        assert len({outcome.room_id for outcome in (*first.made, *second.made)}) == 6

    @pytest.mark.parametrize("other", ["a later schema", "another program"])
    async def test_database_that_is_not_a_journal_is_refused(self, sandbox: Sandbox, journal: Path, other: str) -> None:
        database = sqlite3.connect(journal)
        if other == "another program":
            database.executescript("CREATE TABLE creates (wine TEXT, year INT); CREATE TABLE jobs (tool TEXT);")
        else:
            database.executescript("PRAGMA user_version = 9999; CREATE TABLE jobs (job TEXT PRIMARY KEY, more TEXT);")
        database.close()

        with pytest.raises(ConfigurationError, match="journal"):
            await run(sandbox, 3, journal=journal)

        assert sandbox.ledger.requests() == 0


class TestJobThatIsNewToTheJournal:
    async def test_list_is_read_before_the_first_create(self, sandbox: Sandbox, journal: Path) -> None:
        lists_before_creates: list[int] = []

        async def recording(request: Request, send: Send) -> Outcome:
            if request.route.name == "rooms.create":
                lists_before_creates.append(sandbox.ledger.requests("rooms.list"))
            return await send(request)

        async with client_of(sandbox, middleware=[recording]) as client:
            await client.rooms.create_many(keyed(2), job_id="j", journal=journal, audit=False)

        assert len(lists_before_creates) == 2
        assert min(lists_before_creates) >= 1

    async def test_job_without_rooms_starts_without_a_settle_time(self, sandbox: Sandbox, journal: Path) -> None:
        async with asyncio.timeout(15):
            report = await run(sandbox, 5, settle=LONG, journal=journal)

        assert report.counts == {"created": 5}

    @pytest.mark.parametrize("before", ["without a journal", "with a journal that is lost", "with another journal"])
    async def test_running_job_is_continued_and_not_repeated(
        self, sandbox: Sandbox, journal: Path, before: str
    ) -> None:
        first: dict[str, Any] = {} if before == "without a journal" else {"journal": journal}
        if before == "with another journal":
            first = {"journal": journal.with_name("other.sqlite")}
        sandbox.set(list_lag=0.2)
        late = {f"Room {number}": ("late", {"seconds": 0.2}) for number in range(6, 10)}
        await abandon_job(sandbox, keyed(20), late, **first)
        # A list that shows no room of the job yet cannot show that the job is running.
        await asyncio.sleep(0.2)
        if before == "with a journal that is lost":
            for file in journal.parent.iterdir():
                file.unlink()

        report = await run(sandbox, 20, journal=journal)

        assert await created(sandbox) == each_once(20)
        assert report.counts == {"created": 20}

    async def test_list_that_shows_the_job_is_read_again_after_a_settle_time(
        self, sandbox: Sandbox, journal: Path
    ) -> None:
        await run(sandbox, 3)
        lists, requests = sandbox.ledger.requests("rooms.list"), sandbox.ledger.requests("rooms.create")
        run_again = asyncio.create_task(run(sandbox, 4, settle=1.0, journal=journal, audit=False))
        while sandbox.ledger.requests("rooms.list") == lists and not run_again.done():
            await asyncio.sleep(0.01)
        began = asyncio.get_running_loop().time()

        await run_again

        assert asyncio.get_running_loop().time() - began > 0.9
        assert sandbox.ledger.requests("rooms.list") >= lists + 2
        assert sandbox.ledger.requests("rooms.create") >= requests + 1
        assert await created(sandbox) == each_once(4)


class TestFiles:
    async def test_old_sqlite_is_refused_before_anything_is_sent(
        self, sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 23, 1))
        async with asyncio.timeout(15):
            with pytest.raises(ConfigurationError, match=r"needs SQLite 3\.24"):
                await run(sandbox, 3, journal=journal)
        assert sandbox.ledger.requests("rooms.create") == 0

    @pytest.mark.parametrize("job_id", ["j", "lone \ud800 surrogate", "nul \0 in it"], ids=ascii)
    async def test_any_job_id_ends(self, sandbox: Sandbox, journal: Path, job_id: str) -> None:
        async with asyncio.timeout(15):
            try:
                report = await run(sandbox, 3, job_id=job_id, journal=journal)
            except ConfigurationError:
                assert sandbox.ledger.requests("rooms.create") == 0
                assert job_id != "j"
            else:
                assert report.counts == {"created": 3}

    @pytest.mark.parametrize("key", ["lone \ud800 surrogate", "nul \0 in it", "", "x" * 100_000], ids=lambda _: "")
    async def test_any_key_ends(self, sandbox: Sandbox, journal: Path, key: str) -> None:
        async with asyncio.timeout(15), client_of(sandbox) as client:
            given = [RoomSpec("Room 0", key=key), RoomSpec("Room 1", key="row-1")]
            report = await client.rooms.create_many(given, job_id="j", journal=journal)

        assert report.total == 2
        assert report.made[-1].key == "row-1"

    @pytest.mark.parametrize(
        "path", ["nul\0in it", ":memory:", "lone\ud800surrogate", "missing/folder/j", ""], ids=ascii
    )
    async def test_unusable_path_is_refused_at_once(
        self, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        monkeypatch.chdir(tmp_path)

        async with asyncio.timeout(15):
            with pytest.raises(ConfigurationError, match="journal"):
                await run(sandbox, 3, journal=path)

        assert sandbox.ledger.requests() == 0
        assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240

    @pytest.mark.slow
    async def test_locked_file_is_refused(self, sandbox: Sandbox, journal: Path) -> None:
        await run(sandbox, 3, journal=journal)
        requests = sandbox.ledger.requests()
        lock = sqlite3.connect(journal, isolation_level=None)
        try:
            lock.execute("BEGIN EXCLUSIVE")
            async with asyncio.timeout(25):
                with pytest.raises(ConfigurationError, match="journal"):
                    await run(sandbox, 3, journal=journal)
        finally:
            lock.close()

        assert sandbox.ledger.requests() == requests

    @pytest.mark.parametrize("way", ["create_many", "create_each"])
    @pytest.mark.parametrize("damage", ["table gone", "read-only"])
    async def test_journal_that_breaks_during_the_run_ends_it(
        self, sandbox: Sandbox, journal: Path, way: str, damage: str
    ) -> None:
        source = damaging(journal, damage)
        report: BulkReport | None = None
        error: Exception | None = None
        async with asyncio.timeout(20), client_of(sandbox) as client:
            given: dict[str, Any] = {"job_id": "j", "journal": journal, "concurrency": 2}
            try:
                if way == "create_many":
                    report = await client.rooms.create_many(source(), **given)
                else:
                    outcomes = client.rooms.create_each(source(), **given)
                    async for _ in outcomes:
                        pass
            except VideoAPIError as caught:
                error = caught
        stopped = error if report is None else report.stopped

        assert isinstance(stopped, ConfigurationError)
        assert "journal" in str(stopped)
        # What was sent before was noted; up to two more may have been noted before the damage.
        assert len(await created(sandbox)) <= 10

    async def test_full_disk_loses_and_doubles_nothing(self, sandbox: Sandbox, tmp_path: Path) -> None:
        plan = attrs.evolve(Plan.of(sandbox, "j", 600, tmp_path, journal=True), settle=SETTLE, file_limit=64 * 1024)
        sandbox.set(list_lag=0.2)
        try:
            ended = await live(sandbox, plan)
        except AssertionError:
            ended = False
        before = len(await created(sandbox))

        report = await run(sandbox, 600, journal=plan.journal)

        assert not ended or before < 600, "the disk was not full"
        assert report.counts == {"created": 600}
        assert await created(sandbox) == each_once(600)


def damaging(journal: Path, damage: str) -> Callable[[], AsyncIterator[RoomSpec]]:
    """Return a source that damages the journal after 8 inputs."""

    async def source() -> AsyncIterator[RoomSpec]:
        for number, spec in enumerate(keyed(40)):
            if number == 8:
                await asyncio.sleep(0.3)
                database = sqlite3.connect(journal, isolation_level=None)
                tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                for table in tables:
                    if damage == "table gone":
                        database.execute(f'DROP TABLE IF EXISTS "{table}"')
                        continue
                    for change in ("INSERT", "UPDATE"):
                        refusing = f'BEFORE {change} ON "{table}" BEGIN SELECT RAISE(FAIL, "refused"); END'
                        database.execute(f'CREATE TRIGGER "no {change} {table}" {refusing}')
                database.close()
            yield spec

    return source
