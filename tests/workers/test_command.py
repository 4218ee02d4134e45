"""`rooms create-many --workers`: the command with processes of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from support.jobs import created
from support.programs import free_port
from support.redis_server import RedisServer
from workers.chaos import children

from videoapi import RedisLeases, RoomSpec
from videoapi.cli.client_options import ClientOptions
from videoapi.cli.notices import handled_by
from videoapi.cli.workers.pool import WorkerProcess
from videoapi.cli.workers.process import _Warnings, serve
from videoapi.config import Secret
from videoapi.sandbox import Sandbox
from videoapi.sharding.spec_json import specs_to_json
from videoapi.sharding.worker import ShardTask

pytestmark = pytest.mark.slow


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


def rooms_csv(folder: Path, count: int) -> Path:
    file = folder / "rooms.csv"
    file.write_text("name,key\n" + "".join(f"Room {number},k{number}\n" for number in range(count)))
    return file


async def start(sandbox: Sandbox, file: Path, *words: str, **variables: str) -> asyncio.subprocess.Process:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VIDEOAPI_")}
    environment |= {
        "VIDEOAPI_APP_ID": sandbox.app_id,
        "VIDEOAPI_APP_KEY": sandbox.app_key,
        "VIDEOAPI_BASE_URL": sandbox.base_url,
        **variables,
    }
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "videoapi", "rooms", "create-many", str(file), "--settle", "0.5", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        cwd=file.parent,
        start_new_session=True,
    )


def outcomes(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.with_name(f"{file.name}.outcomes.jsonl").read_text().splitlines()]


async def test_a_killed_worker_is_replaced_and_nothing_is_created_twice(
    sandbox: Sandbox, redis_server: RedisServer, tmp_path: Path
) -> None:
    file = rooms_csv(tmp_path, 40)
    # The first creates take long, so that the worker is killed with them in flight.
    sandbox.fault("rooms.create", "delay", seconds=2.0, times=4)
    # The settle time exceeds what the service takes for a create, as it must.
    words = ("--workers", "1", "--redis", redis_server.url, "--json", "--audit", "no", "--settle", "5")
    process = await start(sandbox, file, *words)
    while not sandbox.ledger.requests("rooms.create"):
        assert process.returncode is None
        await asyncio.sleep(0.02)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    await _end_leases(redis_server)
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["counts"] == {"created": 40}
    assert b"of them earlier" not in stderr
    assert b"its shard is assigned again" in stderr
    rows = outcomes(file)
    assert sorted(int(str(row["line"])) for row in rows) == list(range(2, 42))
    assert await created(sandbox) == sorted(f"Room {number}" for number in range(40))


async def test_ctrl_c_writes_what_was_done_and_the_same_command_continues(
    sandbox: Sandbox, redis_server: RedisServer, tmp_path: Path
) -> None:
    file = rooms_csv(tmp_path, 60)
    sandbox.fault("rooms.create", "delay", seconds=0.3, times=None)
    words = ("--workers", "2", "--redis", redis_server.url, "--concurrency", "2")
    process = await start(sandbox, file, *words)
    while len(sandbox.ledger.created) < 4:
        assert process.returncode is None
        await asyncio.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = await process.communicate()
    assert process.returncode == 130, stderr
    assert b"Interrupted" in stderr
    first = outcomes(file)
    assert len(first) == 60
    assert {row["status"] for row in first} == {"created", "not_sent"}
    sandbox.clear_faults()
    process = await start(sandbox, file, *words)
    _, stderr = await process.communicate()
    assert process.returncode == 0, stderr
    assert {row["status"] for row in outcomes(file)} == {"created"}
    assert b"UTC: no room of this job exists twice or is missing." in stderr
    earlier = sum(row["status"] == "created" for row in first)
    assert f"60 created ({earlier} of them earlier)".encode() in stderr
    assert await created(sandbox) == sorted(f"Room {number}" for number in range(60))
    # Nothing is left to do.
    before = len(sandbox.ledger.created)
    process = await start(sandbox, file, *words)
    _, stderr = await process.communicate()
    assert process.returncode == 0, stderr
    assert b"60 created (60 of them earlier)" in stderr
    assert len(sandbox.ledger.created) == before
    # Its shards keep no journal, so one process continues it from the list of rooms.
    process = await start(sandbox, file)
    _, stderr = await process.communicate()
    assert process.returncode == 0, stderr
    assert len(await created(sandbox)) == 60


async def test_a_second_ctrl_c_leaves_an_outcome_for_each_line(
    sandbox: Sandbox, redis_server: RedisServer, tmp_path: Path
) -> None:
    file = rooms_csv(tmp_path, 600)
    hangs = sandbox.fault("rooms.create", "hang", times=None)
    process = await start(sandbox, file, "--workers", "1", "--redis", redis_server.url)
    while not hangs.hits:
        assert process.returncode is None
        await asyncio.sleep(0.02)
    process.send_signal(signal.SIGINT)
    await asyncio.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, stderr = await process.communicate()
    assert process.returncode == 130, stderr
    # Of the shard that was being created, any room may exist; the other ones were not begun.
    found = [row["status"] for row in outcomes(file)]
    assert len(found) == 600
    assert set(found) == {"not_sent", "unknown"}
    assert b"Unknown rooms may exist" in stderr
    assert b"assigned again" not in stderr


async def test_a_continued_job_waits_for_one_settle_time_in_each_process(
    sandbox: Sandbox, redis_server: RedisServer, tmp_path: Path
) -> None:
    settle = 4
    file = rooms_csv(tmp_path, 80)
    sandbox.fault("rooms.create", "delay", seconds=0.3, times=None)
    words = ("--workers", "2", "--redis", redis_server.url, "--audit", "no", "--settle", str(settle))
    process = await start(sandbox, file, *words, "--concurrency", "1")
    while len(sandbox.ledger.created) < 4:
        assert process.returncode is None
        await asyncio.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    await process.communicate()
    sandbox.clear_faults()
    before = len(sandbox.ledger.created)
    process = await start(sandbox, file, *words)
    _, stderr = await process.communicate()
    assert process.returncode == 0, stderr
    # Self-check rooms are the first that a process creates, before it waits.
    since = [entry.at for entry in sandbox.ledger.created[before:]]
    waited = (since[-1] - since[0]).total_seconds()
    # Each has four shards.
    assert settle <= waited < 3 * settle
    assert await created(sandbox) == sorted(f"Room {number}" for number in range(80))


async def test_wait_for_an_earlier_run_is_progress_and_no_warning(redis_server: RedisServer) -> None:
    told: list[dict[str, object]] = []
    warnings = _Warnings(told.append)
    async with RedisLeases(redis_server.url, "autumn", ttl=1.5) as leases:
        # With an ID of the user's own, there may have been one.
        await leases.begin()
        lease = leases.hold(0)
        with handled_by(warnings):
            taken = asyncio.create_task(lease.__aenter__())
            while not warnings.waits():
                assert not taken.done()
                await asyncio.sleep(0.01)
            assert warnings.waits().endswith(" s: an earlier run with this job ID may still be sending")
            await taken
        await lease.aclose()
    assert told == []
    assert warnings.waits() == ""


async def test_ctrl_c_while_the_processes_start_says_that_nothing_was_sent(
    sandbox: Sandbox, redis_server: RedisServer, tmp_path: Path
) -> None:
    process = await start(sandbox, rooms_csv(tmp_path, 60), "--workers", "2", "--redis", redis_server.url)
    while not children(process.pid):
        assert process.returncode is None
        await asyncio.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = await process.communicate()
    assert process.returncode == 130, stderr
    assert b"Traceback" not in stderr
    assert b"unknown" not in stderr
    assert {row["status"] for row in outcomes(tmp_path / "rooms.csv")} == {"not_sent"}
    assert not sandbox.ledger.requests("rooms.create")
    # Nothing is there to be continued.
    process = await start(sandbox, tmp_path / "rooms.csv", "--workers", "2", "--redis", redis_server.url)
    _, stderr = await process.communicate()
    assert process.returncode == 0, stderr
    assert b"Continuing" not in stderr
    assert await created(sandbox) == sorted(f"Room {number}" for number in range(60))


async def test_processes_that_cannot_start_end_the_command_with_an_error(
    sandbox: Sandbox, redis_server: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif sys.argv[0] == '-m' and 'workers.process' in ' '.join(sys.orig_argv): os._exit(7)\n"
    )
    words = ("--workers", "2", "--redis", redis_server.url)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    process = await start(sandbox, rooms_csv(tmp_path, 60), *words, PYTHONPATH=path)
    _, stderr = await process.communicate()
    assert process.returncode == 5, stderr
    assert b"A worker process ended with 7, 5 times in a row" in stderr
    assert b"unknown" not in stderr
    assert b"Traceback" not in stderr


async def test_a_run_that_loses_redis_says_so_when_it_happens_and_what_stopped_it(
    sandbox: Sandbox, redis_server: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'create-many' in sys.orig_argv:\n"
        "    from videoapi.cli.workers import pool\n"
        "    pool._AWAY = 2.0\n"
        "    from videoapi.redis import leases\n"
        "    leases.TTL = 34.0\n"
    )
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    sandbox.fault("rooms.create", "delay", seconds=0.3, times=None)
    words = ("--workers", "1", "--redis", redis_server.url, "--concurrency", "2")
    variables = {"PYTHONPATH": path, "VIDEOAPI_RATE": "200/s"}
    process = await start(sandbox, rooms_csv(tmp_path, 600), *words, **variables)
    while len(sandbox.ledger.created) < 4:
        assert process.returncode is None
        await asyncio.sleep(0.02)
    redis_server.stop()
    assert process.stderr is not None
    seen = b""
    async with asyncio.timeout(30):
        while b"Warning: " not in seen:
            seen += await process.stderr.readline()
    assert b"Until it answers" in seen
    assert process.returncode is None
    _, rest = await process.communicate()
    assert process.returncode == 4, rest
    assert b"Stopped before the end: Redis could not be used for 2 s (Redis at 127.0.0.1" in rest
    assert b"Nothing was created" not in rest


async def test_a_process_that_reaches_redis_again_does_not_wait_for_it(
    sandbox: Sandbox, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with RedisLeases(redis_server.url, "job") as leases:
        nonce = await leases.begin(new=True)
    specs = specs_to_json([RoomSpec(name="Room", key="k")])
    task = ShardTask(
        job_id="job",
        origin=urlsplit(sandbox.base_url)._replace(path="").geturl(),
        app_id=sandbox.app_id,
        nonce=nonce,
        shard="1/1",
        specs=specs,
        ttl=90.0,
    )
    account = {
        "client": {"app_id": sandbox.app_id, "app_key": sandbox.app_key, "base_url": sandbox.base_url},
        "redis": redis_server.url,
        "rate": None,
        "processes": 1,
        "limits": {},
    }
    sandbox.fault("rooms.create", "delay", seconds=3.0, times=1)
    process = WorkerProcess(account, print)
    process.away = "Redis at 127.0.0.1: refused"
    run = asyncio.create_task(process.run(task))
    try:
        async with asyncio.timeout(30):
            while process.away:
                await asyncio.sleep(0.02)
        assert not run.done()
        assert "report" in await run
    finally:
        await process.aclose()


async def test_frames_of_an_error_have_no_secret(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, redis_server: RedisServer, tmp_path: Path
) -> None:
    password = "made-up-password"
    secrets = (password, sandbox.app_key)
    client = {"app_id": sandbox.app_id, "app_key": sandbox.app_key, "base_url": sandbox.base_url, "proxy": None}
    account = {"client": client, "redis": f"redis://:{password}@127.0.0.1:1/0", "rate": None, "limits": {}}
    lines = asyncio.StreamReader()
    lines.feed_data(json.dumps(account).encode() + b'\n{"no": "shard"}\n')
    with pytest.raises(TypeError, match="unexpected keyword") as in_process:
        await serve(lines, lambda message: None)
    monkeypatch.setenv("VIDEOAPI_APP_KEY", sandbox.app_key)
    monkeypatch.setenv("VIDEOAPI_PROXY", f"http://ann:{password}@127.0.0.1:1")
    options = ClientOptions()
    sent = {"client": options.worker_options(), "redis": Secret(account["redis"])}
    assert not any(secret in repr(sent) for secret in secrets)
    process = WorkerProcess(sent, print)
    with pytest.raises(AttributeError) as in_command:
        await process.run(ShardTask(**dict.fromkeys(ShardTask.__annotations__, object())))  # type: ignore[arg-type]
    await process.aclose()
    for error in (in_process, in_command):
        ours = [one.frame for one in error.traceback if "videoapi/" in str(one.path)]
        shown = repr([frame.f_locals for frame in ours])
        assert not any(secret in shown for secret in secrets)


@pytest.mark.parametrize("rest", ["", ",key-without-a-name\n"], ids=["valid", "invalid"])
async def test_without_redis_nothing_is_sent_and_no_job_begins(
    sandbox: Sandbox, redis_server: RedisServer, tmp_path: Path, rest: str
) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    file = rooms_csv(tmp_path, 3)
    valid = file.read_text()
    file.write_text(valid + rest)
    process = await start(sandbox, file, "--workers", "2", "--redis", url)
    _, stderr = await process.communicate()
    assert process.returncode == 5
    assert url.removeprefix("redis://").removesuffix("/0").encode() in stderr
    assert b"Traceback" not in stderr
    assert not sandbox.ledger.requests()
    assert b"To continue" not in stderr
    assert os.listdir(tmp_path) == ["rooms.csv"]
    file.write_text(valid)
    process = await start(sandbox, file, "--workers", "2", "--redis", redis_server.url)
    _, stderr = await process.communicate()
    assert process.returncode == 0, stderr
    assert b"Continuing" not in stderr


@pytest.mark.parametrize("url", ["localhost:16431", "http://127.0.0.1:6"])
async def test_a_mistyped_url_begins_no_job(sandbox: Sandbox, tmp_path: Path, url: str) -> None:
    file = rooms_csv(tmp_path, 3)
    process = await start(sandbox, file, "--workers", "2", "--redis", url)
    _, stderr = await process.communicate()
    assert process.returncode == 5
    assert b"--redis or VIDEOAPI_REDIS: invalid URL" in stderr
    assert not file.with_name("rooms.csv.outcomes.jsonl.job").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--workers", "2"), "--workers needs --redis"),
        (("--redis", "redis://127.0.0.1"), "--redis needs --workers"),
        (("--workers", "2", "--redis", "redis://:hush-hush@127.0.0.1"), "VIDEOAPI_REDIS"),
        (("--workers", "2", "--redis", "redis://127.0.0.1?password=hush-hush"), "VIDEOAPI_REDIS"),
        (("--workers", "2", "--redis", "redis://127.0.0.1", "--journal", "j"), "--journal is a file of one process"),
        (("--workers", "2", "--redis", "redis://127.0.0.1", "--dedupe", "delete"), "leave it out with --workers"),
    ],
)
async def test_what_workers_cannot_do_is_refused(
    sandbox: Sandbox, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    process = await start(sandbox, rooms_csv(tmp_path, 3), *words)
    _, stderr = await process.communicate()
    assert process.returncode == 2
    assert message in stderr.decode()
    assert b"hush-hush" not in stderr
    assert not sandbox.ledger.requests()


async def test_a_job_with_a_journal_is_not_continued_by_workers(
    sandbox: Sandbox, redis_server: RedisServer, tmp_path: Path
) -> None:
    file = rooms_csv(tmp_path, 3)
    process = await start(sandbox, file)
    await process.communicate()
    process = await start(sandbox, file, "--workers", "2", "--redis", redis_server.url)
    _, stderr = await process.communicate()
    assert process.returncode == 2
    assert b"job with a journal" in stderr


async def _end_leases(redis_server: RedisServer) -> None:
    """End all leases, as time would."""
    async with Redis.from_url(redis_server.url, decode_responses=True) as redis:
        async for key in redis.scan_iter("videoapi:leases:*"):
            for field, value in (await redis.hgetall(key)).items():
                if field.startswith("s:"):
                    await redis.hset(key, field, f":{value.partition(':')[2]}")
