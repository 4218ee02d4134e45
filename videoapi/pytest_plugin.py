"""pytest fixtures for applications that use the client.

pytest loads this module wherever the package is installed, so it imports only pytest until a fixture is
used. No fixture requires an async plugin, and none is autouse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from aioresponses import aioresponses

    from videoapi.client import VideoClient
    from videoapi.sandbox import Sandbox
else:
    # For `typing.get_type_hints`.
    aioresponses = VideoClient = Sandbox = Any


@pytest.fixture
def videoapi_sandbox_options() -> Mapping[str, Any]:
    """Keyword arguments for the Sandbox of `videoapi_sandbox`; override this fixture to set them."""
    return {}


@pytest.fixture
def videoapi_sandbox(videoapi_sandbox_options: Mapping[str, Any]) -> Iterator[Sandbox]:
    """A new sandbox that runs in its own thread for one test."""
    from videoapi.sandbox import Sandbox

    with Sandbox(**videoapi_sandbox_options).in_thread() as sandbox:
        yield sandbox


@pytest.fixture
def videoapi_client(videoapi_sandbox: Sandbox) -> VideoClient:
    """An unopened client of `videoapi_sandbox`; open it in the test: `async with videoapi_client as client:`.

    The test opens it because connections belong to the event loop that runs the test.
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
    """An active `aioresponses()` that works with current aiohttp; requires the extra `testing`."""
    from aioresponses import aioresponses

    from videoapi.testing import aioresponses_shim

    with aioresponses_shim(), aioresponses() as mocked:
        yield mocked
