"""Fixtures of the command-line tests."""

from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from videoapi.cli.app import videoapi
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]


@pytest.fixture(autouse=True)
def profiles(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of profiles, which does not exist yet; that of the user is out of reach."""
    home = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.delenv("VIDEOAPI_PROFILE", raising=False)
    return home / "videoapi" / "config.toml"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox in its own thread."""
    with Sandbox(seed=7).in_thread() as running:
        yield running


@pytest.fixture
def environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables that point the command line at the sandbox."""
    user, password = sandbox.recording_auth
    variables = {
        "VIDEOAPI_BASE_URL": sandbox.base_url,
        "VIDEOAPI_APP_ID": sandbox.app_id,
        "VIDEOAPI_APP_KEY": sandbox.app_key,
        "VIDEOAPI_RECORDING_USER": user,
        "VIDEOAPI_RECORDING_PASSWORD": password,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def cli(environment: dict[str, str]) -> Cli:
    """A function that runs the command line in this process, against the sandbox."""
    # click 8.1 mixes stderr into stdout by default; later versions never do, and lack the parameter.
    options: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
    runner = CliRunner(**options)
    return lambda *arguments: runner.invoke(videoapi, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
