"""The guide quotes what the receiver logs."""

from __future__ import annotations

import asyncio
import logging
import re

import aiohttp
import pytest

from videoapi.webhooks import SessionEnded, Webhooks

from .receiver_process import AUTH, ROOT
from .test_many_deliveries import HEADERS


def quoted() -> list[str]:
    """Return the log texts of the guide's first table."""
    page = (ROOT / "docs" / "howto" / "webhooks.md").read_text(encoding="utf-8")
    section = page.split("## What can go wrong\n")[1].split("\n## ")[0]
    return re.findall(r"`(Webhooks? [^`]+)`", section)


async def test_log_texts_of_the_guide_are_those_of_the_receiver(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIDEOAPI_WEBHOOK_USER", raising=False)
    monkeypatch.delenv("VIDEOAPI_WEBHOOK_PASSWORD", raising=False)
    caplog.set_level(logging.DEBUG, "videoapi")
    hooks, release = Webhooks(AUTH, queue_size=1, concurrency=1), asyncio.Event()

    @hooks.on(SessionEnded)
    async def wait(event: SessionEnded) -> None:
        await release.wait()

    async with hooks.serve() as url, aiohttp.ClientSession() as session, Webhooks().serve():
        wrong = {"Authorization": aiohttp.encode_basic_auth("service", "wrong")}
        for number, headers in enumerate(({}, wrong, *[HEADERS] * 4)):
            body = b'{"type":"roomdrop","conf_num":"c-%d"}' % number
            async with session.post(url, data=body, headers=headers):
                pass
        release.set()
    assert len(quoted()) == 4
    for text in quoted():
        pattern = ".+".join(map(re.escape, text.split("…")))
        assert any(re.search(pattern, message) for message in caplog.messages), text
