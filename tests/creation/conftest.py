from collections.abc import AsyncIterator

import pytest

from videoapi import VideoClient
from videoapi.sandbox import Sandbox

SETTLE = 0.3


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=5) as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[VideoClient]:
    async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=SETTLE) as client:
        yield client
