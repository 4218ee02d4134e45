"""Warnings of the library in the words of an operator, who can change neither a program nor other processes."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from videoapi import RedisGate, VideoClient
from videoapi.cli.notices import notices
from videoapi.events import log
from videoapi.pipeline.clock import Clock
from videoapi.pipeline.outage import Outage
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]


async def block_the_event_loop(sandbox: Sandbox) -> None:
    sandbox.fault("rooms.list", "delay", seconds=0.5)
    async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, attempt_timeout=1.0) as client:
        waiting = asyncio.ensure_future(client.rooms.list().to_list())
        await asyncio.sleep(0.1)
        time.sleep(1.5)  # noqa: ASYNC251
        await waiting


def test_blocked_event_loop_is_no_matter_of_an_operator(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, log.name), notices():
        asyncio.run(block_the_event_loop(sandbox))
    assert "Event loop blocked" in caplog.text
    assert capsys.readouterr().err == ""


def test_pause_of_less_than_a_second_is_not_shown(cli: Cli, sandbox: Sandbox) -> None:
    sandbox.fault("dialin.get", "throttle", retry_after=0)
    result = cli("dialin")
    assert result.exit_code == 0, result.output
    assert "429" not in result.stderr


def test_pause_is_shown_without_the_account(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    sandbox.fault("dialin.get", "throttle", retry_after=1.2)
    result = cli("dialin")
    assert result.exit_code == 0, result.output
    assert "s: too many requests, HTTP 429" in result.stderr
    assert "paused" not in result.stderr
    assert sandbox.app_id not in result.stderr


async def test_gate_that_fails_is_reported_without_a_formula(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("redis")
    gate = RedisGate("redis://127.0.0.1:9/0", processes=3, rate="10/s")
    with notices():
        Outage(Clock(), gate).begin("Connection refused.", asyncio.get_running_loop().time())
    assert capsys.readouterr().err == (
        "Redis at 127.0.0.1:9 failed: Connection refused. Until it answers, this process sends at half of its share "
        "of the rate.\n"
    )
