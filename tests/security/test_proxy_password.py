"""The password of a proxy is in no attribute, and in no frame of an error: error reporters store both."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from support.server import ROOM_ID, Link, serve

from videoapi import ArchiveFile, ConfigurationError, RetryPolicy, SessionManager, VideoAPIError, VideoClient
from videoapi.cli.client_options import ClientOptions
from videoapi.config import Secret

PASSWORD = "canary-password-0123456789"
PROXY = f"http://ann:{PASSWORD}@proxy.example:3128"
INVALID = f"http://ann:{PASSWORD}@"


def leaks_of(error: BaseException | None) -> set[str]:
    """Return the variables with the password, in all frames but those of this file."""
    found: set[str] = set()
    while error is not None:
        assert PASSWORD not in f"{error!r} {vars(error)}"
        for frame, _ in traceback.walk_tb(error.__traceback__):
            for name, value in frame.f_locals.items():
                if frame.f_code.co_filename != __file__ and PASSWORD in f"{value!r} {getattr(value, '__dict__', '')}":
                    found.add(f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}:{name}")
        error = error.__cause__ or error.__context__
    return found


REFUSED: list[Callable[[], object]] = [
    lambda: VideoClient("id", "key", proxy=INVALID),
    lambda: VideoClient("id", "key", proxy=PROXY, rate="nonsense"),
    lambda: VideoClient("id", "key", proxy=PROXY, session=SessionManager()),
    lambda: VideoClient(proxy=PROXY),
    lambda: SessionManager(proxy=INVALID),
    lambda: SessionManager(proxy=PROXY, keepalive=-1),
    lambda: SessionManager(proxy=PROXY, ca_file="missing.pem"),
]


@pytest.mark.parametrize("make", REFUSED)
def test_frames_of_refused_settings_have_no_password(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        make()
    assert leaks_of(refused.value) == set()


def test_frames_of_refused_variables_have_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOAPI_PROXY", INVALID)
    for make in (lambda: VideoClient("id", "key"), SessionManager, lambda: ClientOptions().client()):
        with pytest.raises(ConfigurationError) as refused:
            make()
        assert leaks_of(refused.value) == set()


@pytest.mark.parametrize("proxy", [PROXY, Secret(PROXY)])
async def test_attributes_have_no_password(proxy: str | Secret) -> None:
    async with VideoClient("id", "key", proxy=proxy) as client:
        for value in (client, client._manager, client._manager.pool):
            assert PASSWORD not in repr(vars(value))


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_frames_of_failed_requests_have_no_password(scheme: str, tmp_path: Path) -> None:
    async def refuse(link: Link) -> None:
        while True:
            await link.request()
            link.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    url = f"{scheme}://127.0.0.1:9"
    file = ArchiveFile(
        kind="recording", url=f"{url}/a.mp4", archive_id="a", room_id=ROOM_ID, conf_num="c", trans_date=None
    )
    errors: list[VideoAPIError] = []
    async with serve(refuse) as server:
        proxy = server.origin.replace("://", f"://ann:{PASSWORD}@")
        once = RetryPolicy(attempts=1)
        async with VideoClient(
            "id", "key", f"{url}/v1", proxy=proxy, retry=once, recording_auth=("user", "word")
        ) as client:
            calls = [
                lambda: client.rooms.get(ROOM_ID),
                lambda: client.rooms.list().to_list(),
                lambda: client.archives.download(file, tmp_path),
            ]
            # Without TLS, there is nothing to ask the proxy for.
            for call in [*calls, client.warm_up] if scheme == "https" else calls:
                with pytest.raises(VideoAPIError) as failed:
                    await call()
                errors.append(failed.value)
    assert set().union(*map(leaks_of, errors)) == set()


async def test_warm_up_says_that_a_proxy_variable_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, INVALID)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with VideoClient("id", "key", "http://127.0.0.1:9/v1", trust_env=True) as client:
        with pytest.raises(ConfigurationError, match="Invalid proxy") as refused:
            await client.warm_up()
    assert leaks_of(refused.value) == set()
