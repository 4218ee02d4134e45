"""The sandbox server: starting, closing, TLS, and running in a thread."""

import asyncio
import base64
import json
import socket
import ssl
import threading
import urllib.error
import urllib.request
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import aiohttp
import pytest

from videoapi.sandbox import Sandbox


def call(sandbox, method, path, body=None, context=None):
    """Send a blocking request, as code without an event loop does."""
    login = base64.b64encode(f"{sandbox.app_id}:{sandbox.app_key}".encode()).decode()
    request = urllib.request.Request(sandbox.base_url + path, method=method)
    request.add_header("Authorization", f"Basic {login}")
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(request, data, timeout=10, context=context) as answer:
        return json.loads(answer.read())


async def test_sandbox_listens_on_loopback_until_the_block_ends():
    async with Sandbox() as sandbox:
        assert sandbox.base_url == f"http://127.0.0.1:{sandbox.port}/video/v2"
        assert sandbox.ca_file is None
        _, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
        writer.close()
        await writer.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", sandbox.port)
    await sandbox.aclose()


async def test_restart_keeps_port_and_rooms():
    sandbox = Sandbox()
    async with aiohttp.ClientSession() as session:
        login = {"Authorization": aiohttp.encode_basic_auth(sandbox.app_id, sandbox.app_key)}
        await sandbox.start()
        port = sandbox.port
        with pytest.raises(RuntimeError, match="runs already"):
            await sandbox.start()
        body = {"name": "n", "owner_ref": "o"}
        async with session.post(f"{sandbox.base_url}/rooms", json=body, headers=login) as response:
            assert response.status == 200
        await sandbox.aclose()
        async with sandbox, session.get(f"{sandbox.base_url}/rooms", headers=login) as response:
            assert len((await response.json())["rooms"]) == 1
            assert sandbox.port == port


async def test_port_in_use_raises_os_error():
    async with Sandbox() as sandbox:
        with pytest.raises(OSError, match="in use"):
            await Sandbox(port=sandbox.port).start()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])
def test_non_loopback_host_requires_allow_remote(host):
    with pytest.raises(ValueError, match="allow_remote=True"):
        Sandbox(host=host)
    assert Sandbox(host=host, allow_remote=True).port == 0


@pytest.mark.parametrize("host", ["localhost", "::1", "127.0.0.2"])
def test_loopback_hosts_are_accepted(host):
    assert Sandbox(host=host)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_ipv6_address_is_bracketed_in_the_base_url():
    async with AsyncExitStack() as stack:
        try:
            sandbox = await stack.enter_async_context(Sandbox(host="::1"))
        except OSError:
            pytest.skip("IPv6 is switched off here")
        assert sandbox.base_url == f"http://[::1]:{sandbox.port}/video/v2"


async def test_open_connections_do_not_block_closing():
    async with asyncio.timeout(5):
        async with Sandbox() as sandbox:
            reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
            writer.write(b"GET /v1/rooms HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 401")
        while await reader.read(1000):
            pass
        writer.close()


async def test_internal_error_returns_500_json(serve, monkeypatch, caplog):
    bare = await serve(clock=lambda: datetime.now(UTC))
    monkeypatch.setattr("videoapi.sandbox.serializers.created", lambda *_: {}["missing"])
    reply = await bare("POST", "/rooms", {"name": "n", "owner_ref": "o"})
    assert (reply.status, reply.code) == (500, 50000)
    assert "rooms.create" in caplog.text


@pytest.mark.parametrize("kind", [None, "cut"])
async def test_disconnect_during_a_long_response_logs_nothing(serve, caplog, kind):
    bare = await serve(calls=5000)
    if kind:
        bare.sandbox.fault("cdr.*", kind, at=0.9)
    path = "/cdr/period/2000-01-01/2100-01-01"
    login = aiohttp.encode_basic_auth(bare.sandbox.app_id, bare.sandbox.app_key)
    reader, writer = await asyncio.open_connection("127.0.0.1", bare.sandbox.port, limit=1024)
    writer.write(f"GET /v1{path} HTTP/1.1\r\nHost: x\r\nAuthorization: {login}\r\n\r\n".encode())
    await reader.readexactly(512)
    writer.transport.abort()

    # Takes long enough for the first response to hit the closed connection.
    assert len((await bare("GET", path)).json["cdr"]) == 5000
    assert not caplog.records


async def test_ca_file_validates_every_host_name():
    async with Sandbox(tls=True) as sandbox:
        assert sandbox.base_url.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=sandbox.ca_file)
        for name in ("127.0.0.1", "localhost", "api.enablex.io"):
            reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port, ssl=context, server_hostname=name)
            writer.write(b"GET /v1/rooms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 401")
            writer.close()
            await writer.wait_closed()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(
                "127.0.0.1", sandbox.port, ssl=ssl.create_default_context(), server_hostname="localhost"
            )
        file = sandbox.ca_file
    with pytest.raises(FileNotFoundError):
        ssl.create_default_context(cafile=file)
    assert sandbox.ca_file is None


async def test_reset_and_refuse_work_with_tls():
    async with Sandbox(tls=True) as sandbox:
        context = ssl.create_default_context(cafile=sandbox.ca_file)
        connector = aiohttp.TCPConnector(ssl=context, force_close=True)
        login = {"Authorization": aiohttp.encode_basic_auth(sandbox.app_id, sandbox.app_key)}
        async with aiohttp.ClientSession(connector=connector, headers=login) as session:
            sandbox.fault("rooms.create", "reset_after")
            with pytest.raises(aiohttp.ClientError):
                await session.post(f"{sandbox.base_url}/rooms", json={"name": "n", "owner_ref": "o"})
            assert sandbox.ledger.count("rooms.create") == 1
            sandbox.fault("*", "refuse", seconds=0.1)
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(f"{sandbox.base_url}/rooms")
            async with asyncio.timeout(5):
                while True:
                    try:
                        async with session.get(f"{sandbox.base_url}/rooms") as response:
                            assert response.status == 200
                        break
                    except aiohttp.ClientConnectorError:
                        await asyncio.sleep(0.02)


def test_in_thread_serves_code_without_an_event_loop():
    threads = threading.active_count()
    with Sandbox(seed=1, calls=100).in_thread() as sandbox:
        room = call(sandbox, "POST", "/rooms", {"name": "n", "owner_ref": "o"})["room"]
        sandbox.conference(room["room_id"], users=2)
        assert len(call(sandbox, "GET", f"/cdr/room/{room['room_id']}")["cdr"]) == 2
        sandbox.fault("rooms.list", 503)
        with pytest.raises(urllib.error.HTTPError) as caught:
            call(sandbox, "GET", "/rooms")
        caught.value.close()
        sandbox.set(list_cap=0)
        assert call(sandbox, "GET", "/rooms")["rooms"] == []
        assert set(sandbox.ledger.rooms) == {room["room_id"]}
        assert sandbox.ledger.count("*") == 3
    assert threading.active_count() == threads
    with pytest.raises(urllib.error.URLError):
        call(sandbox, "GET", "/rooms")


def test_refuse_can_be_started_from_another_thread():
    with Sandbox().in_thread() as sandbox:
        sandbox.fault("*", "refuse", seconds=30)
        with pytest.raises(urllib.error.URLError, match="refused"):
            call(sandbox, "GET", "/rooms")


async def test_in_thread_can_be_used_with_a_running_loop():
    with Sandbox().in_thread() as sandbox:
        sandbox.set(strict=True)
        body = await asyncio.to_thread(call, sandbox, "GET", "/rooms")
    assert body == {"result": 0, "rooms": []}


def test_in_thread_raises_startup_errors():
    with (
        Sandbox().in_thread() as sandbox,
        pytest.raises(OSError, match="in use"),
        Sandbox(port=sandbox.port).in_thread(),
    ):
        pytest.fail("the port was taken")


def test_in_thread_closes_after_an_error_in_the_block():
    with pytest.raises(KeyError), Sandbox().in_thread() as sandbox:
        raise KeyError("mine")
    with pytest.raises(urllib.error.URLError):
        call(sandbox, "GET", "/rooms")


def test_repr_contains_no_secrets():
    sandbox = Sandbox(app_key="key-canary", recording_password="password-canary")
    assert "canary" not in repr(sandbox)
    assert "canary" not in repr(sandbox.ledger)
