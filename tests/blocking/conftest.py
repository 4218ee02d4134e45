from collections.abc import Iterator

import pytest

from videoapi.blocking import VideoClient
from videoapi.sandbox import Sandbox

SETTLE = 0.3


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=7).in_thread() as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[VideoClient]:
    options = {"recording_auth": sandbox.recording_auth, "settle": SETTLE}
    with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, **options) as client:
        yield client
