"""An interrupted download resumes where it stopped, and never joins two versions of a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.downloads.conftest import CONTENT, FileServer, Respond, left, plain, ranged, unframed
from videoapi import RetryPolicy
from videoapi.client import VideoClient
from videoapi.errors import DownloadFailed, ServerFault

OTHER = CONTENT[::-1]
HALF = len(CONTENT) // 2


async def fetch(client: VideoClient, server: FileServer, folder: Path, **options: object) -> bytes:
    path = await client.archives.download(f"{server.url}/a/clip.mp4?sig=canary-query", folder, **options)  # type: ignore[arg-type]
    assert path == folder / "clip.mp4"
    return path.read_bytes()


async def interrupt(client: VideoClient, server: FileServer, folder: Path, answer: Respond) -> None:
    """Leave half of the file on disk, as a failed call does."""
    server.answers = [answer]
    with pytest.raises(DownloadFailed) as caught:
        await fetch(client.with_options(retry=RetryPolicy(attempts=1)), server, folder)
    assert caught.value.reason == "incomplete"
    assert caught.value.received == (folder / "clip.mp4.part").stat().st_size == HALF
    assert caught.value.retryable
    server.seen.clear()


async def test_complete_file_gets_its_final_name(client: VideoClient, server: FileServer, tmp_path: Path) -> None:
    server.answers = [ranged()]
    assert await fetch(client, server, tmp_path) == CONTENT
    assert left(tmp_path) == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").stat().st_mode & 0o777 == 0o600
    assert server.seen[0].path == "/a/clip.mp4?sig=canary-query"
    assert "range" not in server.seen[0].headers
    assert server.seen[0].headers["accept-encoding"] == "identity"


async def test_cut_connection_is_resumed_within_the_call(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    server.answers = [ranged(cut=HALF), ranged(cut=100_000), ranged(cut=70_001), ranged()]
    assert await fetch(client, server, tmp_path) == CONTENT
    assert [seen.headers.get("range") for seen in server.seen] == [
        None,
        f"bytes={HALF}-",
        f"bytes={HALF + 100_000}-",
        f"bytes={HALF + 170_001}-",
    ]
    assert {seen.headers.get("if-range") for seen in server.seen[1:]} == {'"v1"'}


async def test_next_call_resumes_from_the_bytes_kept(client: VideoClient, server: FileServer, tmp_path: Path) -> None:
    await interrupt(client, server, tmp_path, ranged(cut=HALF))
    assert left(tmp_path) == ["clip.mp4.part", "clip.mp4.part.json"]
    server.answers = [ranged()]
    assert await fetch(client, server, tmp_path) == CONTENT
    assert server.seen[0].headers["range"] == f"bytes={HALF}-"
    assert server.seen[0].headers["if-range"] == '"v1"'
    assert left(tmp_path) == ["clip.mp4"]


async def test_part_state_is_private_and_contains_no_secret(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    await interrupt(client, server, tmp_path, ranged(cut=HALF))
    state = tmp_path / "clip.mp4.part.json"
    assert "canary" not in state.read_text()
    assert json.loads(state.read_text())["total"] == len(CONTENT)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in left(tmp_path)] == [0o600, 0o600]


async def test_changed_file_is_downloaded_from_the_start(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    await interrupt(client, server, tmp_path, ranged(cut=HALF))
    server.answers = [ranged(OTHER, '"v2"')]
    assert await fetch(client, server, tmp_path) == OTHER
    assert len(server.seen) == 1


def part(content: bytes, first: int, last: int, total: object, **headers: object) -> Respond:
    named = {"ETag": '"v1"', "Content_Range": f"bytes {first}-{last}/{total}", **headers}
    return plain(206, content[first : last + 1], **{name: value for name, value in named.items() if value})


END = len(CONTENT) - 1
UNFIT = {
    "another tag": part(OTHER, HALF, END, len(CONTENT), ETag='"v2"'),
    "no tag": part(OTHER, HALF, END, len(CONTENT), ETag=None),
    "a weak tag": part(OTHER, HALF, END, len(CONTENT), ETag='W/"v1"'),
    "another start": part(OTHER, HALF - 1, END, len(CONTENT)),
    "an overlap": part(OTHER, 0, END, len(CONTENT)),
    "another length": part(OTHER, HALF, END, len(CONTENT) + 1),
    "an unknown length": part(OTHER, HALF, END, "*"),
    "no Content-Range": part(OTHER, HALF, END, len(CONTENT), Content_Range=None),
    "an end before the start": part(OTHER, HALF, HALF - 1, len(CONTENT)),
    "an end beyond the file": part(OTHER, HALF, END + 1, len(CONTENT)),
    "two lengths of the part": plain(206, OTHER[:7], ETag='"v1"', Content_Range=f"bytes {HALF}-{END}/{len(CONTENT)}"),
    "several ranges": part(OTHER, HALF, END, len(CONTENT), Content_Type="multipart/byteranges; boundary=x"),
    "416": plain(416, Content_Range=f"bytes */{HALF}"),
}


@pytest.mark.parametrize("answer", UNFIT.values(), ids=UNFIT.keys())
async def test_range_that_does_not_match_restarts_the_download(
    client: VideoClient, server: FileServer, tmp_path: Path, answer: Respond
) -> None:
    await interrupt(client, server, tmp_path, ranged(cut=HALF))
    server.answers = [answer, ranged()]
    assert await fetch(client, server, tmp_path) == CONTENT
    assert [seen.headers.get("range") for seen in server.seen] == [f"bytes={HALF}-", None]


async def test_download_restarts_when_the_server_ignores_range(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    await interrupt(client, server, tmp_path, ranged(cut=HALF))
    server.answers = [plain(200, CONTENT, ETag='"v1"', Accept_Ranges="none")]
    assert await fetch(client, server, tmp_path) == CONTENT


async def test_range_may_be_shorter_than_requested(client: VideoClient, server: FileServer, tmp_path: Path) -> None:
    await interrupt(client, server, tmp_path, ranged(cut=HALF))
    server.answers = [part(CONTENT, HALF, HALF + 49_999, len(CONTENT)), ranged()]
    assert await fetch(client, server, tmp_path) == CONTENT
    assert server.seen[1].headers["range"] == f"bytes={HALF + 50_000}-"


async def test_last_modified_is_used_without_an_entity_tag(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    date = "Wed, 21 Oct 2026 07:28:00 GMT"
    await interrupt(client, server, tmp_path, ranged(etag=None, cut=HALF, Last_Modified=date))
    server.answers = [ranged(etag=None, Last_Modified=date)]
    assert await fetch(client, server, tmp_path) == CONTENT
    assert server.seen[0].headers["if-range"] == date


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
async def test_download_restarts_without_a_strong_validator(
    client: VideoClient, server: FileServer, tmp_path: Path, etag: str | None
) -> None:
    await interrupt(client, server, tmp_path, ranged(etag=etag, cut=HALF))
    server.answers = [ranged(etag=etag, cut=HALF), ranged(etag=etag)]
    assert await fetch(client, server, tmp_path) == CONTENT
    assert [seen.headers.get("range") for seen in server.seen] == [None, None]


async def test_part_of_another_url_is_not_resumed(client: VideoClient, server: FileServer, tmp_path: Path) -> None:
    await interrupt(client, server, tmp_path, ranged(cut=HALF))
    server.answers = [ranged(OTHER)]
    path = await client.archives.download(f"{server.url}/b/clip.mp4", tmp_path)
    assert path.read_bytes() == OTHER
    assert "range" not in server.seen[0].headers


@pytest.mark.parametrize("state", [b"", b"{", b"[]", b'{"etag": 1}', b"\xff", b'{"total":-1}', b"[" * 4000])
async def test_download_restarts_when_the_part_state_is_corrupt(
    client: VideoClient, server: FileServer, tmp_path: Path, state: bytes
) -> None:
    await interrupt(client, server, tmp_path, ranged(cut=HALF))
    (tmp_path / "clip.mp4.part.json").write_bytes(state)
    server.answers = [ranged()]
    assert await fetch(client, server, tmp_path) == CONTENT
    assert "range" not in server.seen[0].headers


async def test_part_longer_than_the_file_is_discarded(client: VideoClient, server: FileServer, tmp_path: Path) -> None:
    await interrupt(client, server, tmp_path, ranged(cut=HALF))
    (tmp_path / "clip.mp4.part").write_bytes(CONTENT * 2)
    server.answers = [ranged()]
    assert await fetch(client, server, tmp_path) == CONTENT


async def test_download_fails_after_three_attempts_without_progress(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    server.answers = [ranged(cut=HALF), ranged(cut=0)]
    with pytest.raises(DownloadFailed) as caught:
        await fetch(client, server, tmp_path)
    assert len(server.seen) == caught.value.attempts == 3
    assert caught.value.received == HALF


async def test_changing_versions_do_not_reset_the_attempt_count(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    server.answers = [ranged(CONTENT, f'"{n}"', cut=HALF) for n in range(20)]
    with pytest.raises(DownloadFailed):
        await fetch(client, server, tmp_path)
    assert len(server.seen) == 3


async def test_file_that_changes_with_every_response_fails(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    unfit = part(OTHER, HALF, END, len(CONTENT), ETag='"v2"')
    await interrupt(client, server, tmp_path, ranged(cut=HALF))
    server.answers = [unfit, ranged(cut=HALF), unfit]
    with pytest.raises(DownloadFailed, match="changes while it is read") as caught:
        await fetch(client, server, tmp_path)
    assert caught.value.reason == "changed"


async def test_response_without_length_or_chunks_is_rejected(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    server.answers = [unframed(CONTENT)]
    with pytest.raises(DownloadFailed, match="does not say where the file ends") as caught:
        await fetch(client, server, tmp_path)
    assert caught.value.reason == "incomplete"
    assert left(tmp_path) == []
    assert len(server.seen) == 1


async def test_more_bytes_than_announced_fail_the_download(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    await interrupt(client, server, tmp_path, ranged(cut=HALF))
    body = CONTENT[HALF:] + b"more"
    chunked = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    server.answers = [
        plain(
            206,
            chunked,
            ETag='"v1"',
            Content_Range=f"bytes {HALF}-{END}/{len(CONTENT)}",
            **{"Transfer-Encoding": "chunked"},
        )
    ]
    with pytest.raises(DownloadFailed, match="more came than was announced"):
        await fetch(client, server, tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize("whole", [True, False])
async def test_chunked_file_is_complete_only_with_its_last_chunk(
    client: VideoClient, server: FileServer, tmp_path: Path, whole: bool
) -> None:
    body = f"{len(CONTENT):x}\r\n".encode() + CONTENT + b"\r\n" + (b"0\r\n\r\n" if whole else b"")

    answer = plain(200, body, **{"Transfer-Encoding": "chunked", "Connection": "close"})

    async def respond(seen: object, writer: object) -> None:
        await answer(seen, writer)  # type: ignore[arg-type]
        writer.close()  # type: ignore[attr-defined]

    server.answers = [respond]
    if whole:
        assert await fetch(client, server, tmp_path) == CONTENT
    else:
        with pytest.raises(DownloadFailed):
            await fetch(client, server, tmp_path)
        assert not (tmp_path / "clip.mp4").exists()


async def test_empty_file_is_downloaded(client: VideoClient, server: FileServer, tmp_path: Path) -> None:
    server.answers = [ranged(b"")]
    assert await fetch(client, server, tmp_path) == b""


async def test_busy_server_is_retried_before_the_download_fails(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    server.answers = [plain(503), plain(429, Retry_After=1), ranged()]
    assert await fetch(client, server, tmp_path) == CONTENT
    server.answers = [plain(408)] * 5 + [ranged()]
    assert await fetch(client, server, tmp_path, overwrite=True) == CONTENT
    server.seen.clear()
    server.answers = [plain(503)]
    with pytest.raises(ServerFault) as caught:
        await fetch(client, server, tmp_path, overwrite=True)
    assert (caught.value.status, caught.value.attempts, len(server.seen)) == (503, 3, 3)
    assert left(tmp_path) == ["clip.mp4"]
