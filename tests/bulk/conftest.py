from collections.abc import AsyncIterator

import pytest

from videoapi import VideoClient
from videoapi.sandbox import Sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=7) as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[VideoClient]:
    async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=0.3) as client:
        yield client
