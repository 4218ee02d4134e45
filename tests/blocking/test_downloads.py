"""Downloads: progress in the calling thread, and errors of the callback."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from videoapi import ArchiveFile, DownloadFailed
from videoapi.blocking import VideoClient
from videoapi.sandbox import Sandbox

SIZE = 300_000


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=7, file_size=SIZE).in_thread() as sandbox:
        yield sandbox


@pytest.fixture
def file(sandbox: Sandbox, client: VideoClient) -> ArchiveFile:
    room = client.rooms.create(name="Stand-up", settings={"auto_recording": True})
    conf_num = sandbox.conference(room.room_id, start=datetime.now(UTC))
    files = [file for archive in client.archives.by_conference(conf_num) for file in archive.files]
    return next(file for file in files if file.kind == "recording")


def test_progress_runs_in_the_calling_thread_and_ends_with_the_size(
    client: VideoClient, file: ArchiveFile, tmp_path: Path
) -> None:
    seen: list[tuple[int, int | None]] = []
    threads = set()

    def progress(received: int, total: int | None) -> None:
        threads.add(threading.current_thread())
        seen.append((received, total))

    path = client.archives.download(file, tmp_path, progress=progress)
    assert path.stat().st_size == seen[-1][0] == seen[-1][1]
    assert seen == sorted(seen)
    assert threads == {threading.current_thread()}
    with pytest.raises(DownloadFailed) as caught:
        client.archives.download(file, tmp_path)
    assert caught.value.reason == "exists"


def test_failing_progress_ends_the_download_which_can_be_continued(
    client: VideoClient, file: ArchiveFile, tmp_path: Path
) -> None:
    def progress(received: int, total: int | None) -> None:
        raise LookupError("progress")

    with pytest.raises(LookupError, match="progress"):
        client.archives.download(file, tmp_path / "a.mp4", progress=progress)
    assert client.archives.download(file, tmp_path / "a.mp4", overwrite=True).stat().st_size > 0


def test_slow_progress_misses_steps_but_not_the_last(client: VideoClient, file: ArchiveFile, tmp_path: Path) -> None:
    seen = []

    def progress(received: int, total: int | None) -> None:
        time.sleep(0.2)
        seen.append(received)

    path = client.archives.download(file, tmp_path, progress=progress)
    assert seen[-1] == path.stat().st_size
    assert len(seen) <= 3


def test_progress_can_use_the_client(client: VideoClient, file: ArchiveFile, tmp_path: Path) -> None:
    rooms = []
    client.archives.download(file, tmp_path, progress=lambda *_: rooms.append(len(client.rooms.list().to_list())))
    assert set(rooms) == {1}
