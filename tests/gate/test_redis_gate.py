"""The gate in Redis: what its script grants, on which clock, and what it says when Redis cannot do it."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from support.redis_server import RedisServer, answering, running_redis

from videoapi import ConfigurationError, Gate, RedisGate, Slots
from videoapi.pipeline.gate import GateFailed
from videoapi.redis.connection import RedisConnections

GateFor = Callable[..., RedisGate]
SECOND = 1_000_000
PASSWORD = "made-up-p4ss:word/"
QUOTED = "made-up-p4ss%3Aword%2F"


@contextlib.asynccontextmanager
async def redis_of(server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url, protocol=2) as redis:
        yield redis


async def key_of(redis: Redis) -> str:
    (key,) = await redis.keys()
    return key.decode()  # type: ignore[no-any-return]


async def shift(redis: Redis, seconds: float) -> None:
    """Change all times in Redis, as if its clock had been set by as much in the other direction."""
    key = await key_of(redis)
    for name in ("now", "next", "paused", "strict"):
        await redis.hincrbyfloat(key, name, seconds * SECOND)


# What is granted.


async def test_gate_grants_batches_that_follow_each_other(redis_server: RedisServer, gate_for: GateFor) -> None:
    one, two = gate_for(redis_server.url), gate_for(redis_server.url)
    first = await one.take(2)
    second, third = await two.take(1), await one.take(100)
    # An idle gate makes up for two slots of 10 ms; then each reservation begins where the last ended.
    assert (first.granted, second.granted, third.granted) == (2, 1, 4)
    assert -0.0201 <= first.wait <= 0
    assert second.wait <= first.wait + 0.02
    assert third.wait <= second.wait + 0.01
    assert max(first.pause, second.pause, third.pause) == 0


async def test_slow_rate_is_reserved_one_request_at_a_time(redis_server: RedisServer, gate_for: GateFor) -> None:
    gate = gate_for(redis_server.url, rate="2/s")
    slots = [await gate.take(10) for _ in range(3)]
    assert [each.granted for each in slots] == [1, 1, 1]
    assert slots[1].wait == pytest.approx(0.5, abs=0.4)
    assert slots[2].wait > slots[1].wait
    assert (await gate.take(10)).granted == 0, "not more than a second ahead"


async def test_idle_time_earns_no_burst(redis_server: RedisServer, gate_for: GateFor) -> None:
    gate = gate_for(redis_server.url)
    await gate.take(1)
    async with redis_of(redis_server) as redis:
        await shift(redis, -3600)
    granted = [await gate.take(1000) for _ in range(10)]
    # What is due now is two slots at most, whatever the time before.
    assert sum(each.granted for each in granted) == 40
    assert granted[-1].wait > 0.2


async def test_pause_is_shared_and_the_longest_counts(redis_server: RedisServer, gate_for: GateFor) -> None:
    one, two = gate_for(redis_server.url), gate_for(redis_server.url)
    await one.pause(30)
    await two.pause(5)
    slots = await two.take(3)
    assert (slots.granted, slots.wait) == (0, 0)
    assert 20 < slots.pause <= 30


async def test_lowest_rate_of_late_counts_for_all(redis_server: RedisServer, gate_for: GateFor) -> None:
    fast, slow = gate_for(redis_server.url, rate="100/s"), gate_for(redis_server.url, rate="2/s")
    await slow.take(1)
    assert (await fast.take(100)).granted == 1
    async with redis_of(redis_server) as redis:
        # The slow one has sent nothing for as long as it matters.
        await shift(redis, -15)
    assert (await fast.take(100)).granted == 4


async def test_accounts_and_prefixes_have_keys_of_their_own(redis_server: RedisServer, gate_for: GateFor) -> None:
    gates = (gate_for(redis_server.url), gate_for(redis_server.url, prefix="other"))
    accounts = [("https://a.example", "id"), ("https://a.example", "id2"), ("https://b.example", "id")]
    for gate in gates:
        for account in accounts:
            bound = gate.for_account(*account, lambda: 1.0)
            assert (await bound.take(1)).granted == 1
            await gate.release(bound)
    async with redis_of(redis_server) as redis:
        keys = sorted(key.decode() for key in await redis.keys())
        assert len(keys) == 6
        for key in keys:
            assert key.startswith(("videoapi:{", "other:{"))
            assert key.endswith("}:rate")
            assert "example" not in key
            assert 30_000 < await redis.pttl(key) <= 120_000
            assert await redis.type(key) == b"hash"


async def test_key_lives_as_long_as_its_pause(redis_server: RedisServer, gate_for: GateFor) -> None:
    await gate_for(redis_server.url).pause(300)
    async with redis_of(redis_server) as redis:
        assert await redis.pttl(await key_of(redis)) > 300_000


# The clock of Redis.


async def test_clock_that_steps_back_stalls_nobody(redis_server: RedisServer, gate_for: GateFor) -> None:
    gate = gate_for(redis_server.url)
    await gate.take(4)
    async with redis_of(redis_server) as redis:
        await shift(redis, +60)
    slots = await gate.take(1)
    assert slots.granted == 1
    assert slots.wait < 0.1


async def test_clock_that_steps_back_neither_lengthens_nor_ends_a_pause(
    redis_server: RedisServer, gate_for: GateFor
) -> None:
    gate = gate_for(redis_server.url)
    await gate.pause(20)
    async with redis_of(redis_server) as redis:
        await shift(redis, +60)
    assert 10 < (await gate.take(1)).pause <= 20


async def test_clock_that_steps_back_allows_no_burst(redis_server: RedisServer, gate_for: GateFor) -> None:
    gate = gate_for(redis_server.url)
    reserved = [await gate.take(4) for _ in range(10)]
    async with redis_of(redis_server) as redis:
        await shift(redis, +60)
    # Where it was: ten batches of 40 ms ahead.
    assert (await gate.take(1)).wait >= reserved[-1].wait - 0.3
    assert (await gate.take(1)).wait > 0.05


# What Redis may refuse.


async def refusal(gate: RedisGate) -> str:
    with pytest.raises(GateFailed) as caught:
        await gate.take(1)
    assert caught.value.__context__ is None, "the frames of redis-py hold the password"
    return str(caught.value)


async def test_script_that_was_flushed_is_loaded_again(redis_server: RedisServer, gate_for: GateFor) -> None:
    gate = gate_for(redis_server.url)
    assert (await gate.take(1)).granted == 1
    redis_server.command("SCRIPT", "FLUSH")
    assert (await gate.take(1)).granted == 1


async def test_paused_server_is_given_up_and_its_answer_is_not_taken_for_another(
    redis_server: RedisServer, gate_for: GateFor
) -> None:
    gate = gate_for(redis_server.url)
    await gate.take(1)
    redis_server.pause()
    assert "no answer within 5 s" in await refusal(gate)
    redis_server.resume()
    assert (await gate.take(1)).granted == 1


async def test_killed_server_is_used_again_when_it_is_back(redis_server: RedisServer, gate_for: GateFor) -> None:
    gate = gate_for(redis_server.url)
    await gate.take(1)
    redis_server.stop()
    assert await refusal(gate)
    assert str(redis_server.port) in await refusal(gate)
    redis_server.start()
    assert (await gate.take(1)).granted == 1


async def test_wrong_password_is_named_and_not_shown(tmp_path: Path, gate_for: GateFor) -> None:
    with running_redis(tmp_path, "--requirepass", "another") as server:
        gate = gate_for(f"redis://:{QUOTED}@127.0.0.1:{server.port}")
        reason = await refusal(gate)
        assert "password" in reason
        assert "Authentication required" in await refusal(gate_for(server.url))
        for shown in (reason, repr(gate), repr(gate._connections), repr(vars(gate)), gate.where):
            assert PASSWORD not in shown
            assert QUOTED not in shown
        right = gate_for(f"redis://:another@127.0.0.1:{server.port}")
        assert (await right.take(1)).granted == 1


async def test_documented_rules_suffice(redis_server: RedisServer, gate_for: GateFor) -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "several-processes.md").read_text(encoding="utf-8")
    (rules,) = re.findall(r"^ACL SETUSER app .*$", page, re.MULTILINE)
    assert redis_server.command(*rules.split()) == b"+OK\r\n"
    gate = gate_for(f"redis://app:password@127.0.0.1:{redis_server.port}")
    assert (await gate.take(1)).granted == 1
    redis_server.command("ACL", "SETUSER", "app", "-evalsha")
    assert "no permissions" in await refusal(gate)


async def test_full_server_is_a_failure(tmp_path: Path, gate_for: GateFor) -> None:
    with running_redis(tmp_path, "--maxmemory", "1", "--maxmemory-policy", "noeviction") as server:
        assert "maxmemory" in await refusal(gate_for(server.url))


async def test_read_only_replica_is_a_failure(tmp_path: Path, gate_for: GateFor) -> None:
    with running_redis(tmp_path, "--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "yes") as server:
        assert "read only replica" in await refusal(gate_for(server.url))


async def test_what_is_no_redis_is_a_failure(gate_for: GateFor) -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(web, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await refusal(gate_for(f"redis://127.0.0.1:{port}"))


@pytest.mark.parametrize(
    "numbers",
    [
        (0, 0, 0),
        (0, 999_999, 0),
        (0, 10**12, 0),
        (5, 0, 0),
        (-1, 0, 0),
        (1, 0, 5),
        (0, 0, -1),
        (1, 0),
    ],
    ids=str,
)
async def test_answer_that_the_script_cannot_give_is_a_failure(gate_for: GateFor, numbers: tuple[int, ...]) -> None:
    array = f"*{len(numbers)}\r\n" + "".join(f":{number}\r\n" for number in numbers)
    async with answering(array.encode()) as url:
        assert await refusal(gate_for(url)) == "an answer that the script cannot give; the URL may not name a Redis"


# The last one as of another process with rate="0.5/h".
@pytest.mark.parametrize(
    "numbers", [(1, -20_000, 0), (0, 1_000_000, 0), (0, 0, 5), (0, 60_000_000, 0), (0, 7_200_000_000, 0)], ids=str
)
async def test_answer_that_the_script_can_give_is_used(gate_for: GateFor, numbers: tuple[int, ...]) -> None:
    granted, wait, pause = numbers
    async with answering(f"*3\r\n:{granted}\r\n:{wait}\r\n:{pause}\r\n".encode()) as url:
        assert await gate_for(url).take(1) == Slots(granted, wait / SECOND, pause / SECOND)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("MOVED 3999 127.0.0.1:6381", "the URL names a node of a Redis Cluster, which is not supported: MOVED 3999 "),
        ("ASK 3999 127.0.0.1:6381", "the URL names a node of a Redis Cluster, which is not supported: ASK 3999 "),
        ("CLUSTERDOWN The cluster is down", "the URL names a node of a Redis Cluster, which is not supported: CLUS"),
        ("MASTERDOWN Link is down", "MASTERDOWN: Link is down"),
        ("WRONGPASS no such user", "authentication failed: no such user"),
        ("LOADING in memory", "LOADING: "),
    ],
)
async def test_reason_names_what_redis_refuses(gate_for: GateFor, answer: str, reason: str) -> None:
    async with answering(f"-{answer}\r\n".encode()) as url:
        assert (await refusal(gate_for(url))).startswith(reason)


@pytest.mark.parametrize("url", ["redis://no-such-host.invalid", "unix:///no/such/socket", "rediss://127.0.0.1:1"])
async def test_unreachable_server_is_a_failure(url: str, gate_for: GateFor) -> None:
    assert await refusal(gate_for(url))


async def test_server_that_accepts_and_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}?socket_timeout=30&retry_on_timeout=1"
        gate = RedisGate(url, rate="1/s", processes=1)
        assert "no answer within 0.2 s" in await refusal(gate)
        await gate.aclose()


async def test_unix_socket_is_used(tmp_path: Path, gate_for: GateFor) -> None:
    path = tmp_path / "redis.sock"
    with running_redis(tmp_path, "--unixsocket", str(path)):
        gate = gate_for(f"unix://{path}")
        assert (await gate.take(1)).granted == 1
        assert gate.where == f"unix:{path}"


# Arguments.


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "the URL of Redis is empty"),
        (None, "the URL of Redis is empty"),
        ("http://a:made-up-key@b", "invalid URL of Redis"),
        ("redis://a:made-up-key@b:99999", "invalid URL of Redis"),
        ("redis://a:made-up-key@b?timeout=soon", "invalid URL of Redis"),
        ("redis://a:made-up-key@b?socket_time_out=3", "an option that redis-py does not know"),
    ],
)
def test_bad_url_is_refused_and_not_shown(url: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        RedisGate(url, processes=4)
    assert "made-up-key" not in str(caught.value)
    error: BaseException | None = caught.value
    assert error is not None
    assert error.__context__ is None
    trace = error.__traceback__
    while trace is not None:
        if "videoapi" in trace.tb_frame.f_code.co_filename and "tests" not in trace.tb_frame.f_code.co_filename:
            assert "made-up-key" not in repr(trace.tb_frame.f_locals), trace.tb_frame
        trace = trace.tb_next


@pytest.mark.parametrize("processes", [0, -1, True, 2.0, "4", None, 10_001])
def test_number_of_processes_is_checked(processes: Any) -> None:
    with pytest.raises(ConfigurationError, match="give the number of processes"):
        RedisGate("redis://localhost", processes=processes)


@pytest.mark.parametrize("prefix", ["", "a{b}", "a\n", 7])
def test_prefix_is_checked(prefix: Any) -> None:
    with pytest.raises(ConfigurationError, match="prefix"):
        RedisGate("redis://localhost", processes=1, prefix=prefix)


async def test_gate_without_a_rate_is_for_clients_only() -> None:
    gate = RedisGate("redis://localhost", processes=1)
    assert isinstance(gate, Gate)
    with pytest.raises(ConfigurationError, match="no rate="):
        await gate.take(1)


def test_gate_is_not_pickled_with_its_url() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(RedisGate("redis://localhost", processes=1))


def test_equal_gates_are_one() -> None:
    one, two = (RedisGate("redis://localhost/1", processes=4) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert one != RedisGate("redis://localhost/1", processes=5)
    assert one != RedisGate("redis://localhost/2", processes=4)


def test_environment_describes_a_gate() -> None:
    variables = {"VIDEOAPI_REDIS": "redis://h:7000", "VIDEOAPI_PROCESSES": "4", "VIDEOAPI_RATE": "200/s"}
    gate = RedisGate.from_env(variables)
    assert (gate.where, gate.processes, gate.rate) == ("h:7000", 4, "200/s")
    for name in variables:
        with pytest.raises(ConfigurationError, match=name):
            RedisGate.from_env({**variables, name: ""})
    with pytest.raises(ConfigurationError, match="VIDEOAPI_PROCESSES='four'"):
        RedisGate.from_env({**variables, "VIDEOAPI_PROCESSES": "four"})
    with pytest.raises(ConfigurationError, match="rate='fast'"):
        RedisGate.from_env({**variables, "VIDEOAPI_RATE": "fast"})


def test_missing_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "redis.py").write_text("raise ImportError('not installed')")
    program = "import videoapi\nvideoapi.RedisGate('redis://localhost', processes=1)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{program}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "ConfigurationError: RedisGate: redis-py is not installed: pip install 'videoapi[redis]'." in done.stderr


# Event loops.


def test_each_event_loop_has_connections_of_its_own(redis_server: RedisServer) -> None:
    gate = RedisGate(redis_server.url, processes=1, rate="100/s")

    async def once() -> Slots:
        try:
            return await gate.take(1)
        finally:
            await gate.aclose()

    assert [asyncio.run(once()).granted for _ in range(3)] == [1, 1, 1]


async def test_many_commands_share_few_connections(redis_server: RedisServer, gate_for: GateFor) -> None:
    gate = gate_for(redis_server.url, rate="100000/s")
    slots = await asyncio.gather(*(gate.take(1) for _ in range(200)), return_exceptions=True)
    # Not each of them in time on a busy machine.
    assert any(isinstance(each, Slots) for each in slots)
    # None, if the last commands were late: a command that is given up closes its connection.
    assert redis_server.command("CLIENT", "LIST").count(b"name=videoapi") <= 8


async def test_connections_close_with_their_last_user(redis_server: RedisServer) -> None:
    connections = RedisConnections(redis_server.url, timeout=5, purpose="test")
    users = [object.__new__(type("User", (), {})) for _ in range(2)]
    for user in users:
        await connections.run(lambda redis: redis.ping(), user=user)
    await connections.leave(users[0])
    assert b"name=videoapi" in redis_server.command("CLIENT", "LIST")
    await connections.leave(users[1])
    async with asyncio.timeout(10):
        while b"name=videoapi" in redis_server.command("CLIENT", "LIST"):
            await asyncio.sleep(0.01)
