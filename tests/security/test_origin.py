"""Credentials are sent only to the origin of the base URL."""

from __future__ import annotations

import base64
from pathlib import Path

import attrs
import pytest
from support.server import ROOM_ID, Link, answer, repeating, room, serve

from videoapi import (
    ConfigurationError,
    ConnectionFailed,
    CreateOutcomeUnknown,
    Outcome,
    ProtocolError,
    Request,
    RetryPolicy,
    Send,
    SessionManager,
    VideoAPIError,
    VideoClient,
)

EAGER = RetryPolicy(base=0)
BASIC = "Basic " + base64.b64encode(b"id:key").decode()


def calls(client: VideoClient) -> dict[str, object]:
    return {
        "GET": client.rooms.get,
        "PATCH": lambda room_id: client.rooms.update(room_id, name="Retro"),
        "DELETE": client.rooms.delete,
        "TOKEN": lambda room_id: client.tokens.create(room_id, name="Ann", role="viewer", user_ref="u"),
        "CREATE": lambda room_id: client.rooms.create(name="Stand-up", on_unknown="strict"),
        "STREAM": lambda room_id: client.rooms.list().to_list(),
        "CDR": lambda room_id: client.cdr.by_room(room_id).to_list(),
    }


def redirect(status: int, location: str) -> bytes:
    # The success in the body must not count; a 304 has no body.
    return answer(status, b"" if status == 304 else room(), {"Location": location})


METHODS = ["GET", "PATCH", "DELETE", "TOKEN", "CREATE", "STREAM", "CDR"]


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
@pytest.mark.parametrize("method", METHODS)
async def test_redirects_are_not_followed(status: int, method: str) -> None:
    async with serve(repeating(answer(200, room()))) as elsewhere:
        location = f"{elsewhere.origin}/video/v2/rooms"
        async with serve(repeating(redirect(status, location))) as server:
            async with VideoClient("id", "key", server.base_url, retry=EAGER) as client:
                with pytest.raises(VideoAPIError) as failed:
                    await calls(client)[method](ROOM_ID)  # type: ignore[operator]
            assert elsewhere.accepted == 0
            assert len(server.requests) <= 2
            assert all("elsewhere" not in seen.target for seen in server.requests)
    expected = CreateOutcomeUnknown if method == "CREATE" else ProtocolError
    assert type(failed.value) is expected
    assert failed.value.status == status


@pytest.mark.parametrize(
    "location", ["//evil.invalid/", "file:///etc/passwd", "http://evil.invalid/", "/video/v2/rooms", ""]
)
async def test_redirects_to_unusual_locations_are_not_followed(location: str) -> None:
    async with serve(repeating(answer(302, b"", {"Location": location}))) as server:
        async with VideoClient("id", "key", server.base_url, retry=EAGER) as client:
            with pytest.raises(ProtocolError, match="redirect"):
                await client.rooms.get(ROOM_ID)
        assert len(server.requests) == 1


@pytest.mark.parametrize("room_id", ["..", ".", "", "a/b", "a?b", "a#b", "a%2fb", "a\r\nb", "http://evil.invalid/x"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE", "TOKEN", "CDR"])
async def test_unsafe_id_is_rejected_before_sending(room_id: str, method: str) -> None:
    async with serve(repeating(answer(200, room()))) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            with pytest.raises(ValueError, match="room_id"):
                await calls(client)[method](room_id)  # type: ignore[operator]
        assert server.accepted == 0


async def test_requests_carry_credentials_once_and_no_unexpected_header() -> None:
    script = repeating(answer(200, {**room(), "token": "t", "rooms": [], "cdr": []}))
    async with serve(script) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            for call in calls(client).values():
                await call(ROOM_ID)  # type: ignore[operator]
        assert len(server.requests) == len(METHODS)
        for seen in server.requests:
            assert seen.headers["authorization"] == BASIC
            assert sorted(seen.headers) == sorted(
                ["host", "user-agent", "accept", "accept-encoding", "authorization"]
                + (["content-type", "content-length"] if seen.body else [])
                + (["content-length"] if seen.method == "DELETE" and "content-length" in seen.headers else [])
            )
            assert seen.headers["accept-encoding"] == "gzip, deflate"


async def test_cookies_are_not_kept() -> None:
    cookie = {"Set-Cookie": "tenant=a; Path=/"}
    async with serve(repeating(answer(200, room(), cookie))) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            for _ in range(2):
                await client.rooms.get(ROOM_ID)
        assert all("cookie" not in seen.headers for seen in server.requests)


@pytest.fixture
def misleading_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    return monkeypatch


async def test_environment_proxies_and_netrc_are_ignored_by_default(
    misleading_environment: pytest.MonkeyPatch,
) -> None:
    async with serve(repeating(answer(200, room()))) as proxy, serve(repeating(answer(200, room()))) as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            misleading_environment.setenv(name, proxy.origin)
        async with VideoClient("id", "key", server.base_url) as client:
            await client.rooms.get(ROOM_ID)
        assert proxy.accepted == 0
        assert server.requests[0].headers["authorization"] == BASIC


async def test_environment_proxy_is_used_with_trust_env(misleading_environment: pytest.MonkeyPatch) -> None:
    async with serve(repeating(answer(200, room()))) as proxy:
        misleading_environment.setenv("http_proxy", proxy.origin)
        async with VideoClient("id", "key", "http://127.0.0.1:9/v1", trust_env=True) as client:
            await client.rooms.get(ROOM_ID)
        seen = proxy.requests[0]
        assert seen.target == f"http://127.0.0.1:9/v1/rooms/{ROOM_ID}"
        # The client's credentials take precedence over those in `.netrc`.
        assert seen.headers["authorization"] == BASIC


async def test_proxy_argument_is_used() -> None:
    async with serve(repeating(answer(200, room()))) as proxy:
        async with VideoClient("id", "key", "http://127.0.0.1:9/v1", proxy=proxy.origin) as client:
            await client.rooms.get(ROOM_ID)
            await client.rooms.get(ROOM_ID)
        assert proxy.accepted == 1
        assert proxy.requests[1].target == f"http://127.0.0.1:9/v1/rooms/{ROOM_ID}"


async def test_https_proxy_sees_the_host_but_no_credentials() -> None:
    async def refuse(link: Link) -> None:
        await link.request()
        link.answer(407, b"", {"Proxy-Authenticate": "Basic"})
        await link.gone()

    async with serve(refuse) as proxy:
        client = VideoClient(
            "id", "key", "https://api.example.invalid/v1", proxy=proxy.origin, retry=RetryPolicy(attempts=1)
        )
        async with client:
            with pytest.raises(ConnectionFailed) as failed:
                await client.rooms.create(name="Stand-up", on_unknown="strict")
        assert not failed.value.may_have_executed
        assert [(seen.method, seen.target) for seen in proxy.requests] == [("CONNECT", "api.example.invalid:443")]
        assert "authorization" not in proxy.requests[0].headers


async def test_proxy_credentials_go_to_the_proxy_but_not_into_reprs() -> None:
    async with serve(repeating(answer(200, room()))) as proxy:
        address = proxy.origin.replace("http://", "http://user:hush@")
        async with SessionManager(proxy=address) as manager:
            client = VideoClient("id", "key", "http://127.0.0.1:9/v1", session=manager)
            await client.rooms.get(ROOM_ID)
            assert "hush" not in repr(manager) + repr(client)
        sent = proxy.requests[0].headers["proxy-authorization"]
        assert sent == "Basic " + base64.b64encode(b"user:hush").decode()


@pytest.mark.parametrize("proxy", ["ftp://proxy", "proxy:3128", "http://", "", "http://user:hush@[broken"])
def test_invalid_proxy_is_rejected_without_its_password(proxy: str) -> None:
    with pytest.raises(ConfigurationError, match="proxy") as failed:
        SessionManager(proxy=proxy)
    assert "hush" not in str(failed.value)


@pytest.mark.parametrize(
    ("base_url", "why"),
    [
        ("http://api.example.com/v1", "https"),
        ("https://id:key@api.example.com/v1", "user"),
        ("https://api.example.com/v1?x=1", "query"),
        ("https://api.example.com/v1#x", "fragment"),
        ("ftp://api.example.com", "https"),
        ("api.example.com/v1", "https"),
        ("https://", "host"),
        ("http://localhost.example.com", "https"),
        ("http://127.0.0.1.example.com", "https"),
    ],
)
def test_unsafe_base_url_is_rejected(base_url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        VideoClient("id", "key", base_url)


@pytest.mark.parametrize("base_url", ["http://localhost/v1", "http://127.0.0.1:8080", "http://[::1]:8080/video/v2"])
def test_plain_http_is_accepted_for_loopback(base_url: str) -> None:
    assert VideoClient("id", "key", base_url).base_url == base_url


def test_plain_http_is_accepted_elsewhere_only_if_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = "http://api.internal/v1"
    assert VideoClient("id", "key", inside, allow_http=True).base_url == inside
    monkeypatch.setenv("VIDEOAPI_ALLOW_HTTP", "1")
    assert VideoClient("id", "key", inside).base_url == inside
    with pytest.raises(ConfigurationError):
        VideoClient("id", "key", inside, allow_http=False)


async def test_invalid_middleware_header_is_rejected_before_sending() -> None:
    headers: dict[str, str] = {}

    async def add(request: Request, send: Send) -> Outcome:
        return await send(attrs.evolve(request, headers=dict(headers)))

    async with serve(repeating(answer(200, room()))) as server:
        async with VideoClient("id", "key", server.base_url, middleware=[add]) as client:
            for name, value in (("X-A", "a\r\nX-B: b"), ("X\0", "a"), ("authorization", "Basic x")):
                headers = {name: value}
                with pytest.raises(ConfigurationError):
                    await client.rooms.get(ROOM_ID)
            assert server.accepted == 0
            headers = {"X-Trace": "abc"}
            await client.rooms.get(ROOM_ID)
        assert server.requests[0].headers["x-trace"] == "abc"


async def test_hosts_in_no_proxy_are_connected_directly(
    misleading_environment: pytest.MonkeyPatch,
) -> None:
    async with serve(repeating(answer(200, room()))) as proxy, serve(repeating(answer(200, room()))) as server:
        misleading_environment.setenv("http_proxy", proxy.origin)
        misleading_environment.setenv("no_proxy", "127.0.0.1")
        async with VideoClient("id", "key", server.base_url, trust_env=True) as client:
            await client.rooms.get(ROOM_ID)
        assert proxy.accepted == 0


async def test_unsupported_environment_proxy_is_reported_without_password(
    misleading_environment: pytest.MonkeyPatch,
) -> None:
    misleading_environment.setenv("http_proxy", "socks5://user:hush@proxy")
    async with VideoClient("id", "key", "http://127.0.0.1:9/v1", trust_env=True) as client:
        with pytest.raises(ConfigurationError, match="proxy") as failed:
            await client.rooms.get(ROOM_ID)
    assert "hush" not in str(failed.value)
