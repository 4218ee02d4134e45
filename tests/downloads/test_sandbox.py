"""Downloads from the sandbox's archive, over a real socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from yarl import URL

from tests.downloads.conftest import left, no_sleep
from videoapi.client import VideoClient
from videoapi.errors import AuthenticationFailed, NotFound, PermissionDenied, ProtocolError
from videoapi.models.archives import Archive
from videoapi.pipeline.clock import Clock
from videoapi.sandbox import Sandbox
from videoapi.session import SessionManager


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=7, file_size=700_001) as sandbox:
        yield sandbox


@pytest.fixture
async def manager() -> AsyncIterator[SessionManager]:
    async with SessionManager(clock=Clock(sleep=no_sleep)) as manager:
        yield manager


@pytest.fixture
def client(sandbox: Sandbox, manager: SessionManager) -> VideoClient:
    return VideoClient(
        sandbox.app_id,
        sandbox.app_key,
        sandbox.base_url,
        session=manager,
        recording_auth=sandbox.recording_auth,
    )


@pytest.fixture
async def archive(sandbox: Sandbox, client: VideoClient) -> Archive:
    room = await client.rooms.create(name="Talk", settings={"auto_recording": True})
    conf_num = sandbox.conference(room.room_id)
    (archive,) = await client.archives.by_conference(conf_num).to_list()
    return archive


async def test_every_file_of_an_archive_is_downloaded(client: VideoClient, archive: Archive, tmp_path: Path) -> None:
    kinds = {}
    for file in archive.files:
        path = await client.archives.download(file, f"{tmp_path}/{archive.conf_num}/")
        kinds.setdefault(file.kind, path)
    assert {"recording", "transcoded", "chatdata", "metadata"} <= set(kinds)
    assert kinds["recording"].stat().st_size == 700_001
    assert json.loads(kinds["metadata"].read_text())["conf_num"] == archive.conf_num
    assert len(left(tmp_path / str(archive.conf_num))) == len(archive.files)


async def test_resumed_file_equals_an_uninterrupted_one(
    sandbox: Sandbox, client: VideoClient, archive: Archive, tmp_path: Path
) -> None:
    file = archive.files[0]
    whole = await client.archives.download(file, tmp_path / "whole")
    fault = sandbox.fault("files.get", "cut", times=2, at=0.5)
    reports: list[int] = []
    resumed = await client.archives.download(
        file, tmp_path / "resumed", progress=lambda received, total: reports.append(received)
    )
    assert fault.hits == 2
    assert resumed.read_bytes() == whole.read_bytes()
    assert reports == sorted(reports)


async def test_wrong_and_missing_recording_credentials_are_distinguished(
    sandbox: Sandbox, manager: SessionManager, archive: Archive, tmp_path: Path
) -> None:
    project = (sandbox.app_id, sandbox.app_key)
    as_project = VideoClient(*project, sandbox.base_url, session=manager, recording_auth=project)
    with pytest.raises((PermissionDenied, AuthenticationFailed), match="not APP_ID and APP_KEY"):
        await as_project.archives.download(archive.files[0], tmp_path)
    without = VideoClient(*project, sandbox.base_url, session=manager)
    with pytest.raises((PermissionDenied, AuthenticationFailed), match="give recording_auth="):
        await without.archives.download(archive.files[0], tmp_path)
    assert left(tmp_path) == []


async def test_redirect_from_https_to_http_is_not_followed(tmp_path: Path) -> None:
    async with Sandbox() as plain, Sandbox(tls=True) as sandbox:
        client = VideoClient(
            sandbox.app_id,
            sandbox.app_key,
            sandbox.base_url,
            ca_file=sandbox.ca_file,
            recording_auth=sandbox.recording_auth,
            recording_hosts=["127.0.0.1"],
        )
        sandbox.fault("files.get", "redirect", location=f"{URL(plain.base_url).origin()}/files/x.mp4")
        async with client:
            with pytest.raises(ProtocolError, match="from https to http"):
                await client.archives.download(f"{URL(sandbox.base_url).origin()}/files/x.mp4", tmp_path)
        assert plain.ledger.connections == 0


async def test_expired_file_raises_not_found(
    sandbox: Sandbox, client: VideoClient, archive: Archive, tmp_path: Path
) -> None:
    sandbox.switches.file_hours = 0
    with pytest.raises(NotFound, match="72 hours"):
        await client.archives.download(archive.files[0], tmp_path)
