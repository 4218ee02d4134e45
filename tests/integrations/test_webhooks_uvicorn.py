"""Webhooks under uvicorn, in a process of its own: mounted and alone, with a drain at SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest

pytest.importorskip("uvicorn")

APP = """
import asyncio
from fastapi import FastAPI
from videoapi.webhooks import WebhookEvent, Webhooks

hooks = Webhooks(("service", "password"))

@hooks.on(WebhookEvent)
async def keep(event):
    await asyncio.sleep(0.5)
    with open("handled.txt", "a") as file:
        file.write(event.conf_num + "\\n")

mounted = FastAPI(lifespan=hooks.lifespan)
mounted.mount("/hooks", hooks.asgi())
alone = hooks.asgi()
"""
HEADERS = {"Authorization": aiohttp.encode_basic_auth("service", "password")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mounted", "alone"])
async def test_events_are_answered_at_once_and_handled_before_the_process_ends(name: str, tmp_path: Path) -> None:
    (tmp_path / "backend.py").write_text(APP, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path), *sys.path]))}
    command = ["-m", "uvicorn", f"backend:{name}", "--port", str(port), "--log-level", "warning", "--http", "h11"]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=tmp_path, env=environment)
    try:
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            url = f"http://127.0.0.1:{port}/hooks/"
            async with asyncio.timeout(60):
                while not await is_up(session, url):
                    await asyncio.sleep(0.05)
            statuses = [
                await post(session, url, f'{{"type":"roomdrop","conf_num":"c{n}"}}'.encode()) for n in range(20)
            ]
            assert statuses == [200] * 20
            assert await post(session, url, b"{") == 400
            assert await post(session, url, b"x" * 300_000) == 413
            assert await post(session, url, pieces()) == 413
            assert await post(session, url, b"", Authorization="") == 401
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    handled = (tmp_path / "handled.txt").read_text(encoding="utf-8").split()
    assert sorted(handled) == sorted(f"c{n}" for n in range(20))


async def is_up(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 405
    except aiohttp.ClientError:
        return False


async def post(session: aiohttp.ClientSession, url: str, body: object, **headers: str) -> int:
    async with session.post(url, data=body, headers=headers) as response:
        await response.read()
        return response.status


async def pieces():  # type: ignore[no-untyped-def]
    for _ in range(300):
        yield b"x" * 1000
