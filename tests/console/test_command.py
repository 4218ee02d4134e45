"""`videoapi sandbox` as a process: it prints the console's address, and ends at once while pages are open."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import aiohttp
import pytest

COMMAND = (sys.executable, "-m", "videoapi.cli", "sandbox", "--port", "0")


@pytest.fixture
def begin() -> Iterator[object]:
    """A function that starts the command, and returns it with the lines that it printed."""
    processes: list[subprocess.Popen[str]] = []

    def start(*options: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
        )
        processes.append(process)
        printed = ""
        while "Ctrl-C" not in printed:
            line = process.stderr.readline()
            assert line, printed
            printed += line
        return process, printed

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_command_prints_the_address_and_ends_at_once_with_pages_open(begin, number):
    process, printed = begin()
    found = re.search(r"^Console: (http://127\.0\.0\.1:\d+/)$", printed, re.MULTILINE)
    assert found, printed
    async with aiohttp.ClientSession() as session, asyncio.timeout(30):
        async with session.get(found[1]) as page:
            assert "Sandbox console" in await page.text()
        streams = [await session.get(f"{found[1]}console/events") for _ in range(5)]
        for stream in streams:
            await stream.content.readuntil(b"event: state")
        began = time.monotonic()
        process.send_signal(number)
        code = await asyncio.to_thread(process.wait, 20)
        for stream in streams:
            stream.close()
    assert code == 0
    # A stream that waits is cancelled after 1 s; ending the interpreter takes a moment, too.
    assert time.monotonic() - began < 10
    assert "Traceback" not in process.stderr.read()


@pytest.mark.slow
async def test_command_without_console_has_no_page(begin):
    process, printed = begin("--no-console", "--app-id", "a" * 24, "--app-key", "key")
    assert "Console" not in printed
    lines = [process.stdout.readline() for _ in range(5)]
    base = re.search(r"VIDEOAPI_BASE_URL=(\S+)/video/v2", lines[0])
    login = {"Authorization": aiohttp.encode_basic_auth("a" * 24, "key")}
    async with aiohttp.ClientSession() as session, session.get(f"{base[1]}/", headers=login) as response:
        assert response.status == 404
        assert (await response.json())["result"] == 40001


@pytest.mark.slow
async def test_command_limits_the_rate_and_prints_the_traffic_at_its_end(begin):
    process, _ = begin("--no-console", "--app-id", "a" * 24, "--app-key", "key", "--rate-limit", "2/h")
    base = re.search(r"VIDEOAPI_BASE_URL=(\S+)", process.stdout.readline())
    login = {"Authorization": aiohttp.encode_basic_auth("a" * 24, "key")}
    async with aiohttp.ClientSession(headers=login) as session:
        for status in (200, 200, 429):
            async with session.get(f"{base[1]}/rooms") as response:
                assert response.status == status
    process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(process.wait, 20) == 0
    printed = process.stderr.read()
    assert re.search(r"^route +requests +429 +worst second +worst 0.1 s +at once$", printed, re.MULTILINE), printed
    assert re.search(r"^rooms.list +3 +1 +\d +\d +1$", printed, re.MULTILINE), printed
    assert "The rate limit is 2/h." in printed


def test_wrong_rate_limit_names_the_flag():
    done = subprocess.run([*COMMAND, "--rate-limit", "2/day"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--rate-limit" in done.stderr
    assert "'2/day' is not a rate such as '20/s'" in done.stderr
