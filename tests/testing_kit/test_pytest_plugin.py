"""The pytest plugin in a user's project: runs an inner pytest on a small project."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# Long, and not about the interpreter.
pytestmark = pytest.mark.slow

NO_ASYNC_PLUGIN = ("-p", "no:asyncio", "-p", "no:anyio")


def run(project: Path, source: str, *options: str) -> str:
    """Run pytest on one file, with warnings as errors, and return its output; all tests must pass."""
    (project / "test_inner.py").write_text(textwrap.dedent(source), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_plugin_imports_nothing_until_a_fixture_is_used(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        import sys

        def test_nothing():
            heavy = {"aiohttp", "aioresponses", "cattrs", "msgspec", "videoapi.client", "videoapi.sandbox"}
            assert not heavy & set(sys.modules)
        """,
        *NO_ASYNC_PLUGIN,
    )


def test_fixtures_work_without_an_async_plugin(tmp_path: Path) -> None:
    output = run(
        tmp_path,
        """
        import asyncio

        def test_a_room(videoapi_sandbox, videoapi_client):
            async def make():
                async with videoapi_client as client:
                    return await client.rooms.create(name="Stand-up")

            room = asyncio.run(make())
            assert list(videoapi_sandbox.ledger.rooms) == [room.room_id]

        def test_the_next_sandbox_is_fresh(videoapi_sandbox):
            assert not videoapi_sandbox.ledger.rooms
        """,
        *NO_ASYNC_PLUGIN,
    )
    assert "2 passed" in output


def test_fixtures_work_with_pytest_asyncio(tmp_path: Path) -> None:
    output = run(
        tmp_path,
        """
        from videoapi import NotFound
        import pytest

        async def test_a_fault_and_a_refusal(videoapi_sandbox, videoapi_client):
            fault = videoapi_sandbox.fault("rooms.create", "throttle", retry_after=0)
            async with videoapi_client as client:
                room = await client.rooms.create(name="Stand-up")
                assert fault.hits == 1
                await client.rooms.delete(room.room_id)
                with pytest.raises(NotFound):
                    await client.rooms.get(room.room_id)
        """,
        "-o",
        "asyncio_mode=auto",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    )
    assert "1 passed" in output


def test_client_can_download_sandbox_recordings(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        import asyncio

        def test_a_recording(videoapi_sandbox, videoapi_client, tmp_path):
            async def fetch():
                async with videoapi_client as client:
                    room = await client.rooms.create(name="Stand-up")
                    videoapi_sandbox.conference(room.room_id, recorded=True)
                    (archive,) = await client.archives.by_room(room.room_id).to_list()
                    return await client.archives.download(archive.files[0], to=tmp_path)

            assert asyncio.run(fetch()).stat().st_size > 0
        """,
        *NO_ASYNC_PLUGIN,
    )


def test_unused_client_causes_no_warning(tmp_path: Path) -> None:
    run(tmp_path, "def test_unused(videoapi_client): pass", *NO_ASYNC_PLUGIN)


def test_sandbox_options_come_from_an_overridden_fixture(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        import asyncio
        import pytest
        from videoapi import AuthenticationFailed, VideoClient

        @pytest.fixture
        def videoapi_sandbox_options():
            return {"app_id": "a" * 24, "tls": True, "status_mode": "legacy200"}

        def test_options(videoapi_sandbox, videoapi_client):
            async def call():
                async with videoapi_client as client:
                    await client.rooms.create(name="Stand-up")
                async with VideoClient(
                    "a" * 24, "wrong", videoapi_sandbox.base_url, ca_file=videoapi_sandbox.ca_file
                ) as stranger:
                    with pytest.raises(AuthenticationFailed) as refused:
                        await stranger.rooms.create(name="Stand-up")
                assert refused.value.status == 200

            assert videoapi_sandbox.base_url.startswith("https://")
            asyncio.run(call())
        """,
        *NO_ASYNC_PLUGIN,
    )
