"""Persistent state, and reading it from another process."""

import asyncio
import contextlib
import errno
import gc
import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys

import aiohttp
import attrs
import pytest

from videoapi.files import locks
from videoapi.sandbox import Ledger, Sandbox
from videoapi.sandbox.persistence import State

KEYS = {"app_id": "a" * 24, "app_key": "k" * 36}
HEADERS = {"Authorization": aiohttp.encode_basic_auth(*KEYS.values())}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sandbox.sqlite"


async def ids(bare):
    return [room["room_id"] for room in (await bare("GET", "/rooms")).json["rooms"]]


async def test_restarted_sandbox_has_the_same_rooms_and_ledger(serve, path):
    first = await serve(state=path, seed=1, rooms=3, **KEYS)
    kept, deleted, changed = [await first.room(name=name) for name in ("kept", "deleted", "changed")]
    generated = (await ids(first))[:3]
    await first("DELETE", f"/rooms/{deleted}")
    await first("DELETE", f"/rooms/{generated[0]}")
    await first("PATCH", f"/rooms/{kept}", {"data": {"odd": "\ud800"}})
    await first("PATCH", f"/rooms/{generated[2]}", {"name": "mine"})
    first.sandbox.add_room(b'{"room_id":"x","name":"\xff"}')
    list_before = (await first("GET", "/rooms")).body
    await first.sandbox.aclose()

    second = await serve(state=path, seed=1, rooms=3, **KEYS)
    assert (await second("GET", "/rooms")).body == list_before
    assert second.sandbox.ledger.entries == first.sandbox.ledger.entries
    assert second.sandbox.ledger.rooms == first.sandbox.ledger.rooms
    assert second.sandbox.ledger.count("rooms.*") == 8
    assert (await second("GET", f"/rooms/{deleted}")).code == 40001
    assert (await second("GET", f"/rooms/{generated[0]}")).code == 40001
    assert await second.room() not in {kept, deleted, changed}
    assert [entry.seq for entry in second.sandbox.ledger.entries] == list(range(1, 9))


async def test_ids_differ_after_a_restart_with_the_same_seed_and_time(serve, path, clock):
    created = set()
    for _ in range(3):
        bare = await serve(state=path, seed=1, clock=clock)
        created |= {await bare.room(), await bare.room()}
        await bare.sandbox.aclose()
    assert len(created) == 6


async def test_sandbox_can_be_closed_and_started_again(serve, path):
    bare = await serve(state=path)
    await bare.room()
    await bare.sandbox.aclose()
    async with bare.sandbox, aiohttp.ClientSession() as session:
        await attrs.evolve(bare, session=session).room()
    assert len(Ledger.read(path).created) == 2


async def test_end_of_an_adhoc_room_is_stored(serve, path, clock):
    bare = await serve(state=path, clock=clock, **KEYS)
    room_id = await bare.room(settings={"adhoc": True})
    bare.sandbox.leave(await bare.enter(room_id))
    await bare.sandbox.aclose()
    later = await serve(state=path, clock=clock, **KEYS)
    assert (await later.token(room_id)).code == 10111
    clock.move(minutes=1)
    assert (await later.token(room_id)).code == 40001


async def test_items_added_before_the_start_are_stored(path):
    sandbox = Sandbox(state=path)
    sandbox.add_room(b"{}")
    assert not path.exists()
    async with sandbox:
        pass
    async with Sandbox(state=path, **KEYS) as sandbox, aiohttp.ClientSession(headers=HEADERS) as session:
        async with session.get(f"{sandbox.base_url}/rooms") as response:
            assert await response.read() == b'{"result":0,"rooms":[{}]}'


async def test_ledger_file_contains_every_create_with_a_response(serve, path):
    bare = await serve(state=path)
    for number in range(1, 4):
        room_id = await bare.room(owner_ref=f"ref-{number}")
        ledger = Ledger.read(path)
        assert [entry.reference for entry in ledger.created] == [f"ref-{place}" for place in range(1, number + 1)]
        assert ledger.entries == bare.sandbox.ledger.entries
        assert room_id in ledger.rooms
    await bare.room(owner_ref="ref-1")
    assert len(Ledger.read(path).duplicates()["ref-1"]) == 2


async def test_late_execution_is_stored(serve, path):
    bare = await serve(state=path)
    bare.sandbox.fault("rooms.create", "late_status", seconds=0.02)
    assert (await bare("POST", "/rooms", {"name": "n", "owner_ref": "o"})).status == 503
    assert Ledger.read(path).created == ()
    async with asyncio.timeout(5):
        while bare.sandbox.late:
            await asyncio.sleep(0.005)
    assert len(Ledger.read(path).created) == 1


async def test_ledger_entry_has_the_connection_number(serve, path):
    bare = await serve(state=path)
    await bare.room()
    await bare.room()
    async with aiohttp.ClientSession() as session:
        await attrs.evolve(bare, session=session).room()
    await bare.room()
    assert [entry.connection for entry in Ledger.read(path).created] == [1, 1, 2, 1]


async def test_file_is_private_and_contains_no_secrets(serve, path):
    bare = await serve(state=path)
    token = (await bare.token(await bare.room())).json["token"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await bare.sandbox.aclose()
    kept = path.read_bytes()
    assert b"Stand-up" in kept
    assert not [
        secret for secret in (bare.sandbox.app_key, bare.sandbox.recording_auth[1], token) if secret.encode() in kept
    ]


def test_reading_a_missing_ledger_raises_file_not_found(path):
    with pytest.raises(FileNotFoundError):
        Ledger.read(path)
    assert not path.exists()


def test_foreign_file_is_rejected_and_unchanged(path):
    path.write_bytes(b"a text of some length, " * 100)
    with pytest.raises(ValueError, match="not a sandbox state file"):
        Sandbox(state=path)
    with pytest.raises(ValueError, match="not a sandbox state file"):
        Ledger.read(path)
    assert path.read_bytes() == b"a text of some length, " * 100


def test_foreign_database_is_rejected_and_unchanged(path):
    with contextlib.closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not a sandbox state file"):
        Sandbox(state=path)
    assert path.read_bytes() == before


async def test_empty_file_is_a_valid_state(serve, path):
    path.touch()
    bare = await serve(state=path)
    await bare.room()
    assert len(Ledger.read(path).created) == 1


async def test_missing_directory_is_an_error_at_the_start(tmp_path):
    sandbox = Sandbox(state=tmp_path / "missing" / "file")
    with pytest.raises(FileNotFoundError):
        await sandbox.start()
    await sandbox.aclose()


async def test_failed_start_closes_the_file(serve, path):
    taken = await serve()
    sandbox = Sandbox(state=path, port=taken.sandbox.port)
    with pytest.raises(OSError):
        await sandbox.start()
    # Closing the last connection removes the files of the write-ahead log.
    assert sorted(os.listdir(path.parent)) == [path.name, f"{path.name}-lock"]


def test_failed_commit_writes_nothing_and_can_be_repeated(path):
    state = State(path)
    state.open()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(
            "CREATE TRIGGER no BEFORE INSERT ON documents WHEN NEW.key = 'b' BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        state.put("x", "a", 1)
        state.put("x", "b", 2)
        with pytest.raises(sqlite3.IntegrityError):
            state.commit()
        assert state.load("x") == {}
        other.execute("DROP TRIGGER no")
        state.commit()
    state.close()
    assert State(path).load("x") == {"a": 1, "b": 2}


async def test_second_sandbox_with_the_same_file_does_not_start(serve, path, tmp_path):
    unopened = Sandbox(state=path)  # when there was no file
    bare = await serve(state=path)
    room_id = await bare.room()
    (tmp_path / "link").symlink_to(path)
    for name in (path, tmp_path / "link"):
        with pytest.raises(ValueError, match="another sandbox uses"):
            Sandbox(state=name)
    for message in ("another sandbox uses", "another sandbox has changed"):  # it runs; it has ended
        with pytest.raises(ValueError, match=message):
            await unopened.start()
        await bare.sandbox.aclose()
    assert room_id in Ledger.read(path).rooms
    async with Sandbox(state=path) as later:
        assert room_id in later.ledger.rooms
    with pytest.raises(ValueError, match="another sandbox has changed"):
        await bare.sandbox.start()
    Sandbox(state=path)  # although `bare` is alive


def test_refused_file_can_be_used_while_its_error_is_kept(path):
    path.write_text("not a database" * 100)
    with pytest.raises(ValueError, match="not a sandbox state file") as kept:
        Sandbox(state=path)
    path.unlink()
    with Sandbox(state=path).in_thread():
        assert kept.value


def test_file_in_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "none" / "x.db"
    with pytest.raises(FileNotFoundError) as caught:
        State(path).open()
    assert caught.value.filename == str(path)


@pytest.mark.skipif(locks.fcntl is None, reason="no locks")
def test_file_system_without_locks(path, monkeypatch):
    def flock(file, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    code = errno.ENOSYS
    state = State(path)
    state.open()
    state.close()
    code = errno.EIO
    with pytest.raises(OSError, match="cannot lock the state file") as caught:
        State(path).open()
    assert caught.value.filename == str(path)


FORK = """
import os, sys, time
from videoapi.sandbox.persistence import State

state = State(sys.argv[1])
state.open()
child = os.fork()
if not child:
    if sys.argv[2] == "child-closes":
        state.close()
    print(os.getpid(), flush=True)
    time.sleep(60)
sys.stdin.readline()
state.close()
print("closed", flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("end", ["parent-closes", "parent-is-killed", "child-closes"])
def test_forked_process_neither_keeps_nor_ends_the_lock(path, end):
    arguments = [sys.executable, "-c", FORK, str(path), end]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        child = int(running.stdout.readline())
        try:
            with pytest.raises(ValueError, match="another sandbox uses"):
                State(path, exclusive=True)
            if end == "parent-is-killed":
                running.kill()
                running.wait()
            else:
                print(file=running.stdin, flush=True)
                assert running.stdout.readline() == "closed\n"
            State(path, exclusive=True).close()
        finally:
            os.kill(child, signal.SIGKILL)
            running.kill()


async def test_file_of_a_killed_sandbox_can_be_used(path):
    with process(path, 0) as (_, running):
        with pytest.raises(ValueError, match="another sandbox uses"):
            Sandbox(state=path)
        running.kill()
        running.wait()
        async with Sandbox(state=path):
            pass


def test_sandbox_that_never_started_does_not_keep_the_file(path):
    with Sandbox(state=path).in_thread():
        pass
    Sandbox(state=path)
    gc.collect()
    Sandbox(state=path)


SERVE = """
import asyncio, sys
from videoapi.sandbox import Sandbox

async def main():
    port, state, app_id, app_key = sys.argv[1:]
    async with Sandbox(port=int(port), state=state, app_id=app_id, app_key=app_key) as sandbox:
        print(sandbox.port, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@contextlib.contextmanager
def process(path, port):
    arguments = [sys.executable, "-c", SERVE, str(port), str(path), *KEYS.values()]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield int(running.stdout.readline()), running
        finally:
            running.kill()


async def post(session, port, reference):
    body = {"name": "n", "owner_ref": reference}
    async with session.post(f"http://127.0.0.1:{port}/v2/rooms", json=body) as response:
        return (await response.json())["room"]["room_id"]


async def test_killed_sandbox_keeps_every_create_with_a_response(path):
    answered, port, rng = {}, 0, random.Random(7)

    async def create_rooms(session, run, worker):
        with contextlib.suppress(aiohttp.ClientError):
            for number in range(10_000):
                reference = f"{run}-{worker}-{number}"
                answered[reference] = await post(session, port, reference)

    for run in range(2):
        with process(path, port) as (port, running):
            async with aiohttp.ClientSession(headers=HEADERS) as session:
                tasks = [asyncio.create_task(create_rooms(session, run, worker)) for worker in range(8)]
                async with asyncio.timeout(10):
                    before, wanted = len(answered), rng.randrange(30, 90)
                    while len(answered) < before + wanted:
                        await asyncio.sleep(0.001)
                running.kill()
                await asyncio.gather(*tasks)
    ledger = Ledger.read(path)
    executed = {entry.reference: entry.room_id for entry in ledger.created}
    assert len(executed) == len(ledger.created)
    assert answered.items() <= executed.items()
    assert executed.keys() - answered.keys() <= {
        f"{m}-{w}-{n}" for m in range(2) for w in range(8) for n in range(10_000)
    }
    assert set(ledger.rooms) == set(executed.values())
    async with Sandbox(state=path, **KEYS) as sandbox, aiohttp.ClientSession(headers=HEADERS) as session:
        async with session.get(f"{sandbox.base_url}/rooms") as response:
            assert [room["room_id"] for room in json.loads(await response.read())["rooms"]] == list(executed.values())


def test_no_file_is_written_without_state(tmp_path):
    before = os.listdir(tmp_path)
    with Sandbox().in_thread() as sandbox:
        sandbox.add_room(b"{}")
    assert os.listdir(tmp_path) == before
