"""Shell completion, in a real bash: as bash calls it, and with the tabulator key of a terminal."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"
BASH = 'eval "$(_VIDEOAPI_COMPLETE=bash_source videoapi)"'


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH has the command."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "videoapi"
    command.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m videoapi \"$@\"\n")
    command.chmod(0o755)
    return {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "HOME": str(tmp_path),
        "TERM": "dumb",
    }


def completions(environment: dict[str, str], *lines: str) -> list[list[str]]:
    """Return what bash would offer for the last word of each line."""
    script = [BASH]
    for line in lines:
        words = line.split(" ")
        quoted = " ".join(f"'{word}'" for word in words)
        script += [f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMPREPLY=()", "_videoapi_completion videoapi"]
        script += ['echo "${COMPREPLY[*]}"']
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environment,
    )
    assert done.stderr == ""
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_bash_completes_commands_options_and_choices(environment: dict[str, str]) -> None:
    groups, commands, options, choices, roles = completions(
        environment,
        "videoapi ro",
        "videoapi rooms cr",
        "videoapi rooms create --on",
        "videoapi rooms create --quality ",
        "videoapi tokens create --role mo",
    )
    assert groups == ["rooms"]
    assert commands == ["create", "create-many"]
    assert options == ["--one-session", "--on-unknown"]
    assert choices == ["HD", "SD", "LD"]
    assert roles == ["moderator"]


@pytest.mark.slow
def test_tabulator_completes_on_a_terminal(environment: dict[str, str]) -> None:
    controller, terminal = pty.openpty()
    bash = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        env={**environment, "PS1": "ready> ", "INPUTRC": "/dev/null"},
    )
    os.close(terminal)
    try:
        shown_until(controller, b"ready> ")
        os.write(controller, f"{BASH}\n".encode())
        shown_until(controller, b"ready> ")
        os.write(controller, b"videoapi ro\t")
        assert b"videoapi rooms " in shown_until(controller, b"rooms ")
    finally:
        bash.kill()
        bash.wait()
        os.close(controller)


def shown_until(controller: int, text: bytes) -> bytes:
    shown, end = b"", time.monotonic() + 60
    while text not in shown:
        assert time.monotonic() < end, shown
        if select.select([controller], [], [], 1)[0]:
            shown += os.read(controller, 10_000)
    return shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_documented_line_gives_the_script_of_each_shell(environment: dict[str, str], shell: str) -> None:
    assert f"_VIDEOAPI_COMPLETE={shell}_source videoapi" in PAGE.read_text(encoding="utf-8")
    done = subprocess.run(
        ["videoapi"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**environment, "_VIDEOAPI_COMPLETE": f"{shell}_source"},
    )
    assert f"_VIDEOAPI_COMPLETE={shell}_complete" in done.stdout
