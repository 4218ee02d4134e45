"""A download yields the complete file or none; partial data is kept and resumed."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import hashlib
import os
import random
import resource
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.clients import APP_ID, APP_KEY, EAGER, ONCE, Skipped, client_for
from support.server import Link, Script, Seen, Server, serve

from videoapi import (
    AuthenticationFailed,
    ConnectionFailed,
    DownloadFailed,
    NotFound,
    PermissionDenied,
    ProtocolError,
    VideoAPIError,
    VideoClient,
)
from videoapi.downloads import host_policy
from videoapi.sandbox import Sandbox
from videoapi.transport import resolver
from videoapi.transport.resolver import is_public

CONTENT = random.Random(7).randbytes(300_000)
OTHER = random.Random(8).randbytes(300_000)
RECORDING = ("rec-user", "canary-recording-password")
SECRETS = (APP_ID, APP_KEY, base64.b64encode(f"{APP_ID}:{APP_KEY}".encode()).decode())


def headers_of(status: int, **fields: object) -> bytes:
    """Return response headers; underscores in names become dashes."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode("latin-1")


def complete(content: bytes = CONTENT, etag: str = '"v1"', **fields: object) -> bytes:
    return headers_of(200, Content_Length=len(content), ETag=etag, **fields) + content


def rest(seen: Seen, content: bytes = CONTENT, etag: str = '"v1"') -> bytes:
    """Respond like a correct server: with the requested rest if the version still matches, else with the file."""
    if seen.headers.get("if-range") != etag or "range" not in seen.headers:
        return complete(content, etag)
    start = int(seen.headers["range"].removeprefix("bytes=").rstrip("-"))
    return (
        headers_of(
            206,
            Content_Length=len(content) - start,
            Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}",
            ETag=etag,
        )
        + content[start:]
    )


CUT = complete()[:150_000]
Answer = bytes | None


def files(*answers: Answer) -> Script:
    """Send these responses in turn, repeating the last; None responds correctly, bytes also end the connection."""

    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            data = answers[min(len(link.server.requests), len(answers)) - 1]
            link.send(rest(seen) if data is None else data)
            await link.drain()
            if data is not None:
                link.close()
                return

    return script


@contextlib.asynccontextmanager
async def serving(*answers: Answer, **options: Any) -> AsyncIterator[tuple[Server, VideoClient, str]]:
    async with serve(files(*answers)) as server:
        async with client_for(server.base_url, **{"recording_auth": RECORDING, **options}) as client:
            yield server, client, f"{server.origin}/a/clip.mp4"


def names_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def same(path: Path, content: bytes = CONTENT) -> bool:
    return hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(content).digest()


# F78: the disk


@contextlib.contextmanager
def full_disk(way: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder that holds at most about 100 KiB."""
    if way == "tmpfs":
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a tmpfs cannot be mounted here (needs root)")
        try:
            yield folder
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    elif way == "rlimit":
        folder.mkdir()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (102_400, hard))
        try:
            yield folder
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    else:
        folder.mkdir()
        write = os.pwrite

        def pwrite(file: int, data: Any, offset: int) -> int:
            with open("/dev/full", "wb", buffering=0) as full:
                return write(file, data[: 102_400 - offset], offset) if offset < 102_400 else full.write(data)

        monkeypatch.setattr(os, "pwrite", pwrite)
        yield folder
        monkeypatch.undo()


@pytest.mark.parametrize("way", ["tmpfs", "rlimit", "dev-full"])
async def test_f78_disk_is_full(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F78 | disk full at byte n | an error that says so, data kept in `.part`, no final file; one request | three ways

    A tmpfs, `RLIMIT_FSIZE`, `/dev/full`.
    """
    async with serving(None) as (server, client, url):
        with full_disk(way, tmp_path / "disk", monkeypatch) as disk:
            with pytest.raises(DownloadFailed) as failed:
                await client.archives.download(url, disk)
            assert failed.value.reason == "disk"
            assert os.strerror(errno.EFBIG if way == "rlimit" else errno.ENOSPC) in str(failed.value)
            assert 0 < failed.value.received < len(CONTENT)
            assert "clip.mp4" not in names_in(disk)
            assert (disk / "clip.mp4.part").stat().st_size == failed.value.received
            assert len(server.requests) == 1
            kept = tmp_path / "larger"
            shutil.copytree(disk, kept)
        # With more space, the download resumes.
        path = await client.archives.download(url, kept)
        assert same(path)
        assert server.requests[-1].headers["range"] == f"bytes={failed.value.received}-"
        assert names_in(kept) == ["clip.mp4"]


# F79, F80: resuming


async def test_f79_cut_and_resumed_within_the_call(tmp_path: Path) -> None:
    """F79 | cut at n, `Range` with `If-Range` | 206 with the right `Content-Range`; byte-identical | hash"""
    async with serving(CUT, None) as (server, client, url):
        path = await client.archives.download(url, tmp_path)
        first, second = server.requests
    assert same(path)
    assert names_in(tmp_path) == ["clip.mp4"]
    assert "range" not in first.headers
    assert second.headers["if-range"] == '"v1"'
    assert int(second.headers["range"].removeprefix("bytes=").rstrip("-")) > 0


async def test_f79_cut_and_resumed_by_another_client(tmp_path: Path) -> None:
    """F79 | cut at n, resumed by a later call of another client | byte-identical | hash"""
    async with serve(files(CUT, None)) as server:
        url = f"{server.origin}/a/clip.mp4"
        async with client_for(server.base_url, retry=ONCE) as client:
            with pytest.raises(DownloadFailed) as failed:
                await client.archives.download(url, tmp_path)
        assert failed.value.retryable
        assert failed.value.received == (tmp_path / "clip.mp4.part").stat().st_size
        async with client_for(server.base_url) as client:
            assert same(await client.archives.download(url, tmp_path))
        assert server.requests[-1].headers["range"] == f"bytes={failed.value.received}-"


async def test_f79_cut_at_any_place(tmp_path: Path) -> None:
    """F79 | cut repeatedly, at any place | byte-identical as long as each attempt makes progress | raw server"""

    async def script(link: Link) -> None:
        seen = await link.request()
        data = rest(seen)
        link.send(data[: 300 + random.Random(len(link.server.requests)).randrange(20_000, 40_000)])
        await link.drain()
        link.close()

    async with serve(script) as server, client_for(server.base_url) as client:
        assert same(await client.archives.download(f"{server.origin}/a/clip.mp4", tmp_path))
        assert len(server.requests) > 7


def part(start: int, content: bytes = CONTENT, **fields: object) -> bytes:
    given = {
        "Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}",
        "Content_Length": len(content) - start,
        "ETag": '"v1"',
        **fields,
    }
    return headers_of(206, **{name: value for name, value in given.items() if value is not None}) + content[start:]


KEPT = 100_000
NOT_THE_REST: dict[str, Answer] = {
    "range-ignored": complete(),
    "416": headers_of(416, Content_Range=f"bytes */{len(CONTENT)}", Content_Length=0),
    "wrong-start": part(KEPT + 1),
    "overlapping": part(KEPT - 1),
    "no-content-range": part(KEPT, Content_Range=None),
    "garbage-content-range": part(KEPT, Content_Range="bytes nonsense"),
    "unknown-total": part(KEPT, Content_Range=f"bytes {KEPT}-{len(CONTENT) - 1}/*"),
    "another-total": part(KEPT, Content_Range=f"bytes {KEPT}-{len(CONTENT) - 1}/999999"),
    "another-length": part(KEPT, Content_Length=len(CONTENT) - KEPT - 1),
    "etag-changed": part(KEPT, OTHER, ETag='"v2"'),
    "etag-gone": part(KEPT, ETag=None),
    "etag-weak": part(KEPT, ETag='W/"v1"'),
    "multipart": part(KEPT, Content_Type="multipart/byteranges; boundary=x"),
    "accept-ranges-none": complete(Accept_Ranges="none"),
    "another-version": complete(OTHER, '"v2"'),
}


@pytest.mark.parametrize("answered", NOT_THE_REST.values(), ids=NOT_THE_REST)
async def test_f80_response_does_not_continue_the_part_file(answered: bytes, tmp_path: Path) -> None:
    """F80 | Range ignored, 416, wrong `Content-Range`, ETag changed, multipart | restarted at 0, never joined | hash"""
    cut = complete()[: complete().index(CONTENT[:20]) + KEPT]
    async with serving(cut, retry=ONCE) as (server, client, url):
        with pytest.raises(DownloadFailed):
            await client.archives.download(url, tmp_path)
        port = server.port
    assert (tmp_path / "clip.mp4.part").stat().st_size == KEPT
    async with serve(files(answered, None), port=port) as server, client_for(server.base_url) as client:
        path = await client.archives.download(url, tmp_path)
        assert server.requests[0].headers["range"] == f"bytes={KEPT}-"
    assert same(path) or same(path, OTHER)
    assert names_in(tmp_path) == ["clip.mp4"]


async def test_f80_file_changes_with_every_response(tmp_path: Path) -> None:
    """F80 | ETag changes on every request | `DownloadFailed`; versions are never joined | raw server"""

    async def script(link: Link) -> None:
        await link.request()
        number = len(link.server.requests)
        link.send(complete(CONTENT if number % 2 else OTHER, f'"v{number}"')[:100_000])
        await link.drain()
        link.close()

    async with serve(script) as server, client_for(server.base_url) as client, asyncio.timeout(5):
        with pytest.raises(DownloadFailed):
            await client.archives.download(f"{server.origin}/a/clip.mp4", tmp_path)
    assert "clip.mp4" not in names_in(tmp_path)
    kept = (tmp_path / "clip.mp4.part").read_bytes()
    assert CONTENT.startswith(kept) or OTHER.startswith(kept)


# F81: lengths

WRONG_LENGTHS: dict[str, tuple[bytes, str]] = {
    "less": (complete()[:-1000], "incomplete"),
    "more": (headers_of(200, Content_Length=len(CONTENT) - 5, ETag='"v1"') + CONTENT, "incomplete"),
    "none": (headers_of(200, Connection="close") + CONTENT, "incomplete"),
    "not-a-number": (headers_of(200, Content_Length="many") + CONTENT, "incomplete"),
    "unsolicited-part": (part(0), "incomplete"),
    "compressed": (complete(Content_Encoding="gzip"), "refused"),
    "cut-chunks": (headers_of(200, Transfer_Encoding="chunked") + b"ff\r\n" + CONTENT[:255] + b"\r\n", "incomplete"),
}


@pytest.mark.parametrize(("answered", "reason"), WRONG_LENGTHS.values(), ids=WRONG_LENGTHS)
async def test_f81_wrong_or_missing_length(answered: bytes, reason: str, tmp_path: Path) -> None:
    """F81 | more or fewer bytes than announced; no length | error, no final file; surplus dropped | raw server"""
    async with serving(answered, retry=ONCE) as (_, client, url):
        try:
            await client.archives.download(url, tmp_path)
        except DownloadFailed as failed:
            outcome = failed.reason
        except ProtocolError:
            # aiohttp's parser rejected it as invalid HTTP.
            outcome = reason
        except VideoAPIError as error:
            outcome = repr(error)
        else:
            outcome = "complete"
    # If the length is too short, HTTP sees a complete file, and the surplus is not part of it.
    assert outcome == reason or (outcome == "complete" and same(tmp_path / "clip.mp4", CONTENT[:-5]))
    assert outcome == "complete" or "clip.mp4" not in names_in(tmp_path)


# F82: credentials, expiry


@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationFailed), (403, PermissionDenied)])
async def test_f82_credentials_rejected_at_the_start(status: int, kind: type[VideoAPIError], tmp_path: Path) -> None:
    """F82 | 401, 403 at the start | error about recording credentials; one request, never APP_KEY | raw server"""
    refusal = headers_of(status, Content_Length=0)
    for options in ({}, {"recording_auth": None}):
        async with serving(refusal, **options) as (server, client, url):
            with pytest.raises(kind, match="recording") as failed:
                await client.archives.download(url, tmp_path)
            assert len(server.requests) == 1
            assert not failed.value.retryable
            assert all(secret not in repr(server.requests) for secret in SECRETS)
    assert names_in(tmp_path) == []


async def test_f82_credentials_rejected_halfway(tmp_path: Path) -> None:
    """F82 | 403 halfway | an error, no retry storm; received data is kept and resumed later | raw server"""
    async with serving(CUT, headers_of(403, Content_Length=0), None) as (server, client, url):
        with pytest.raises(PermissionDenied):
            await client.archives.download(url, tmp_path)
        assert len(server.requests) == 2
        assert names_in(tmp_path) == ["clip.mp4.part", "clip.mp4.part.json"]
        assert same(await client.archives.download(url, tmp_path))


@pytest.mark.parametrize("status", [404, 410])
async def test_f82_file_is_gone(status: int, tmp_path: Path) -> None:
    """F82 | 404, 410 after 72 hours | `NotFound` that says how long files are kept; one request | raw server"""
    async with serving(headers_of(status, Content_Length=0)) as (server, client, url):
        with pytest.raises(NotFound, match="72 hours"):
            await client.archives.download(url, tmp_path)
        assert len(server.requests) == 1


async def test_f82_signed_url_expires_halfway(tmp_path: Path) -> None:
    """F82 | pre-signed URL expires halfway | the archive is read once for a new URL; resumed | raw server"""
    signatures = iter(["old", "new"])

    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            if "/archive/" in seen.target:
                url = f"{link.server.origin}/a/clip.mp4?sig=canary-{next(signatures)}"
                entry = {"archive_id": "a1", "room_id": "r1", "conf_num": "c1", "recording": [{"url": url}]}
                link.answer(200, {"result": "0", "archive": [entry]})
                continue
            if "old" not in seen.target:
                link.send(rest(seen))
            elif "range" in seen.headers:
                link.send(headers_of(403, Content_Length=0))
            else:
                link.send(CUT)
                await link.drain()
                link.close()
                return

    async with serve(script) as server, client_for(server.base_url) as client:
        (archive,) = await client.archives.by_conference("c1").to_list()
        path = await client.archives.download(archive.files[0], tmp_path)
        assert same(path)
        assert sum("/archive/" in seen.target for seen in server.requests) == 2
        assert server.requests[-1].headers["range"].startswith("bytes=")
    assert "canary" not in path.name


async def test_f82_busy_server_with_retry_after(tmp_path: Path) -> None:
    """F82 | 503 with Retry-After | waits as requested, three attempts, then the error | simulated clock"""
    skipped = Skipped()
    busy = headers_of(503, Content_Length=0, Retry_After=7)
    async with skipped.manager() as manager:
        async with serving(busy, session=manager) as (server, client, url):
            with pytest.raises(VideoAPIError) as failed:
                await client.archives.download(url, tmp_path)
            assert len(server.requests) == failed.value.attempts == 3
    assert all(7 <= wait <= 8 for wait in skipped.waits)


# F83: not the file

PAGES: dict[str, bytes] = {
    "login": complete(b"<html><form>Log in</form></html>", Content_Type="text/html; charset=utf-8"),
    "xhtml": complete(b"<html/>", Content_Type="application/xhtml+xml"),
    "json": complete(b'{"result":40001}', Content_Type="application/json"),
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
async def test_f83_page_instead_of_the_file(page: bytes, tmp_path: Path) -> None:
    """F83 | 200 with a login page or JSON instead of media | rejected at once, nothing written | raw server"""
    async with serving(page) as (server, client, url):
        with pytest.raises(DownloadFailed) as failed:
            await client.archives.download(url, tmp_path)
        assert failed.value.reason in ("credentials", "refused")
        assert len(server.requests) == 1
    assert names_in(tmp_path) == []


# F84: names

HOSTILE = [
    "..%2F..%2Fetc%2Fpasswd",
    "..%5C..%5Cx.mp4",
    "%2e%2e",
    "%2Fetc%2Fpasswd",
    "CON.mp4",
    "a%00b.mp4",
    "%E2%80%AEgpj.exe",
    "-rf",
    ".bashrc",
    "x" * 400 + ".mp4",
    "clip%0d%0a.mp4",
    "clip.mp4.part",
]


@pytest.mark.parametrize("name", HOSTILE)
async def test_f84_hostile_file_name(name: str, tmp_path: Path) -> None:
    """F84 | a hostile file name, in the URL and in a header | stays in its directory, sanitized | raw server"""
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    disposition = f"attachment; filename=\"{name}\"; filename*=UTF-8''..%2F{name}"
    async with serving(complete(Content_Disposition=disposition)) as (server, client, _):
        path = await client.archives.download(f"{server.origin}/a/{name}", folder)
    assert path.parent == folder
    assert path.resolve().parent == folder.resolve()
    assert same(path)
    assert names_in(folder) == [path.name]
    assert names_in(tmp_path / "in") == ["here"]
    assert not path.name.startswith((".", "-"))
    assert path.name.isprintable()
    assert len(path.name.encode()) <= 205
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("what", ["final", "part", "note"])
async def test_f84_symlink_in_the_target(what: str, tmp_path: Path) -> None:
    """F84 | a symlink in place of the file, its `.part` or `.part.json` | nothing is written through it | raw server"""
    folder, victim = tmp_path / "in", tmp_path / "victim"
    folder.mkdir()
    victim.write_text("precious")
    name = {"final": "clip.mp4", "part": "clip.mp4.part", "note": "clip.mp4.part.json"}[what]
    (folder / name).symlink_to(victim)
    async with serving(None) as (_, client, url):
        with contextlib.suppress(DownloadFailed):
            await client.archives.download(url, folder, overwrite=True)
    assert victim.read_text() == "precious"


async def test_f84_existing_file(tmp_path: Path) -> None:
    """F84 | an existing file | an error before any request; replaced with `overwrite=True` | raw server"""
    (tmp_path / "clip.mp4").write_text("precious")
    async with serving(None) as (server, client, url):
        with pytest.raises(DownloadFailed, match="overwrite=True") as failed:
            await client.archives.download(url, tmp_path)
        assert failed.value.reason == "exists"
        assert server.requests == []
        assert (tmp_path / "clip.mp4").read_text() == "precious"
        assert same(await client.archives.download(url, tmp_path, overwrite=True))


async def test_f84_concurrent_downloads_to_one_name(tmp_path: Path) -> None:
    """F84 | concurrent downloads to one name | one complete file; the others fail, `busy` or `exists` | raw server"""
    async with serving(None) as (_, client, url):
        ends = await asyncio.gather(
            *(client.archives.download(url, tmp_path) for _ in range(4)), return_exceptions=True
        )
    assert sum(isinstance(end, Path) for end in ends) == 1
    assert {end.reason for end in ends if isinstance(end, DownloadFailed)} <= {"busy", "exists"}
    assert same(tmp_path / "clip.mp4")
    assert names_in(tmp_path) == ["clip.mp4"]


# F85: addresses

FORMS = [
    "http://127.0.0.1:{port}/x.mp4",
    "http://169.254.169.254/latest/meta-data",
    "http://[::1]:{port}/x.mp4",
    "http://[::ffff:127.0.0.1]:{port}/x.mp4",
    "http://0x7f.1:{port}/x.mp4",
    "http://2130706433:{port}/x.mp4",
    "http://0177.0.0.1:{port}/x.mp4",
    "http://127.1:{port}/x.mp4",
    "http://0:{port}/x.mp4",
    "http://localhost:{port}/x.mp4",
    "http://localhost.:{port}/x.mp4",
    "http://LOCALHOST:{port}/x.mp4",
    "http://user:pass@127.0.0.1:{port}/x.mp4",
    "http://127.0.0.1:{own}@127.0.0.1:{port}/x.mp4",
    "//127.0.0.1:{port}/x.mp4",
    "https://files.example.com:{port}/x.mp4",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/x.mp4",
    "gopher://127.0.0.1:{port}/x",
    "http://127.0.0.1\\@files.example.com/x",
    "http://１２７.0.0.1:{port}/x.mp4",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("by", ["address", "redirect"])
async def test_f85_internal_addresses(form: str, by: str, tmp_path: Path) -> None:
    """F85 | an internal address in any spelling, in the URL or a redirect | rejected; no connection | raw server"""
    async with serve(files(None)) as internal:
        target = form.format(port=internal.port, own=internal.port)
        moved = headers_of(302, Location=target.encode().decode("latin-1"), Content_Length=0)
        async with serving(moved) as (_, client, url):
            with pytest.raises((DownloadFailed, ProtocolError)) as failed:
                await client.archives.download(target if by == "address" else url, tmp_path)
        assert internal.accepted == 0
        assert "pass@" not in str(failed.value)
    if isinstance(failed.value, DownloadFailed):
        assert failed.value.reason == "host"
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "224.0.0.1",
    ],
)
async def test_f85_allowed_suffix_resolves_to_an_internal_address(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F85 | a host under an allowed suffix that resolves to an internal address | rejected on connect | resolver"""
    resolve_to(monkeypatch, address)
    async with serving(None, recording_hosts=[".files.example"]) as (server, client, _):
        with pytest.raises(DownloadFailed, match="no public address") as failed:
            await client.archives.download("https://a.files.example/x.mp4", tmp_path)
        assert failed.value.attempts == 1
        assert server.accepted == 0


async def test_f85_dns_rebinding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F85 | a name that resolves to a public address, then to loopback | rejected on connect | resolver

    127.0.0.2, which has no listener, counts as public here. The last client shows that only the resolver's check
    protects the server.
    """
    resolved = resolve_to(monkeypatch, "127.0.0.2", "127.0.0.1")
    monkeypatch.setattr(resolver, "is_public", lambda address: address == "127.0.0.2" or is_public(address))
    async with serve(files(None)) as server:
        monkeypatch.setitem(host_policy._PORTS, "http", server.port)
        url = f"http://a.files.example:{server.port}/x.mp4"
        options = {"recording_hosts": [".files.example"], "allow_http": True, "retry": ONCE}
        for expected in (ConnectionFailed, DownloadFailed):
            async with client_for(server.base_url, **options) as client:
                with pytest.raises(expected):
                    await client.archives.download(url, tmp_path)
        assert server.accepted == 0
        assert len(resolved) == 2
        monkeypatch.setattr(resolver, "is_public", lambda address: True)
        async with client_for(server.base_url, **options) as client:
            assert same(await client.archives.download(url, tmp_path))


async def test_f85_allowed_internal_hosts_are_fetched(tmp_path: Path) -> None:
    """F85 | the base URL's origin; an address listed in `recording_hosts=` | fetched, even if internal | raw server"""
    async with serve(files(None)) as internal, serving(None) as (server, client, url):
        assert same(await client.archives.download(url, tmp_path / "a.mp4"))
        async with client_for(server.base_url, recording_hosts=[f"127.0.0.1:{internal.port}"]) as named:
            assert same(await named.archives.download(f"{internal.origin}/x.mp4", tmp_path / "b.mp4"))
        with pytest.raises(DownloadFailed, match="recording_hosts="):
            await client.archives.download(f"{internal.origin}/x.mp4", tmp_path / "c.mp4")


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Resolve every name to these addresses in turn, repeating the last; return the list of resolved names."""
    resolved: list[str] = []

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[Any]:
        address = addresses[min(len(resolved), len(addresses) - 1)]
        resolved.append(host)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port, 0, 0) if ":" in address else (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return resolved


async def test_f82_f79_against_the_sandbox(tmp_path: Path) -> None:
    """F79 | an archive's file, cut twice | the same bytes as without cuts | sandbox
    F82 | wrong recording credentials, expired files | `PermissionDenied`; `NotFound` | sandbox
    """
    async with Sandbox(seed=5, file_size=400_001) as sandbox:
        project = (sandbox.app_id, sandbox.app_key, sandbox.base_url)
        async with VideoClient(*project, recording_auth=sandbox.recording_auth, retry=EAGER) as client:
            made = await client.rooms.create(name="Talk", settings={"auto_recording": True})
            (archive,) = await client.archives.by_conference(sandbox.conference(made.room_id)).to_list()
            file = archive.files[0]
            straight = await client.archives.download(file, tmp_path / "straight.mkv")
            sandbox.fault("files.get", "cut", times=2, at=0.4)
            assert (await client.archives.download(file, tmp_path / "cut.mkv")).read_bytes() == straight.read_bytes()
            async with VideoClient(*project, recording_auth=RECORDING) as wrong:
                with pytest.raises((PermissionDenied, AuthenticationFailed)):
                    await wrong.archives.download(file, tmp_path / "wrong.mkv")
            sandbox.switches.file_hours = 0
            with pytest.raises(NotFound):
                await client.archives.download(file, tmp_path / "late.mkv")
    assert names_in(tmp_path) == ["cut.mkv", "straight.mkv"]
