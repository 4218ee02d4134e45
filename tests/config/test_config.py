"""Configuration is validated immediately, and no error message contains a secret."""

from __future__ import annotations

import copy
import functools
import math
import os
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from videoapi import Credentials, Outcome, Request, RetryPolicy, Secret, Send, SessionManager, VideoClient
from videoapi.config import BaseUrl, credentials_from, is_loopback, positive_seconds
from videoapi.errors import ConfigurationError
from videoapi.pipeline.clock import Clock

CANARY = "canary-7f3a"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("VIDEOAPI_")]:
        monkeypatch.delenv(name)


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(ConfigurationError) as refused:
        call()
    shown = "".join(traceback.format_exception(refused.value))
    assert CANARY not in shown
    assert CANARY not in repr(vars(refused.value))
    return str(refused.value)


# The base URL.


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("https://api.enablex.io/video/v2", "https://api.enablex.io/video/v2"),
        ("https://api.enablex.io/video/v2/", "https://api.enablex.io/video/v2"),
        ("https://api.enablex.io/v1", "https://api.enablex.io/v1"),
        ("https://api.enablex.io:443/v1//", "https://api.enablex.io/v1"),
        ("https://api-dev.vcloudx.com:5454/v1/", "https://api-dev.vcloudx.com:5454/v1"),
        ("HTTPS://API.enablex.io/v2", "https://api.enablex.io/v2"),
        ("https://api.enablex.io", "https://api.enablex.io"),
        ("https://api.enablex.io/", "https://api.enablex.io"),
        ("https://[::1]:8443/v1", "https://[::1]:8443/v1"),
        ("https://api.enablex.io/a b/ü", "https://api.enablex.io/a%20b/%C3%BC"),
        (" https://api.enablex.io/v2\n", "https://api.enablex.io/v2"),
    ],
)
def test_base_url_accepts_any_host_and_version_path(given: str, base: str) -> None:
    assert str(BaseUrl.parse(given, allow_http=False)) == base
    client = VideoClient("id", "key", given)
    assert client.base_url == base


LOOPBACK = ("127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST", "localhost.", "[::1]")
ELSEWHERE = ("sandbox", "10.0.0.7", "api.enablex.io", "localhost.example.com", "0.0.0.0", "127.0.0.1.example.com")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", [*LOOPBACK, *ELSEWHERE])
@pytest.mark.parametrize("allow_http", [False, True])
def test_plain_http_requires_loopback_or_allow_http(scheme: str, host: str, allow_http: bool) -> None:
    url = f"{scheme}://{host}:8080/v1"
    if scheme == "https" or host in LOOPBACK or allow_http:
        assert BaseUrl.parse(url, allow_http=allow_http).prefix == "/v1"
    else:
        message = refusal(lambda: BaseUrl.parse(url, allow_http=allow_http))
        assert "allow_http" in message
        assert "VIDEOAPI_ALLOW_HTTP" in message


@pytest.mark.parametrize(
    "url",
    [
        "",
        " \n",
        "https://api..example.com",
        "https://.example.com/v2",
        "https://api.example.com:70000/v2",
        "https://api.example.com:0/v2",
        "http://[::1]:0",
        "api.enablex.io/video/v2",
        "//api.enablex.io/v2",
        "/video/v2",
        "ftp://api.enablex.io",
        "file:///etc/passwd",
        "https://",
        "https:///v2",
        f"https://user:{CANARY}@api.enablex.io/v2",
        f"https://{CANARY}@api.enablex.io/v2",
        f"https://:{CANARY}@api.enablex.io/v2",
        f"https://api.enablex.io/v2?key={CANARY}",
        f"https://api.enablex.io/v2#{CANARY}",
        f"https://user:{CANARY}@api.enablex.io:99999/v2",
        f"https://[{CANARY}",
        f"http://user:{CANARY}@10.0.0.7/v2",
    ],
)
def test_invalid_base_url_is_rejected(url: str) -> None:
    assert "base_url" in refusal(lambda: BaseUrl.parse(url, allow_http=True))
    assert "base_url" in refusal(lambda: BaseUrl.parse(url, allow_http=False))


@pytest.mark.parametrize("url", ["127.0.0.1:8080/video/v2", "localhost:8080/video/v2", "api.enablex.io/video/v2"])
def test_base_url_without_a_scheme_is_told_which_one_is_for_this_machine(url: str) -> None:
    text = refusal(lambda: BaseUrl.parse(url, allow_http=False))
    assert (
        text
        == "Invalid base_url: it must begin with https:// (or http:// for a server on this machine) and name a host."
    )


@pytest.mark.parametrize("url", [None, 7, b"https://api.enablex.io"])
def test_base_url_that_is_not_a_string_is_rejected(url: Any) -> None:
    assert "base_url" in refusal(lambda: BaseUrl.parse(url, allow_http=False))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("::", False), ("", False), ("127.1", False)],
)
def test_is_loopback_recognizes_loopback_addresses_and_localhost(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


# The credentials.


def test_credentials_come_from_arguments_or_the_environment() -> None:
    environment = {"VIDEOAPI_APP_ID": "env-id", "VIDEOAPI_APP_KEY": "env-key"}
    assert credentials_from("id", "key", environment) == Credentials("id", "key")
    assert credentials_from(None, None, environment) == Credentials("env-id", "env-key")
    assert credentials_from("id", None, environment) == Credentials("id", "env-key")
    assert credentials_from(None, Secret("key"), environment).app_key.value == "key"


@pytest.mark.parametrize(
    ("environment", "named", "unnamed"),
    [
        ({}, ("app_id=", "VIDEOAPI_APP_ID", "app_key=", "VIDEOAPI_APP_KEY"), ()),
        ({"VIDEOAPI_APP_ID": "id"}, ("app_key=", "VIDEOAPI_APP_KEY"), ("APP_ID",)),
        ({"VIDEOAPI_APP_KEY": CANARY}, ("app_id=", "VIDEOAPI_APP_ID"), ("APP_KEY",)),
        ({"VIDEOAPI_APP_ID": "", "VIDEOAPI_APP_KEY": ""}, ("VIDEOAPI_APP_ID", "VIDEOAPI_APP_KEY"), ()),
    ],
)
def test_missing_credentials_are_named_with_their_variables(
    environment: dict[str, str], named: tuple[str, ...], unnamed: tuple[str, ...]
) -> None:
    message = refusal(lambda: credentials_from(None, None, environment))
    assert all(name in message for name in named)
    assert not any(name in message for name in unnamed)


@pytest.mark.parametrize(
    ("app_id", "app_key"),
    [
        ("", "key"),
        ("id", ""),
        ("id:x", CANARY),
        ("id\n", CANARY),
        ("id", f"{CANARY}\r\nX-Evil: 1"),
        ("id", f"{CANARY}\x00"),
        ("id", f"{CANARY}\x7f"),
        ("id", f"{CANARY}\ud800"),
        ("id\udcff", CANARY),
        (7, CANARY),
        ("id", 7),
    ],
)
def test_credentials_not_valid_in_a_header_are_rejected(app_id: Any, app_key: Any) -> None:
    assert "app_" in refusal(lambda: Credentials(app_id, app_key))


def test_authorization_header_uses_http_basic() -> None:
    assert Credentials("Aladdin", "open sesame").authorization == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert Credentials("test", "123£").authorization == "Basic dGVzdDoxMjPCow=="
    assert Credentials("id", "a:b").authorization == "Basic aWQ6YTpi"


def test_secret_is_visible_only_on_request() -> None:
    secret = Secret(CANARY)
    credentials = Credentials("id", secret)
    shown = f"{secret} {secret!r} {secret!s} {secret:>30} {[secret]} {credentials} {attrs.asdict(credentials)}"
    assert CANARY not in shown
    assert CANARY not in "%s %r" % (secret, secret)  # noqa: UP031 - old-style formatting must be safe as well
    assert "id" in repr(credentials)
    assert secret.value == CANARY
    assert secret == Secret(CANARY)
    assert secret != Secret("other")
    assert secret != CANARY
    assert hash(secret) == hash(Secret(CANARY))


def test_secret_cannot_be_pickled_or_deep_copied() -> None:
    for secret in (Secret(CANARY), Credentials("id", CANARY)):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="not pickled"):
                pickle.dumps(secret, protocol)
        with pytest.raises(TypeError, match="not pickled"):
            copy.deepcopy(secret)


# The options.


@pytest.mark.parametrize("value", [0, -1, math.inf, -math.inf, math.nan, True, "5", [5], b"5"])
def test_timeout_must_be_positive_and_finite(value: Any) -> None:
    assert "timeout" in refusal(lambda: positive_seconds("timeout", value))
    assert "timeout" in refusal(lambda: VideoClient("id", "key", timeout=value))
    assert "attempt_timeout" in refusal(lambda: VideoClient("id", "key", attempt_timeout=value))
    client = VideoClient("id", "key")
    assert "timeout" in refusal(lambda: client.with_options(timeout=value))


def test_positive_seconds_passes_none_through() -> None:
    assert positive_seconds("timeout", None) is None
    assert positive_seconds("timeout", 5) == 5.0


async def async_listener(event: object) -> None:
    """An invalid listener: it would never be awaited."""


class AsyncListener:
    async def __call__(self, event: object) -> None:
        """An invalid listener, too."""


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"retry": 3}, "retry"),
        ({"middleware": [None]}, "middleware"),
        ({"listeners": ["print"]}, "listeners"),
        ({"listeners": [async_listener]}, "plain functions"),
        ({"credentials": "id:key"}, "credentials"),
        ({"recording_auth": "user"}, "recording_auth"),
        ({"recording_auth": ("user", "")}, "recording_auth"),
        ({"session": object()}, "session must be a SessionManager, not object"),
        ({"recording_auth": ("user", CANARY, "x")}, "recording_auth"),
        ({"middleware": 5}, "middleware"),
        ({"listeners": 5}, "listeners"),
        ({"listeners": async_listener}, "plain functions"),
        ({"listeners": [AsyncListener()]}, "plain functions"),
        ({"listeners": functools.partial(async_listener)}, "plain functions"),
        ({"recording_hosts": "https://portal.enablex.io/"}, "recording_hosts"),
        ({"recording_hosts": 5}, "recording_hosts"),
        ({"recording_hosts": ["https://portal.enablex.io/"]}, "recording_hosts"),
        ({"recording_hosts": ["*.enablex.io"]}, "recording_hosts"),
        ({"base_url": "http://10.0.0.7/v1"}, "allow_http"),
        ({"base_url": "api.enablex.io"}, "base_url"),
    ],
)
def test_option_of_the_wrong_type_is_rejected_by_name(wrong: dict[str, Any], named: str) -> None:
    keys = () if "credentials" in wrong else ("id", CANARY)
    assert named in refusal(lambda: VideoClient(*keys, **wrong))


async def a_middleware(request: Request, send: Send) -> Outcome:
    return await send(request)


def test_bare_value_is_taken_as_the_only_one() -> None:
    client = VideoClient("id", "key", middleware=a_middleware, listeners=print, recording_hosts="Portal.enablex.io")
    assert client._pipeline.middleware == (a_middleware,)
    assert client._pipeline.retries.reporter.listeners == (print,)
    assert client._recording_hosts == ("portal.enablex.io",)
    for wrong in (5, [None], "name"):
        assert "http_middlewares" in refusal(lambda wrong=wrong: SessionManager(http_middlewares=wrong))


@pytest.mark.parametrize("wrong", ["x", 5, Clock])
def test_clock_of_the_wrong_type_is_rejected(wrong: Any) -> None:
    assert "clock must be a Clock" in refusal(lambda: SessionManager(clock=wrong))


@pytest.mark.parametrize("name", ["VIDEOAPI_RECORDING_USER", "VIDEOAPI_RECORDING_PASSWORD"])
def test_half_a_recording_login_in_the_environment_is_rejected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, CANARY)
    assert "VIDEOAPI_RECORDING_USER and VIDEOAPI_RECORDING_PASSWORD" in refusal(lambda: VideoClient("id", CANARY))
    # An argument wins over the environment.
    VideoClient("id", CANARY, recording_auth=("user", "password"))


@pytest.mark.parametrize(
    ("base", "shown"),
    [
        ("https://[::1]/v2", "[::1]:443"),
        ("https://[2001:db8::7]:8443/v2", "[2001:db8::7]:8443"),
        ("https://a/", "a:443"),
    ],
)
def test_host_is_shown_as_in_a_url(base: str, shown: str) -> None:
    assert BaseUrl.parse(base, allow_http=False).host == shown


def test_conflicting_options_are_rejected() -> None:
    assert "not both" in refusal(lambda: VideoClient("id", CANARY, credentials=lambda: ("id", CANARY)))
    shared = SessionManager()
    assert "SessionManager" in refusal(lambda: VideoClient("id", CANARY, session=shared, trust_env=True))
    assert "SessionManager" in refusal(lambda: VideoClient("id", CANARY, session=shared, proxy="http://p"))


def test_environment_provides_missing_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOAPI_APP_ID", "id")
    monkeypatch.setenv("VIDEOAPI_APP_KEY", CANARY)
    assert VideoClient().base_url == "https://api.enablex.io/video/v2"
    monkeypatch.setenv("VIDEOAPI_BASE_URL", "http://sandbox:8080/v1/")
    assert "allow_http" in refusal(VideoClient)
    monkeypatch.setenv("VIDEOAPI_ALLOW_HTTP", "1")
    client = VideoClient()
    assert client.base_url == "http://sandbox:8080/v1"
    assert CANARY not in repr(client)
    assert VideoClient(base_url="https://other/v2").base_url == "https://other/v2"
    assert "allow_http" in refusal(lambda: VideoClient(allow_http=False))
    monkeypatch.setenv("VIDEOAPI_BASE_URL", "")
    assert "base_url is empty" in refusal(VideoClient)


async def test_view_has_its_own_limits_and_shares_the_rest() -> None:
    retry = RetryPolicy(attempts=1)
    async with VideoClient("id", "key", timeout=50, attempt_timeout=20) as client:
        view = client.with_options(timeout=5, retry=retry)
        assert (view._pipeline.options.timeout, view._pipeline.options.retry) == (5, retry)
        assert view._pipeline.options.attempt_timeout == 20
        assert (client._pipeline.options.timeout, client._pipeline.options.retry) == (50, RetryPolicy())
        assert view._pipeline.pool is client._pipeline.pool
        assert view._pipeline.account is client._pipeline.account
        assert view.base_url == client.base_url
        assert client.rooms is client.rooms
        assert view.rooms is not client.rooms
        assert view.with_options(attempt_timeout=1)._pipeline.options.timeout == 5
        await view.aclose()
        async with view:
            pass
        assert not client._manager.closed
    assert client._manager.closed


async def test_clients_share_account_state_only_within_one_project() -> None:
    async with SessionManager() as shared:
        one = VideoClient("id", "key", session=shared)
        same = VideoClient("id", "another-key", session=shared)
        other = VideoClient("id-2", "key", session=shared)
        elsewhere = VideoClient("id", "key", "https://elsewhere/v2", session=shared)
        assert one._pipeline.account is same._pipeline.account
        assert one._pipeline.account is not other._pipeline.account
        assert one._pipeline.account.connect is other._pipeline.account.connect
        assert one._pipeline.account.connect is not elsewhere._pipeline.account.connect
        await one.aclose()
        assert not shared.closed
