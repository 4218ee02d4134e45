"""Rows of the security checklist that no other test covers; each docstring names its row."""

from __future__ import annotations

import ast
import asyncio
import re
import ssl
import sys
import tomllib
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clients import APP_ID, APP_KEY, ONCE, client_for
from support.server import Link, answer, repeating, room, serve

import videoapi
from videoapi import (
    DownloadFailed,
    RoomSpec,
    SessionManager,
    ValidationError,
    VideoClient,
)
from videoapi.creation.journal import Journal
from videoapi.downloads.filenames import filename_from_url, safe_name
from videoapi.downloads.target import DownloadTarget
from videoapi.sandbox import Sandbox

SOURCES = sorted(Path(videoapi.__file__).parent.rglob("*.py"))
PROJECT = Path(__file__).parents[2] / "pyproject.toml"
FILE = b"media" * 100
USER_AGENT = f"videoapi/{videoapi.__version__} Python/{sys.version_info.major}.{sys.version_info.minor}"


def imported(path: Path) -> set[str]:
    """Return the names of all modules that a file imports, at any level."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def files(**headers: str) -> dict[str, str]:
    return {"Content-Type": "video/mp4", "ETag": '"v1"', **headers}


async def test_foreign_file_server_gets_no_client_headers(tmp_path: Path) -> None:
    """Credentials on the wire: a download from another host sends no APP_KEY, cookie or custom header."""
    async with serve(repeating(answer(200, FILE, files()))) as foreign:
        async with serve(repeating(answer(200, room(), {"Set-Cookie": "tenant=a; Path=/"}))) as server:
            host = f"127.0.0.1:{foreign.port}"
            async with client_for(server.base_url, recording_hosts=[host]) as client:
                await client.rooms.get("6571f3c2a1b2c3d4e5f60718")
                await client.archives.download(f"{foreign.origin}/a/clip.mp4", tmp_path)
        (seen,) = foreign.requests
    assert sorted(seen.headers) == ["accept", "accept-encoding", "host", "user-agent"]


async def test_aiohttp_sessions_hold_no_credentials() -> None:
    """Credentials on the wire: no aiohttp session holds any, so none can send them implicitly."""
    async with SessionManager() as manager:
        client = VideoClient(APP_ID, APP_KEY, "http://127.0.0.1:9/v2", session=manager)
        sessions = [manager.pool.api(), manager.pool.files(public_only=True), manager.pool.files(public_only=False)]
        for session in sessions:
            assert session.auth is None
            assert dict(session.headers) == {"User-Agent": USER_AGENT}
            assert not session.trust_env
        assert APP_KEY not in repr(client)


async def test_tls_contexts_verify_certificates_and_host_names() -> None:
    """TLS: at least 1.2, with host name checks and required certificates, with and without `ca_file=`."""
    import trustme
    from aiohttp.connector import _SSL_CONTEXT_VERIFIED

    with trustme.CA().cert_pem.tempfile() as ca_file:
        own = SessionManager(ca_file=ca_file).pool._tls
    for context in (own, _SSL_CONTEXT_VERIFIED):
        assert context is not None
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert context.check_hostname
        assert context.verify_mode is ssl.CERT_REQUIRED


async def test_cookies_of_a_file_server_are_not_sent_back(tmp_path: Path) -> None:
    """Cookies: those set by a file server are not sent back."""
    async with serve(repeating(answer(200, FILE, files(**{"Set-Cookie": "tenant=a; Path=/"})))) as server:
        async with client_for(server.base_url) as client:
            for name in ("a.mp4", "b.mp4"):
                await client.archives.download(f"{server.origin}/{name}", tmp_path)
        assert len(server.requests) == 2
        assert all("cookie" not in seen.headers for seen in server.requests)


ids = (
    st.text(max_size=12)
    | st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
    | st.text("./%?#\\@:\r\n\0a", max_size=8)
)


@settings(max_examples=60, deadline=None)
@given(room_id=ids)
def test_any_id_is_rejected_or_is_the_last_path_segment(room_id: str) -> None:
    """Path and header injection: any ID is either rejected or sent as exactly `/rooms/<quoted>`."""

    async def request_room() -> None:
        async with serve(repeating(answer(200, room(room_id)))) as server:
            async with client_for(server.base_url, retry=ONCE) as client:
                try:
                    await client.rooms.get(room_id)
                except ValidationError:
                    assert server.accepted == 0
                    return
            (seen,) = server.requests
            assert seen.target == f"/video/v2/rooms/{quote(room_id, safe='')}"
            assert sorted(seen.headers)[:2] == ["accept", "accept-encoding"]

    asyncio.run(request_room())


async def test_compressed_downloads_are_rejected(tmp_path: Path) -> None:
    """Decompression: files are requested uncompressed, and a compressed response is rejected."""
    answers = repeating(answer(200, FILE, files()), answer(200, FILE, files(**{"Content-Encoding": "gzip"})))

    async with serve(answers) as server, client_for(server.base_url, retry=ONCE) as client:
        await client.archives.download(f"{server.origin}/a.mp4", tmp_path)
        with pytest.raises(DownloadFailed, match="compressed"):
            await client.archives.download(f"{server.origin}/b.mp4", tmp_path)
        assert {seen.headers["accept-encoding"] for seen in server.requests} == {"identity"}


names = st.text() | st.text("/\\.%- \0:~\u202eCONé", max_size=12)


@settings(max_examples=150, deadline=None)
@given(path=names, kind=st.sampled_from(["recording", "chatdata"]), archive_id=names | st.none())
def test_any_file_name_stays_in_the_target_directory(
    tmp_path_factory: pytest.TempPathFactory, path: str, kind: str, archive_id: str | None
) -> None:
    """Archive file names: for any name from the server, the file is written to the target directory."""
    folder = tmp_path_factory.getbasetemp() / "target"
    folder.mkdir(exist_ok=True)
    target = DownloadTarget(folder, name=filename_from_url(path, kind, archive_id), source="s", overwrite=False)
    target.open()
    try:
        target.begin(target.version)
        target.write(b"x")
        saved = target.finish()
    finally:
        target.close()
    assert saved.parent == folder
    assert saved.resolve().parent == folder.resolve()
    assert [entry.name for entry in folder.iterdir()] == [saved.name]
    assert safe_name(saved.name) == saved.name
    saved.unlink()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_package_does_not_unpack_archives_or_unpickle(path: Path) -> None:
    """Zip archives, deserialization: no zip, tar, pickle, marshal, shelve or yaml; no `eval` or `exec`."""
    forbidden = {"zipfile", "tarfile", "pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml", "xml"}
    assert imported(path) & forbidden == set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec", "compile", "__import__"), node.lineno


async def test_journal_files_are_private_and_contain_no_secret(tmp_path: Path) -> None:
    """Temp and journal files: mode 0600, including those of SQLite; no APP_KEY, room name or room data."""
    canary = "CanaryOfARoom0123456789"
    async with Sandbox(seed=5, app_key=APP_KEY) as sandbox:
        async with VideoClient(sandbox.app_id, APP_KEY, sandbox.base_url, settle=0.1) as client:
            spec = RoomSpec(name=canary, data={"note": canary}, settings={"description": canary}, key="row-1")
            await client.rooms.create_many([spec], job_id="job", journal=tmp_path / "job.db")
    journal = Journal(tmp_path / "job.db", "job")
    await journal.open(sandbox.base_url.removesuffix("/video/v2"), sandbox.app_id)
    try:
        await journal.intend("vx" + "a" * 26, "identity", "hash")
        kept = inside(tmp_path)
        assert [path.name for path in kept] == ["job.db", "job.db-shm", "job.db-wal"]
        for path in kept:
            assert path.stat().st_mode & 0o777 == 0o600, path.name
            for secret in (canary, APP_KEY):
                assert secret.encode() not in path.read_bytes()
    finally:
        await journal.aclose()


async def test_sandbox_generates_credentials_and_ignores_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embedded sandbox: loopback only, with a random port and key, regardless of the environment."""
    monkeypatch.setenv("VIDEOAPI_APP_ID", APP_ID)
    monkeypatch.setenv("VIDEOAPI_APP_KEY", APP_KEY)
    async with Sandbox() as one, Sandbox() as two:
        assert one.app_key != two.app_key
        assert one.port != two.port
        for sandbox in (one, two):
            assert sandbox.app_key != APP_KEY
            assert sandbox.app_id != APP_ID
            assert "//127.0.0.1:" in sandbox.base_url
            assert sandbox.recording_auth[1] not in (sandbox.app_key, APP_KEY)
    with pytest.raises(ValueError, match="remote"):
        Sandbox(host="0.0.0.0")


def test_every_dependency_has_a_lower_bound() -> None:
    """Supply chain, decompression: every dependency has a lower bound; aiohttp's excludes known flaws."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    needed = [*project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        needed += extra
    for one in needed:
        assert ">=" in one, one
    (pin,) = (re.fullmatch(r"aiohttp>=(\d+)\.(\d+)\.(\d+).*", one) for one in needed if one.startswith("aiohttp>"))
    assert pin is not None
    assert tuple(map(int, pin.groups())) >= (3, 14, 5)
    # The rules of Bandit.
    assert "S" in project["tool"]["ruff"]["lint"]["select"]


async def test_bulk_run_stops_sending_after_the_account_is_rejected() -> None:
    """Denial by retries: after the account is rejected, a bulk run sends nothing beyond what is in flight."""

    async def script(link: Link) -> None:
        while True:
            await link.request()
            link.answer(401, {"result": 10000, "error": "[Reason] Application not found"})
            await link.drain()

    async with serve(script) as server, client_for(server.base_url) as client:
        specs = [RoomSpec(name="A") for _ in range(500)]
        report = await client.rooms.create_many(specs, concurrency=8, audit=False)
        assert report.stopped is not None
        assert len([seen for seen in server.requests if seen.method == "POST"]) <= 8
