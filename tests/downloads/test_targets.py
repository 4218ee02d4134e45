"""What a download writes to disk: only its own file, only when complete, only once."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.downloads.conftest import CONTENT, FileServer, Seen, head, left, plain, ranged
from videoapi.client import VideoClient
from videoapi.downloads.target import DownloadTarget
from videoapi.errors import CallTimeout, ConfigurationError, DownloadFailed
from videoapi.files import lock, part_file
from videoapi.models.archives import ArchiveFile
from videoapi.pipeline.clock import Clock


def open_files(folder: Path) -> set[str]:
    """Return the files that this process has open below a folder."""
    return {path for path in descriptors() if path.startswith(str(folder))}


def descriptors() -> set[str]:
    held = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            held.add(os.readlink(f"/proc/self/fd/{number}"))
    return held


class Hang:
    """A response with the first `size` bytes of the file, then nothing until the connection ends."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.closed = asyncio.Event()

    async def __call__(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, {"Content-Length": len(CONTENT), "ETag": '"v1"'}) + CONTENT[: self.size])
        await writer.drain()
        await seen.rest.read()
        self.closed.set()


@pytest.mark.parametrize("form", ["new/deep/", "new", "new/deep", "old", "old/", "clip.mkv"])
@pytest.mark.parametrize("kind", [str, Path])
async def test_target_may_be_a_directory_or_a_file(
    client: VideoClient, server: FileServer, tmp_path: Path, form: str, kind: type[str] | type[Path]
) -> None:
    (tmp_path / "old").mkdir()
    server.answers = [ranged()]
    path = await client.archives.download(f"{server.url}/a/clip.mp4", kind(f"{tmp_path}/{form}"))
    expected = tmp_path / form if form == "clip.mkv" else tmp_path / form / "clip.mp4"
    assert path == expected
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("to", ["", "a\0b"])
async def test_invalid_target_is_rejected(client: VideoClient, server: FileServer, to: str) -> None:
    with pytest.raises(ConfigurationError, match="to="):
        await client.archives.download(f"{server.url}/a/clip.mp4", to)
    assert server.seen == []


async def test_custom_name_is_sanitized(client: VideoClient, server: FileServer, tmp_path: Path) -> None:
    server.answers = [ranged()]
    path = await client.archives.download(f"{server.url}/a/x.mp4", tmp_path, name="../../.Ann's talk?.mp4")
    assert path == tmp_path / "Ann's talk.mp4"
    with pytest.raises(ConfigurationError, match="name="):
        await client.archives.download(f"{server.url}/a/x.mp4", tmp_path, name="..")
    with pytest.raises(ConfigurationError, match="only with one"):
        await client.archives.download(f"{server.url}/a/x.mp4", tmp_path / "no.mp4", name="x.mp4")


HOSTILE = [
    "..%2F..%2Fetc%2Fpasswd",
    "..%5C..%5Cx",
    "CON",
    "",
    "%00a",
    "%2e%2e",
    ".bashrc",
    "-rf",
    "a%E2%80%AEgpm.exe",
    "a" * 400 + ".mp4",
    "x.mp4.part",
    "%2F%2Fabsolute",
]


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_name_stays_in_the_target(
    client: VideoClient, server: FileServer, tmp_path: Path, name: str
) -> None:
    target = tmp_path / "in" / "target"
    server.answers = [ranged()]
    file = ArchiveFile(kind="transcoded", url=f"{server.url}/a/{name}", archive_id="5f")
    path = await client.archives.download(file, f"{target}/")
    assert path.parent == target
    assert [entry.name for entry in target.iterdir()] == [path.name]
    assert left(tmp_path) == ["in"]
    assert left(tmp_path / "in") == ["target"]


async def test_existing_file_is_rejected_before_a_request_is_sent(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"precious")
    server.answers = [ranged()]
    with pytest.raises(DownloadFailed, match="overwrite=True") as caught:
        await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path)
    assert caught.value.reason == "exists"
    assert server.seen == []
    path = await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path, overwrite=True)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("there", "reason"), [("file", "exists"), ("directory", "directory"), ("link", "link"), ("pipe", "link")]
)
async def test_reason_says_what_has_the_name(
    client: VideoClient, server: FileServer, tmp_path: Path, there: str, reason: str
) -> None:
    target = tmp_path / "clip.mp4"
    (tmp_path / "other").write_bytes(b"precious")
    make: dict[str, Callable[[], object]] = {
        "file": target.touch,
        "directory": target.mkdir,
        "link": lambda: target.symlink_to(tmp_path / "other"),
        "pipe": lambda: os.mkfifo(target),
    }
    make[there]()
    with pytest.raises(DownloadFailed, match=r"clip\.mp4") as caught:
        await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path)
    assert caught.value.reason == reason
    assert server.seen == []
    assert left(tmp_path) == ["clip.mp4", "other"]


async def test_file_without_a_suffix_is_not_made_a_directory(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "clip").write_bytes(b"precious")
    with pytest.raises(DownloadFailed) as caught:
        await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path / "clip")
    assert caught.value.reason == "exists"
    assert (tmp_path / "clip").read_bytes() == b"precious"


async def test_download_that_was_killed_between_its_two_names_is_complete(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "clip.mp4").write_bytes(CONTENT)
    os.link(tmp_path / "clip.mp4", tmp_path / "clip.mp4.part")
    with pytest.raises(DownloadFailed) as caught:
        await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path)
    assert caught.value.reason == "exists"
    server.answers = [ranged()]
    await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path, overwrite=True)
    assert left(tmp_path) == ["clip.mp4"]


async def test_file_created_during_the_download_is_not_replaced(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    good = ranged()

    async def respond(seen: Seen, writer: asyncio.StreamWriter) -> None:
        (tmp_path / "clip.mp4").write_bytes(b"precious")
        await good(seen, writer)

    server.answers = [respond]
    with pytest.raises(DownloadFailed, match="during the download"):
        await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path)
    assert (tmp_path / "clip.mp4").read_bytes() == b"precious"
    assert (tmp_path / "clip.mp4.part").read_bytes() == CONTENT


async def test_file_system_without_hard_links_is_supported(
    client: VideoClient, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*args: Any, **options: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    server.answers = [ranged()]
    path = await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path)
    assert path.read_bytes() == CONTENT
    assert left(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize("at", ["clip.mp4", "clip.mp4.part", "clip.mp4.part.json"])
async def test_symlink_in_the_target_is_not_followed(
    client: VideoClient, server: FileServer, tmp_path: Path, at: str
) -> None:
    folder = tmp_path / "target"
    folder.mkdir()
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (folder / at).symlink_to(outside)
    server.answers = [ranged()]
    fails = pytest.raises(DownloadFailed, match="remove it") if at == "clip.mp4.part" else nullcontext()
    with fails:
        await client.archives.download(f"{server.url}/a/clip.mp4", folder, overwrite=True)
    if at != "clip.mp4.part":
        assert not (folder / "clip.mp4").is_symlink()
        assert (folder / "clip.mp4").read_bytes() == CONTENT
    assert outside.read_bytes() == b"precious"


@pytest.mark.parametrize("kind", ["hard link", "pipe", "directory"])
async def test_part_that_is_not_a_regular_file_is_not_written(
    client: VideoClient, server: FileServer, tmp_path: Path, kind: str
) -> None:
    part = tmp_path / "clip.mp4.part"
    if kind == "hard link":
        (tmp_path / "precious").write_bytes(b"precious")
        os.link(tmp_path / "precious", part)
    elif kind == "pipe":
        os.mkfifo(part)
    else:
        part.mkdir()
    server.answers = [ranged()]
    with pytest.raises(DownloadFailed, match=r"clip\.mp4\.part is a (directory|link)") as caught:
        await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path)
    assert caught.value.reason == ("directory" if kind == "directory" else "link")
    assert open_files(tmp_path) == set()
    if kind == "hard link":
        assert (tmp_path / "precious").read_bytes() == b"precious"


async def test_second_concurrent_download_to_the_same_name_fails(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    hang = Hang(100_000)
    server.answers = [hang]
    first = asyncio.create_task(client.archives.download(f"{server.url}/a/clip.mp4", tmp_path))
    while not server.seen:
        await asyncio.sleep(0)
    with pytest.raises(DownloadFailed, match="another download is writing it") as caught:
        await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path)
    assert caught.value.reason == "busy"
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert len(server.seen) == 1


async def test_part_finished_before_the_lock_is_acquired_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = DownloadTarget(tmp_path, name="clip.mp4", source="s", overwrite=False)
    two = DownloadTarget(tmp_path, name="clip.mp4", source="s", overwrite=False)
    one.open()
    one.write(CONTENT)
    finished: list[Path] = []

    def late(file: int) -> bool:
        if not finished:
            finished.append(one.finish())
            one.close()
        return lock(file)

    monkeypatch.setattr(part_file, "lock", late)
    with pytest.raises(DownloadFailed, match="it exists"):
        two.open()
    two.close()
    assert (tmp_path / "clip.mp4").read_bytes() == CONTENT
    assert left(tmp_path) == ["clip.mp4"]
    assert open_files(tmp_path) == set()


async def test_cancelled_download_closes_its_connection_and_keeps_the_bytes(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    hang = Hang(100_000)
    server.answers = [hang]
    came = asyncio.Event()
    # Each reading of this clock is a second later, so that every chunk is reported.
    client._manager.clock = Clock(now=itertools.count().__next__)

    def progress(received: int, total: int | None) -> None:
        if received == 100_000:
            came.set()

    task = asyncio.create_task(client.archives.download(f"{server.url}/a/clip.mp4", tmp_path, progress=progress))
    async with asyncio.timeout(5):
        await came.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await hang.closed.wait()
    assert left(tmp_path) == ["clip.mp4.part", "clip.mp4.part.json"]
    assert (tmp_path / "clip.mp4.part").read_bytes() == CONTENT[:100_000]
    assert open_files(tmp_path) == set()
    assert client._manager.pool.file_permits.free == client._manager.pool.max_streams


async def test_cancelled_download_waits_for_the_write_before_closing_the_file(
    client: VideoClient, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, proceed = threading.Event(), threading.Event()
    write = DownloadTarget.write

    def slow(self: DownloadTarget, data: bytes) -> None:
        begun.set()
        assert proceed.wait(5)
        write(self, data)

    monkeypatch.setattr(DownloadTarget, "write", slow)
    server.answers = [ranged()]
    task = asyncio.create_task(client.archives.download(f"{server.url}/a/clip.mp4", tmp_path))
    assert await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert open_files(tmp_path)
    proceed.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    kept = (tmp_path / "clip.mp4.part").read_bytes()
    assert kept
    assert kept == CONTENT[: len(kept)]
    assert open_files(tmp_path) == set()


async def test_timeout_error_reports_the_bytes_kept(client: VideoClient, server: FileServer, tmp_path: Path) -> None:
    server.answers = [Hang(100_000)]
    with pytest.raises(
        CallTimeout, match=r"did not arrive within 0\.2 s \(timeout\)\. 100,000 bytes kept; the same call resumes\."
    ):
        await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path, timeout=0.2)
    server.answers = [ranged()]
    path = await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.seen[-1].headers["range"] == "bytes=100000-"


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), True])
async def test_invalid_timeout_is_rejected(
    client: VideoClient, server: FileServer, tmp_path: Path, timeout: float
) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path, timeout=timeout)


async def test_full_disk_raises_and_leaves_no_final_file(
    client: VideoClient, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write: Callable[..., int] = os.pwrite

    def pwrite(file: int, data: bytes, offset: int) -> int:
        if offset >= 300_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[: 300_000 - offset], offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    server.answers = [ranged()]
    with pytest.raises(DownloadFailed, match="No space left on device") as caught:
        await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path)
    assert (caught.value.reason, caught.value.received) == ("disk", 300_000)
    assert left(tmp_path) == ["clip.mp4.part", "clip.mp4.part.json"]
    assert len(server.seen) == 1
    monkeypatch.undo()
    path = await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.seen[-1].headers["range"] == "bytes=300000-"


async def test_missing_directory_raises(client: VideoClient, server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="No such file or directory") as caught:
        await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path / "none" / "clip.mp4")
    assert caught.value.reason == "disk"
    assert server.seen == []


async def test_progress_is_reported_at_the_start_periodically_and_at_the_end(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    reports: list[tuple[int, int | None]] = []
    server.answers = [ranged(cut=100_000), ranged()]
    await client.archives.download(
        f"{server.url}/a/clip.mp4", tmp_path, progress=lambda received, total: reports.append((received, total))
    )
    assert reports[0] == (0, len(CONTENT))
    assert (100_000, len(CONTENT)) in reports
    assert reports[-1] == (len(CONTENT), len(CONTENT))
    assert len(reports) < 20


async def test_progress_callback_error_propagates_and_leaves_nothing_open(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    def progress(received: int, total: int | None) -> None:
        raise KeyError("mine")

    server.answers = [ranged()]
    with pytest.raises(KeyError, match="mine"):
        await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path, progress=progress)
    assert open_files(tmp_path) == set()
    assert client._manager.pool.file_permits.free == client._manager.pool.max_streams


async def test_write_buffer_does_not_grow_with_the_file_size(
    client: VideoClient, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    write = DownloadTarget.write

    def watched(self: DownloadTarget, data: bytes) -> None:
        sizes.append(len(data))
        write(self, data)

    monkeypatch.setattr(DownloadTarget, "write", watched)
    server.answers = [plain(200, CONTENT * 20)]
    path = await client.archives.download(f"{server.url}/a/clip.mp4", tmp_path)
    assert path.stat().st_size == len(CONTENT) * 20
    assert max(sizes) < 2 * 1024 * 1024
    assert min(sizes[:-1]) >= 256 * 1024
