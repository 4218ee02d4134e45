"""A sandbox, and functions that start programs of examples/ against it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from support.programs import Backend, Program, free_port, running

from videoapi.sandbox import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=7, calls=60).in_thread() as running:
        yield running


@pytest.fixture
def start(sandbox: Sandbox, tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Return a function that starts a Python program, which must end cleanly and keep the secrets to itself."""
    with ExitStack() as stack:

        def begin(*command: str, **variables: str) -> Program:
            return stack.enter_context(running(sandbox, tmp_path, command, variables))

        yield begin


@pytest.fixture
def serve(start: Callable[..., Program]) -> Iterator[Callable[..., Backend]]:
    """Return a function that starts a web backend, and waits until it accepts connections."""
    with ExitStack() as stack:

        def begin(*command: str) -> Backend:
            port = free_port()
            program = start(*(part.format(port=port) for part in command), PORT=str(port))

            def accepts() -> bool:
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0

            program.wait_for(accepts)
            browser = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30))
            return Backend(program, browser)

        yield begin
