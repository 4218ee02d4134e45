"""Fixtures for tests of programs that use the client.

pytest loads this module wherever the package is installed, so it imports nothing but pytest until a
fixture is used. No fixture needs an async plugin, and none is active by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from aioresponses import aioresponses

    from videoapi.client import VideoClient
    from videoapi.sandbox import Sandbox


@pytest.fixture
def videoapi_sandbox_options() -> Mapping[str, Any]:
    """The arguments of `videoapi_sandbox`'s Sandbox; override the fixture to give some."""
    return {}


@pytest.fixture
def videoapi_sandbox(videoapi_sandbox_options: Mapping[str, Any]) -> Iterator[Sandbox]:
    """A fresh sandbox that runs on a thread of its own for the length of one test."""
    from videoapi.sandbox import Sandbox

    with Sandbox(**videoapi_sandbox_options).in_thread() as sandbox:
        yield sandbox


@pytest.fixture
def videoapi_client(videoapi_sandbox: Sandbox) -> VideoClient:
    """A client of `videoapi_sandbox`, not open yet: `async with videoapi_client as client:` in the test.

    It is opened and closed there because connections belong to the loop that the test runs in.
    """
    from videoapi.client import VideoClient

    return VideoClient(
        videoapi_sandbox.app_id,
        videoapi_sandbox.app_key,
        videoapi_sandbox.base_url,
        recording_auth=videoapi_sandbox.recording_auth,
        ca_file=videoapi_sandbox.ca_file,
    )


@pytest.fixture
def videoapi_aioresponses() -> Iterator[aioresponses]:
    """An active `aioresponses()` that works on current aiohttp; needs the extra `testing`."""
    from aioresponses import aioresponses

    from videoapi.testing import aioresponses_shim

    with aioresponses_shim(), aioresponses() as mocked:
        yield mocked
