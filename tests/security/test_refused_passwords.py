"""No frame of an error about a refused setting holds a password, and no attribute the password of a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import io
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.server import ROOM_ID, Link, serve
from yarl import URL

from videoapi import (
    ArchiveFile,
    ConfigurationError,
    Credentials,
    RedisGate,
    RedisLeases,
    RetryPolicy,
    SessionManager,
    ValidationError,
    VideoAPIError,
    VideoClient,
    blocking,
)
from videoapi.cli.client_options import ClientOptions, read_key
from videoapi.cli.profiles import Profile, ProfileFile
from videoapi.cli.sign_in import LoginOptions, ask
from videoapi.config import Secret
from videoapi.dask import create_rooms_on_dask
from videoapi.sandbox import Sandbox
from videoapi.taskiq import rooms_broker
from videoapi.webhooks import Webhooks

PASSWORD = "canary-password-0123456789"
PROXY = f"http://ann:{PASSWORD}@proxy.example:3128"
INVALID = f"http://ann:{PASSWORD}@"


def shown(value: object) -> str:
    text = str(getattr(value, "__dict__", ""))
    # That of attrs needs all fields.
    with contextlib.suppress(AttributeError):
        text += repr(value)
    return text


def leaks_of(error: BaseException | None) -> set[str]:
    """Return the variables with the password, in all frames but those of this file."""
    found: set[str] = set()
    while error is not None:
        assert PASSWORD not in f"{error!r} {vars(error)}"
        for frame, _ in traceback.walk_tb(error.__traceback__):
            for name, value in frame.f_locals.items():
                if frame.f_code.co_filename != __file__ and PASSWORD in shown(value):
                    found.add(f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}:{name}")
        error = error.__cause__ or error.__context__
    return found


# An object of a wrong type holds the secret, too.
ENCODED: Any = PASSWORD.encode()
REDIS = f"redis://:{PASSWORD}@127.0.0.1:1"
BAD_REDIS = f"redis://:{PASSWORD}@127.0.0.1:99999"
LOGINS: list[Any] = [
    ("user", PASSWORD, "more"),
    ("us:er", PASSWORD),
    ("user", f"{PASSWORD}\n"),
    ("user", ENCODED),
    ("", PASSWORD),
    (PASSWORD,),
    {"user": PASSWORD},
    PASSWORD,
]
WRONG_HEADERS: list[Any] = [
    {"Authorization": f"Basic {PASSWORD}"},
    {"X-Api-Key": PASSWORD, "Host": "api.example"},
    {"X-Api-Key": f"{PASSWORD}\n"},
    {"X-Api-Key": ENCODED},
    [("X-Api-Key", PASSWORD)],
]
WRONG_SETTINGS: list[dict[str, Any]] = [
    {"rate": "nonsense"},
    {"timeout": -1},
    {"ca_file": "missing.pem"},
    {"middleware": 5},
    {"session": 5},
    {"base_url": "nonsense"},
]
SECRET_SETTINGS: list[dict[str, Any]] = [
    {"app_key": PASSWORD},
    {"credentials": ("id", PASSWORD)},
    {"proxy": PROXY},
    {"recording_auth": ("user", PASSWORD)},
    {"base_url": f"https://ann:{PASSWORD}@api.example"},
    {"headers": {"X-Api-Key": PASSWORD}},
]
REFUSED: list[Callable[[], object]] = [
    *(partial(VideoClient, "id", "key", recording_auth=login) for login in LOGINS),
    *(partial(blocking.VideoClient, "id", "key", recording_auth=login) for login in LOGINS),
    *(partial(Webhooks, login) for login in LOGINS),
    *(partial(Sandbox, webhook_url="http://127.0.0.1:1/", webhook_auth=login) for login in LOGINS if "" not in login),
    *(partial(VideoClient, "id", "key", headers=headers) for headers in WRONG_HEADERS),
    *(partial(blocking.VideoClient, "id", "key", headers=headers) for headers in WRONG_HEADERS),
    *(partial(VideoClient, "id", "key", headers={"X-Api-Key": PASSWORD}, **wrong) for wrong in WRONG_SETTINGS),
    *(partial(blocking.VideoClient, **secret, session=SessionManager()) for secret in SECRET_SETTINGS),
    lambda: blocking.VideoClient("id", PASSWORD, session=SessionManager()),  # type: ignore[arg-type]
    lambda: Sandbox(webhook_url=f"http://ann:{PASSWORD}@127.0.0.1:1/"),
    lambda: VideoClient("i:d", "key", recording_auth=("user", PASSWORD)),
    lambda: VideoClient("id", "key", "ftp://nonsense", recording_auth=("user", PASSWORD)),
    lambda: Credentials("i:d", PASSWORD),
    lambda: Credentials("", PASSWORD),
    lambda: Credentials("id", f"{PASSWORD}\n"),
    lambda: Credentials("id", ENCODED),
    lambda: VideoClient("i:d", PASSWORD),
    lambda: VideoClient("id", ENCODED),
    lambda: VideoClient(app_key=PASSWORD),
    lambda: VideoClient(credentials=("id", PASSWORD)),  # type: ignore[arg-type]
    lambda: VideoClient("id", credentials=("id", PASSWORD)),  # type: ignore[arg-type]
    lambda: VideoClient("id", "key", f"https://ann:{PASSWORD}@api.example"),
    lambda: VideoClient("id", "key", f"https://ann:{PASSWORD}@api.example:99999"),
    lambda: VideoClient("id", "key", f"https://api.example/?key={PASSWORD}"),
    lambda: VideoClient("id", "key", proxy=PROXY.encode()),  # type: ignore[arg-type]
    lambda: SessionManager(proxy=URL(PROXY)),  # type: ignore[arg-type]
    lambda: blocking.VideoClient("i:d", PASSWORD),
    lambda: blocking.VideoClient("id", PASSWORD, listeners=5),  # type: ignore[arg-type]
    lambda: blocking.VideoClient(credentials=("id", PASSWORD)),  # type: ignore[arg-type]
    lambda: Webhooks(("user", PASSWORD), tries=0),
    lambda: RedisGate(BAD_REDIS, processes=1),
    lambda: RedisGate(REDIS.encode(), processes=1),  # type: ignore[arg-type]
    lambda: RedisGate(REDIS, processes=0),
    lambda: RedisLeases(BAD_REDIS, "job"),
    lambda: RedisLeases(REDIS, "job", ttl=-1),
    lambda: RedisLeases(REDIS, ""),
    lambda: blocking.RedisLeases(BAD_REDIS, "job"),
    lambda: rooms_broker(BAD_REDIS),
    lambda: rooms_broker(REDIS, redelivery=-1),
    lambda: asyncio.run(create_rooms_on_dask(VideoClient("id", "key"), None, [], redis=REDIS, lease_ttl=-1)),
    lambda: asyncio.run(create_rooms_on_dask(VideoClient("id", "key"), None, [], redis=BAD_REDIS)),
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
    with pytest.raises((ConfigurationError, ValidationError, ValueError)) as refused:
        make()
    assert leaks_of(refused.value) == set()


@pytest.mark.parametrize("wrong", [{"host": "0.0.0.0"}, {"strict": "nonsense"}, {"rate_limit": "nonsense"}])
def test_frames_of_a_refused_sandbox_have_its_secrets_only_as_its_attributes(wrong: dict[str, Any]) -> None:
    for secrets in ({"app_key": PASSWORD}, {"recording_password": PASSWORD}):
        with pytest.raises(ValueError, match=r".") as refused:
            Sandbox(**secrets, **wrong)
        assert leaks_of(refused.value) <= {"server.py:__init__:self"}


PROFILE = f'[profiles.default]\napp_key = "{PASSWORD}"\n'


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (PROFILE, "other"),
        (PROFILE + "mistake\n", None),
        (f'{PROFILE}secret = "word"\n', None),
        (f"{PROFILE}recording_user = 7\n", None),
        (f'top = "level"\n{PROFILE}', None),
        (f"profiles = ['{PASSWORD}']\n", None),
    ],
)
def test_frames_of_a_refused_profile_have_no_key(text: str, name: str | None, tmp_path: Path) -> None:
    file = ProfileFile(tmp_path / "config.toml")
    file.path.write_text(text)
    file.path.chmod(0o600)
    new = Profile("default", {"app_key": PASSWORD})
    for use in (lambda: file.read(name), lambda: file.write(new, replace=False)):
        with pytest.raises(ConfigurationError) as refused:
            use()
        assert leaks_of(refused.value) == set()


def test_frames_of_a_refused_key_file_have_no_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(PASSWORD)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="Other users can read") as refused:
        read_key(path)
    assert leaks_of(refused.value) == set()


@pytest.mark.parametrize("wrong", [{"app_id": "i:d"}, {"base_url": "nonsense"}])
def test_frames_of_a_refused_sign_in_have_no_key(
    wrong: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD))
    given: dict[str, Any] = {"app_id": "id", "base_url": None, "ca_file": None, "proxy": None, "profile": None, **wrong}
    with pytest.raises(SystemExit) as refused:
        ask(LoginOptions(**given, key_stdin=True, no_check=True, overwrite=True))
    assert leaks_of(refused.value) == set()


def test_frames_of_refused_variables_have_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOAPI_PROXY", INVALID)
    for make in (lambda: VideoClient("id", "key"), SessionManager, lambda: ClientOptions().client()):
        with pytest.raises(ConfigurationError) as refused:
            make()
        assert leaks_of(refused.value) == set()


@pytest.mark.parametrize("headers", [{"X-Api-Key": PASSWORD}, *WRONG_HEADERS])
async def test_frames_of_a_failed_request_have_none_of_its_headers(headers: Any) -> None:
    def fail(url: str) -> None:
        with blocking.VideoClient("id", "key", url, retry=RetryPolicy(attempts=1)) as client:
            client.request("GET", "/own", headers=headers, operation="read")

    async with VideoClient("id", "key", "http://127.0.0.1:9/v1", retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(VideoAPIError) as failed:
            await client.request("GET", "/own", headers=headers, operation="read")
    assert leaks_of(failed.value) == set()
    with pytest.raises(VideoAPIError) as failed:
        await asyncio.to_thread(fail, client.base_url)
    assert leaks_of(failed.value) == set()


@pytest.mark.parametrize(
    "wrong",
    [{"path": "../x"}, {"params": 3}, {"json": object()}, {"operation": "erase"}, {"unknown": 1}],
    ids=lambda wrong: next(iter(wrong)),
)
async def test_frames_of_a_refused_request_have_none_of_its_headers(wrong: dict[str, Any]) -> None:
    given = {"path": "/own", "operation": "read", "headers": {"X-Api-Key": PASSWORD}, **wrong}
    async with VideoClient("id", "key") as client:
        with pytest.raises((VideoAPIError, TypeError)) as refused:
            await client.request("GET", **given)
    assert leaks_of(refused.value) == set()

    def ask() -> None:
        with blocking.VideoClient("id", "key") as blocked:
            blocked.request("GET", **given)

    with pytest.raises((VideoAPIError, TypeError)) as refused:
        await asyncio.to_thread(ask)
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
