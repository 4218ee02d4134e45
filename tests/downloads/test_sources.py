"""Where downloads may come from, and which hosts receive credentials."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import pickle
import socket
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from tests.downloads.conftest import (
    APP_KEY,
    CONTENT,
    PASSWORD,
    FileServer,
    Respond,
    left,
    plain,
    ranged,
    redirect,
    unframed,
)
from videoapi.client import VideoClient
from videoapi.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    DownloadFailed,
    NotFound,
    PermissionDenied,
    ProtocolError,
    RateLimited,
    RequestRejected,
    VideoAPIError,
)
from videoapi.models.archives import ArchiveFile
from videoapi.transport.files import open_file

Open = Callable[[], Awaitable[FileServer]]
Connect = Callable[..., VideoClient]
BASIC = "Basic " + base64.b64encode(f"rec-user:{PASSWORD}".encode()).decode()


async def download(client: VideoClient, url: str, folder: Path) -> Path:
    return await client.archives.download(ArchiveFile(kind="transcoded", url=url, archive_id="5f"), folder)


async def test_recording_credentials_are_sent_at_once_and_the_app_key_never(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    server.answers = [ranged()]
    await download(client, f"{server.url}/a/clip.mp4", tmp_path)
    assert [seen.headers.get("authorization") for seen in server.seen] == [BASIC]
    assert APP_KEY not in str(server.seen)


async def test_no_credentials_are_sent_without_recording_auth(
    connect: Connect, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIDEOAPI_RECORDING_USER", raising=False)
    server.answers = [plain(403, b"Forbidden")]
    with pytest.raises(PermissionDenied, match=r"give recording_auth=\(user, password\)"):
        await download(connect(recording_auth=None), f"{server.url}/a/clip.mp4", tmp_path)
    assert "authorization" not in server.seen[0].headers
    assert len(server.seen) == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationFailed), (403, PermissionDenied)])
async def test_wrong_recording_credentials_are_reported_without_a_retry(
    client: VideoClient, server: FileServer, tmp_path: Path, status: int, kind: type[VideoAPIError]
) -> None:
    server.answers = [plain(status)]
    with pytest.raises(kind, match="Check recording_auth=") as caught:
        await download(client, f"{server.url}/a/clip.mp4", tmp_path)
    assert caught.value.status == status
    assert not caught.value.retryable
    assert len(server.seen) == 1


async def test_bytes_are_kept_when_credentials_are_refused_midway(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    server.answers = [ranged(cut=100_000), plain(403)]
    with pytest.raises(PermissionDenied):
        await download(client, f"{server.url}/a/clip.mp4", tmp_path)
    assert len(server.seen) == 2
    assert (tmp_path / "clip.mp4.part").read_bytes() == CONTENT[:100_000]


def signed(server: FileServer, sign: str) -> ArchiveFile:
    return ArchiveFile(kind="transcoded", url=f"{server.url}/a/clip.mp4?{sign}", archive_id="5f", conf_num="c1")


def archive(*urls: str) -> Respond:
    body = {"result": "0", "archive": [{"_id": "5f", "conf_num": "c1", "transcoded": [{"url": url} for url in urls]}]}
    return plain(200, json.dumps(body).encode(), Content_Type="application/json")


async def test_signed_url_that_expires_midway_is_refreshed_once_and_resumed(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    now = archive(f"{server.url}/a/other.mp4?new", signed(server, "new").url)
    server.answers = [ranged(cut=100_000), plain(403), now, ranged()]
    path = await client.archives.download(signed(server, "old"), tmp_path)
    assert path.read_bytes() == CONTENT
    assert [seen.path for seen in server.seen] == [
        "/a/clip.mp4?old",
        "/a/clip.mp4?old",
        "/video/v2/archive/conf/c1",
        "/a/clip.mp4?new",
    ]
    assert server.seen[3].headers["range"] == "bytes=100000-"
    server.seen.clear()
    server.answers = [plain(403), now, plain(403)]
    with pytest.raises(PermissionDenied):
        await client.archives.download(signed(server, "old"), tmp_path, overwrite=True)
    assert len(server.seen) == 3


async def test_another_file_at_the_same_path_is_not_taken_for_a_new_url(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    now = archive(signed(server, "id=1").url, signed(server, "id=2").url)
    server.answers = [plain(404), now, ranged()]
    with pytest.raises(NotFound):
        await client.archives.download(signed(server, "id=1"), tmp_path)
    assert len(server.seen) == 2


@pytest.mark.parametrize("listed", [True, False])
async def test_refusal_is_final_when_the_archive_has_no_other_url(
    client: VideoClient, server: FileServer, tmp_path: Path, listed: bool
) -> None:
    server.answers = [plain(404), archive(signed(server, "old").url) if listed else plain(400, b"{}")]
    with pytest.raises(NotFound, match="72 hours"):
        await client.archives.download(signed(server, "old"), tmp_path)
    assert len(server.seen) == 2


@pytest.mark.parametrize("status", [404, 410])
async def test_not_found_error_states_how_long_files_are_kept(
    client: VideoClient, server: FileServer, tmp_path: Path, status: int
) -> None:
    server.answers = [plain(status)]
    with pytest.raises(NotFound, match="72 hours") as caught:
        await download(client, f"{server.url}/a/clip.mp4", tmp_path)
    assert (caught.value.status, caught.value.group) == (status, 400)
    assert len(server.seen) == 1


async def test_login_page_is_not_saved_as_the_file(client: VideoClient, server: FileServer, tmp_path: Path) -> None:
    server.answers = [redirect("/login.html"), plain(200, b"<html>", Content_Type="Text/HTML; charset=utf-8")]
    with pytest.raises(DownloadFailed, match="likely a login") as caught:
        await download(client, f"{server.url}/a/clip.mp4", tmp_path)
    assert caught.value.reason == "credentials"
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (plain(200, b'{"result":1}', Content_Type="application/json"), DownloadFailed),
        (plain(200, b"\x1f\x8b", Content_Encoding="gzip"), DownloadFailed),
        (plain(206, b"abc", Content_Range="bytes 0-2/9"), DownloadFailed),
        (plain(416), DownloadFailed),
        (plain(418), DownloadFailed),
        (plain(204), DownloadFailed),
        (plain(302), ProtocolError),
        (plain(304), ProtocolError),
        (plain(429, Retry_After=999), RateLimited),
    ],
)
async def test_response_that_is_not_the_file_is_rejected_without_a_retry(
    client: VideoClient, server: FileServer, tmp_path: Path, answer: Respond, kind: type[VideoAPIError]
) -> None:
    server.answers = [answer]
    with pytest.raises(kind) as caught:
        await download(client, f"{server.url}/a/clip.mp4", tmp_path)
    assert caught.value.attempts == len(server.seen) == 1
    assert not isinstance(caught.value, RequestRejected)
    assert left(tmp_path) == []


async def test_unlisted_host_receives_no_connection(client: VideoClient, open_server: Open, tmp_path: Path) -> None:
    foreign = await open_server()
    for url in (f"{foreign.url}/x", f"http://localhost:{foreign.port}/x", f"http://0x7f.1:{foreign.port}/x"):
        with pytest.raises(DownloadFailed, match="recording_hosts=") as caught:
            await download(client, url, tmp_path)
        assert caught.value.reason == "host"
        with pytest.raises(DownloadFailed):
            await client.archives.download(url, f"{tmp_path}/made/")
    assert foreign.seen == []
    assert left(tmp_path) == []


async def test_redirect_within_the_origin_keeps_the_credentials(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    server.answers = [redirect("../b/real%2Fname.mp4?sig=1#top"), ranged()]
    path = await download(client, f"{server.url}/a/clip.mp4", tmp_path)
    assert path.read_bytes() == CONTENT
    assert [seen.path for seen in server.seen] == ["/a/clip.mp4", "/b/real%2Fname.mp4?sig=1"]
    assert [seen.headers.get("authorization") for seen in server.seen] == [BASIC, BASIC]


async def test_redirect_to_another_allowed_host_drops_the_credentials_for_good(
    connect: Connect, server: FileServer, open_server: Open, tmp_path: Path
) -> None:
    other = await open_server()
    server.answers = [redirect(f"{other.url}/b", 307), ranged()]
    other.answers = [redirect("/same"), redirect(f"{server.url}/c.mp4", 308)]
    client = connect(recording_hosts=[f"127.0.0.1:{other.port}"])
    path = await download(client, f"{server.url}/a/clip.mp4", tmp_path)
    assert path.read_bytes() == CONTENT
    assert [seen.headers.get("authorization") for seen in server.seen] == [BASIC, None]
    assert [seen.headers.get("authorization") for seen in other.seen] == [None, None]


async def test_refusal_after_a_cross_origin_redirect_explains_the_cause(
    connect: Connect, server: FileServer, open_server: Open, tmp_path: Path
) -> None:
    other = await open_server()
    server.answers = [redirect(f"{other.url}/b")]
    other.answers = [plain(401)]
    with pytest.raises(AuthenticationFailed, match="led to another host"):
        await download(connect(recording_hosts=["127.0.0.1"]), f"{server.url}/a/clip.mp4", tmp_path)


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest",
        "http://[::1]:{port}/x",
        "http://0x7f.1:{port}/x",
        "http://localhost.:{port}/x",
        "//localhost:{port}/x",
        "http://user:canary@127.0.0.1:{own}/x",
        "file:///etc/passwd",
        "http://[",
    ],
)
async def test_redirect_to_a_forbidden_url_is_not_followed(
    client: VideoClient, server: FileServer, open_server: Open, tmp_path: Path, location: str
) -> None:
    foreign = await open_server()
    server.answers = [redirect(location.format(port=foreign.port, own=server.port))]
    with pytest.raises(DownloadFailed) as caught:
        await download(client, f"{server.url}/a/clip.mp4", tmp_path)
    assert caught.value.reason == "host"
    assert foreign.seen == []
    assert len(server.seen) == 1


async def test_sixth_redirect_is_not_followed(client: VideoClient, server: FileServer, tmp_path: Path) -> None:
    server.answers = [redirect(f"/{hop}") for hop in range(5)] + [ranged()]
    await download(client, f"{server.url}/a/clip.mp4", tmp_path)
    server.seen.clear()
    server.answers = [redirect("/again")]
    with pytest.raises(ProtocolError, match="more than 5 redirects"):
        await download(client, f"{server.url}/a/other.mp4", tmp_path)
    assert len(server.seen) == 6
    assert client._manager.pool.file_permits.free == client._manager.pool.max_streams


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The addresses of host names; each lookup takes the next one, and the last one repeats."""
    table: dict[str, list[str]] = {}

    def getaddrinfo(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        addresses = table[host]
        address = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        at = (address, port, 0, 0) if family is socket.AF_INET6 else (address, port)
        return [(family, socket.SOCK_STREAM, 6, "", at)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return table


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "100.64.0.1"])
async def test_host_below_a_suffix_must_resolve_to_a_public_address(
    connect: Connect, names: dict[str, list[str]], tmp_path: Path, address: str
) -> None:
    names["rebound.files.example"] = [address]
    client = connect(recording_hosts=[".files.example"])
    with pytest.raises(DownloadFailed, match="no public address") as caught:
        await download(client, "https://rebound.files.example/a/clip.mp4", tmp_path)
    assert caught.value.reason == "host"
    assert caught.value.attempts == 1


async def test_named_host_may_have_any_address(
    connect: Connect, server: FileServer, names: dict[str, list[str]], tmp_path: Path
) -> None:
    names["rebound.files.example"] = ["127.0.0.1"]
    server.answers = [ranged()]
    client = connect(recording_hosts=["rebound.files.example", ".files.example"], allow_http=True)
    path = await download(client, f"http://rebound.files.example:{server.port}/a/clip.mp4", tmp_path)
    assert path.read_bytes() == CONTENT


async def test_connection_to_a_named_host_is_not_reused_for_a_suffix(
    connect: Connect, server: FileServer, names: dict[str, list[str]], tmp_path: Path
) -> None:
    names["rebound.files.example"] = ["127.0.0.1"]
    server.answers = [ranged()]
    named = connect(recording_hosts=["rebound.files.example"], allow_http=True)
    url = f"http://rebound.files.example:{server.port}/a/clip.mp4"
    await download(named, url, tmp_path)
    # Bypass the policy, which would reject the port.
    source = named.archives._downloader._source
    with pytest.raises(DownloadFailed, match="no public address"):
        await open_file(source.pool, source.timer, URL(url), {}, credentials=None, public_only=True)
    assert len(server.seen) == 1


async def test_unresolvable_host_raises_connection_failed(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def getaddrinfo(*args: Any, **options: Any) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(ConnectionFailed, match=r"files\.example:443: Name or service not known") as caught:
        await download(connect(recording_hosts=["files.example"]), "https://files.example/a.mp4", tmp_path)
    assert caught.value.attempts == 3


async def test_no_failure_reveals_a_secret(
    connect: Connect, server: FileServer, open_server: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    foreign = await open_server()
    client = connect()
    garbage = plain(200, b"\x00", Content_Length="canary-length")
    secret = f"{server.url}/a/clip.mp4?sig=canary-query"
    scripts: list[tuple[str, Respond]] = [
        (secret, plain(403)),
        (secret, plain(404)),
        (secret, plain(500)),
        (secret, plain(418)),
        (secret, redirect(f"{foreign.url}/?sig=canary-query")),
        (secret, redirect("http://canary-query:canary@[")),
        (secret, ranged(cut=1000)),
        (secret, unframed(b"x")),
        (secret, plain(200, b"<html>", Content_Type="text/html")),
        (secret, garbage),
        (f"{foreign.url}/x?sig=canary-query", plain(200)),
        ("https://canary-query:canary@h/x?sig=canary-query", plain(200)),
        ("nonsense canary-query", plain(200)),
    ]
    texts: list[str] = []
    for url, answer in scripts:
        server.answers = [answer]
        with pytest.raises(VideoAPIError) as caught:
            await download(client, url, tmp_path)
        error = caught.value
        trace = traceback.TracebackException.from_exception(error, capture_locals=False)
        texts += [str(error), repr(error), repr(vars(error)), repr(pickle.dumps(error)), *trace.format()]
        cause = error.__context__
        assert cause is None or isinstance(cause, VideoAPIError | ValueError), cause
    texts += [record.getMessage() for record in caplog.records]
    texts += [(tmp_path / name).read_bytes().decode("latin-1") for name in left(tmp_path)]
    everything = "\n".join(texts)
    for secret_text in ("canary-query", PASSWORD, APP_KEY, BASIC.removeprefix("Basic ")):
        assert secret_text not in everything, secret_text


async def test_download_gets_a_permit_while_archive_streams_are_open(
    client: VideoClient, server: FileServer, tmp_path: Path
) -> None:
    server.answers = [ranged()]
    manager = client._manager
    manager.pool.api()
    for _ in range(manager.pool.max_streams):
        await manager.pool.stream_permits.acquire()
    async with asyncio.timeout(5):
        await download(client, f"{server.url}/a/clip.mp4", tmp_path)
    assert manager.pool.file_permits.free == manager.pool.max_streams
