"""Requests to own routes, client-wide headers and TLS, the environment, and the public names."""

from __future__ import annotations

import base64
import inspect
import json
import os
import ssl
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import attrs
import pytest
import trustme
from support.clients import APP_ID, APP_KEY, ONCE, client_for
from support.server import ROOM_ID, Link, answer, repeating, room, serve

import videoapi
from videoapi import (
    AttemptEvent,
    AuthenticationFailed,
    CallEvent,
    ConfigurationError,
    ConnectionFailed,
    CreateOutcomeUnknown,
    NotFound,
    Outcome,
    ProtocolError,
    RateLimited,
    Request,
    RequestRejected,
    Response,
    RetryPolicy,
    RoomSpec,
    Send,
    ServerFault,
    SessionManager,
    ValidationError,
    VideoClient,
    new_reference,
    pytest_plugin,
)
from videoapi.testing import fixed_references

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
from _site.names import MODULES

OPERATIONS = {"read": "GET", "update": "PATCH", "create": "POST", "delete": "DELETE"}
DONE = repeating(answer(200, {"result": 0, "items": [1]}))
ROOM = repeating(answer(200, room(name="Stand-up")))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("VIDEOAPI_")]:
        monkeypatch.delenv(name)


# client.request


async def test_request_sends_what_it_is_given() -> None:
    body = {"result": 0, "items": [1]}
    async with serve(repeating(answer(200, body, {"X-Request-Id": "r-7", "X-Extra": "e"}))) as server:
        async with client_for(server.base_url) as client:
            response = await client.request(
                "POST",
                "/webinars/7/start",
                json={"title": "Zoë", "n": None},
                params={"q": "a&b=c d", "full": True, "page": 2, "ratio": 0.5},
                headers={"X-Trace": "t-1"},
                operation="update",
            )
    (seen,) = server.requests
    assert seen.method == "POST"
    assert seen.target == "/video/v2/webinars/7/start?q=a%26b%3Dc+d&full=true&page=2&ratio=0.5"
    assert seen.json == {"title": "Zoë", "n": None}
    assert seen.headers["x-trace"] == "t-1"
    assert seen.headers["content-type"] == "application/json"
    assert base64.b64decode(seen.headers["authorization"].removeprefix("Basic ")).decode() == f"{APP_ID}:{APP_KEY}"
    assert (response.status, response.request_id, response.json()) == (200, "r-7", body)
    assert response.headers["x-extra"] == "e"
    assert isinstance(response, Response)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        response.status = 500  # type: ignore[misc]
    assert "items" not in repr(response)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
@pytest.mark.parametrize("body", [b"", b"[1, 2]", b"plain", b'{"items": []}', b"null"])
async def test_success_of_an_own_route_needs_no_envelope(status: int, body: bytes) -> None:
    body = b"" if status == 204 else body
    fields = {} if status == 204 else {"Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    async with serve(repeating(f"HTTP/1.1 {status} OK\r\n{head}\r\n".encode() + body)) as server:
        async with client_for(server.base_url, retry=ONCE, timeout=3) as client:
            response = await client.request("GET", "/x", operation="read")
    assert response.status == status
    if body in (b"", b"plain"):
        with pytest.raises(ProtocolError):
            response.json()
    else:
        assert response.json() == json.loads(body)


async def test_path_may_omit_its_first_slash() -> None:
    async with serve(DONE) as server, client_for(server.base_url) as client:
        await client.request("get", "webinars", operation="read")
    assert (server.requests[0].method, server.requests[0].target) == ("GET", "/video/v2/webinars")


OUTSIDE = [
    "..",
    "../x",
    "/../x",
    "/a/../../x",
    "/a/..",
    "/./x",
    "/%2e%2e/x",
    "/%2E%2e/x",
    "/.%2e/x",
    "/a/%2e%2e%2f%2e%2e/x",
    "/..%2fx",
    "/..%5cx",
    "/..\\x",
    "\\x",
    "//evil.example/x",
    "///evil.example/x",
    "http://evil.example/x",
    "https://evil.example",
    "HTTP://evil.example/x",
    "/x?next=1",
    "/x#part",
    "/x\r\nX-A: b",
    "/x y",
    "/x\0",
    "/\ud800",
    "",
    "/",
    "//",
]


@pytest.mark.parametrize("path", OUTSIDE)
async def test_path_that_leaves_the_base_url_is_refused(path: str) -> None:
    async with serve(DONE) as server, client_for(server.base_url) as client:
        with pytest.raises(ValidationError) as failed:
            await client.request("GET", path, operation="read")
        assert failed.value.field == "path"
        assert server.accepted == 0


@pytest.mark.parametrize(
    "path",
    [
        "/@evil.example/x",
        "/:8080/x",
        "/a;b=c/x",
        "/...",
        "/a//b",
        "/ü/会议",
        "/100%",
        "/a%2Fb",
        "/a%0d%0ab",
        "/~x",
        "/x:y",
    ],
)
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "session"])
async def test_unusual_path_stays_below_the_base_url(path: str, fast: bool) -> None:
    async with serve(DONE) as server, SessionManager(fast_path=fast) as manager:
        async with client_for(server.base_url, session=manager) as client:
            await client.request("GET", path, operation="read")
    (seen,) = server.requests
    assert seen.target.startswith("/video/v2/")
    assert seen.headers["host"] == f"127.0.0.1:{server.port}"
    assert seen.target.isascii()


async def test_unusual_paths_are_sent_alike_on_both_paths() -> None:
    targets: list[list[str]] = []
    for fast in (True, False):
        async with serve(DONE) as server, SessionManager(fast_path=fast) as manager:
            async with client_for(server.base_url, session=manager) as client:
                for path in ("/ü", "/100%", "/a%2fb", "/a//b", "/a%0d%0ab", "/a'b\"c<d>|^`{}"):
                    await client.request("GET", path, params={"q": "ü +/%"}, operation="read")
        targets.append([seen.target for seen in server.requests])
    assert targets[0] == targets[1]


class Masked(str):
    """Text that formats and hashes as something else, like many enums and secrets."""

    def __format__(self, spec: str) -> str:
        return "***"

    def __hash__(self) -> int:
        return 1

    def isprintable(self) -> bool:
        return True


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "session"])
async def test_header_of_a_str_subclass_is_sent_as_its_text(fast: bool) -> None:
    async def region(request: Request, send: Send) -> Outcome:
        return await send(request.with_headers({Masked("X-Region"): Masked("eu")}))

    async with serve(ROOM) as server, SessionManager(fast_path=fast) as manager:
        for middleware in ([], [region]):
            headers = {Masked("X-Tenant"): Masked("t-1")}
            async with client_for(server.base_url, session=manager, headers=headers, middleware=middleware) as client:
                await client.rooms.create(name="Stand-up")
    assert [(seen.headers["x-tenant"], seen.headers.get("x-region")) for seen in server.requests] == [
        ("t-1", None),
        ("t-1", "eu"),
    ]


async def test_line_end_in_a_header_of_a_str_subclass_is_refused() -> None:
    async def split(request: Request, send: Send) -> Outcome:
        return await send(request.with_headers({"X-A": Masked("a\r\nX-Evil: 1")}))

    async with serve(ROOM) as server, client_for(server.base_url, middleware=[split]) as client:
        with pytest.raises(ConfigurationError, match="X-A"):
            await client.rooms.create(name="Stand-up")
    assert not server.requests


def test_credentials_of_a_str_subclass_are_those_of_its_text() -> None:
    masked, plain = videoapi.Credentials(Masked(APP_ID), Masked(APP_KEY)), videoapi.Credentials(APP_ID, APP_KEY)
    assert masked.authorization == plain.authorization
    assert videoapi.Credentials(APP_ID, videoapi.Secret(Masked(APP_KEY))).authorization == plain.authorization
    assert hash(masked.app_id) == hash(plain.app_id)


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"method": "GET\r\n"}, "method"),
    ({"method": "GE T"}, "method"),
    ({"method": ""}, "method"),
    ({"method": None}, "method"),
    ({"method": b"GET"}, "method"),
    ({"path": None}, "path"),
    ({"path": b"/x"}, "path"),
    ({"operation": "write"}, "operation"),
    ({"operation": None}, "operation"),
    ({"operation": []}, "operation"),
    ({"params": {"a": [1]}}, "params"),
    ({"params": {"a": None}}, "params"),
    ({"params": {"a": "\ud800"}}, "params"),
    ({"params": [("a", "b")]}, "params"),
    ({"params": "a=b"}, "params"),
    ({"params": {1: "b"}}, "params"),
    ({"params": {None: "b"}}, "params"),
    ({"params": {10**5000: "b"}}, "params"),
    ({"params": {b"a": "b"}}, "params"),
    ({"params": {"a": float("nan")}}, "params"),
    ({"params": {"a": float("-inf")}}, "params"),
    ({"params": {"a": 10**5000}}, "params"),
]


@pytest.mark.parametrize(("given", "field"), INVALID)
async def test_invalid_argument_of_a_request_is_named(given: dict[str, Any], field: str) -> None:
    arguments = {"method": "GET", "path": "/x", "operation": "read", **given}
    async with serve(DONE) as server, client_for(server.base_url) as client:
        with pytest.raises(ValidationError) as failed:
            await client.request(arguments.pop("method"), arguments.pop("path"), **arguments)
        assert failed.value.field == field
        assert server.accepted == 0


@pytest.mark.parametrize("body", [object(), {"a": object()}, {"a": "\ud800"}, {"a": float("nan")}, {1j: 2}, b"\xff"])
async def test_body_that_json_cannot_hold_is_refused_or_sent_as_json(body: object) -> None:
    async with serve(DONE) as server, client_for(server.base_url) as client:
        try:
            await client.request("PATCH", "/x", json=body, operation="update")
        except ValidationError:
            assert server.accepted == 0
        else:
            json.loads(server.requests[0].body, parse_constant=lambda name: pytest.fail(name))


async def test_operation_is_required() -> None:
    async with VideoClient("id", "key", "http://127.0.0.1:9/v2") as client:
        with pytest.raises(TypeError, match="operation"):
            await client.request("GET", "/x")  # type: ignore[call-arg]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("failure", ["503", "lost"])
async def test_operation_decides_whether_a_doubtful_request_is_repeated(operation: Any, failure: str) -> None:
    async def script(link: Link) -> None:
        await link.request()
        if link.number == 1 and failure == "lost":
            link.close()
            return
        link.answer(*((503,) if link.number == 1 else (200, {"result": 0})))
        await link.gone()

    async with serve(script) as server, client_for(server.base_url) as client:
        if operation == "create":
            with pytest.raises(CreateOutcomeUnknown) as failed:
                await client.request("POST", "/webinars", json={}, operation="create")
            assert failed.value.may_have_executed
            assert not failed.value.retryable
            assert failed.value.reference is None
            assert "May have been executed." in str(failed.value)
            assert "resolve" not in str(failed.value)
        else:
            await client.request(OPERATIONS[operation], "/webinars/7", operation=operation)
    assert len(server.requests) == (1 if operation == "create" else 2)


async def test_create_that_certainly_did_not_execute_is_repeated() -> None:
    async def script(link: Link) -> None:
        await link.request()
        if link.number == 1:
            link.answer(429, {"result": 10104}, {"Retry-After": "0"})
        else:
            link.answer(200, {"result": 0})
        await link.gone()

    async with serve(script) as server, client_for(server.base_url) as client:
        await client.request("POST", "/webinars", json={}, operation="create")
    assert len(server.requests) == 2


async def test_operation_of_a_post_is_not_guessed_from_its_method() -> None:
    async def drop(link: Link) -> None:
        await link.request()
        link.close()

    async with serve(drop) as server, client_for(server.base_url, retry=RetryPolicy(attempts=3, base=0)) as client:
        with pytest.raises(ConnectionFailed):
            await client.request("POST", "/search", json={}, operation="read")
        assert len(server.requests) == 3
        with pytest.raises(CreateOutcomeUnknown):
            await client.request("GET", "/start", operation="create")
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (answer(401, {"result": 10000, "error": "no"}), AuthenticationFailed),
        (answer(404, {"result": 40001}), NotFound),
        (answer(404, b"<html>"), ProtocolError),
        (answer(400, {"result": 40099}), RequestRejected),
        (answer(500, {"result": 50001}), ServerFault),
        (answer(429, b"", {"Retry-After": "9000"}), RateLimited),
        (answer(302, b"", {"Location": "https://portal.example/"}), ProtocolError),
        (answer(200, {"result": 40099, "error": "[Reason] No"}), RequestRejected),
    ],
)
async def test_request_fails_with_the_errors_of_every_call(response: bytes, kind: type[videoapi.VideoAPIError]) -> None:
    async with serve(repeating(response)) as server, client_for(server.base_url, retry=ONCE) as client:
        with pytest.raises(kind) as failed:
            await client.request("PATCH", "/webinars/7", params={"token": "hush-hush"}, operation="update")
    assert type(failed.value) is kind
    assert (failed.value.method, failed.value.path) == ("PATCH", "/webinars/7")
    assert str(failed.value).startswith("PATCH /webinars/7: ")
    assert "hush" not in repr(vars(failed.value)) + str(failed.value)


async def test_request_is_an_event_and_passes_through_middleware() -> None:
    events: list[Any] = []
    passed: list[str] = []

    async def watching(request: Request, send: Send) -> Outcome:
        passed.append(request.path)
        return await send(request)

    async with serve(DONE) as server:
        async with client_for(server.base_url, listeners=events.append, middleware=watching) as client:
            await client.request("GET", "/webinars", params={"token": "hush-hush"}, operation="read")
    assert passed == ["/webinars?token=hush-hush"]
    assert [type(event).__name__ for event in events] == ["CallStarted", "AttemptEvent", "CallEvent"]
    assert "hush" not in repr(events)
    assert {(event.method, event.path) for event in events} == {("GET", "/webinars")}


async def test_request_obeys_the_limits_of_a_view() -> None:
    async def silent(link: Link) -> None:
        await link.request()
        await link.gone()

    async with serve(silent) as server, client_for(server.base_url) as client:
        with pytest.raises(videoapi.CallTimeout, match=r"0\.2 s \(timeout\)"):
            await client.with_options(timeout=0.2).request("GET", "/x", operation="read")


async def test_request_on_a_closed_client_is_refused() -> None:
    client = VideoClient("id", "key", "http://127.0.0.1:9/v2")
    await client.aclose()
    with pytest.raises(ConfigurationError, match="closed"):
        await client.request("GET", "/x", operation="read")


# headers= and ssl_context=


async def test_client_headers_are_sent_with_every_api_request(tmp_path: Path) -> None:
    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            if seen.target.endswith(".mp4"):
                link.answer(200, b"data", {"Content-Type": "video/mp4"})
            elif seen.method == "GET" and seen.target.endswith("/rooms"):
                link.answer(200, {"result": 0, "rooms": []})
            elif seen.target.endswith("/tokens"):
                link.answer(200, {"result": 0, "token": "t"})
            else:
                link.answer(200, room(name="Stand-up"))
            await link.drain()

    async with serve(script) as server, serve(script) as files:
        headers = {"X-Tenant": "t-9"}
        async with client_for(server.base_url, headers=headers, recording_hosts="127.0.0.1") as client:
            headers["X-Tenant"] = "changed"
            await client.rooms.create(name="Stand-up")
            await client.rooms.get(ROOM_ID)
            await client.rooms.list().to_list()
            await client.tokens.create(ROOM_ID, name="Ann", role="moderator", user_ref="u")
            await client.request("GET", "/x", headers={"x-tenant": "own"}, operation="read")
            await client.archives.download(f"{files.origin}/a.mp4", tmp_path)
    assert [seen.headers["x-tenant"] for seen in server.requests] == ["t-9", "t-9", "t-9", "t-9", "own"]
    assert "x-tenant" not in files.requests[0].headers


@pytest.mark.parametrize("headers", [[("X-A", "b")], "X-A: b", 7, {"Authorization": "x"}, {"X-A": 1}, {"X A": "b"}])
def test_invalid_client_headers_are_refused_at_once(headers: Any) -> None:
    with pytest.raises(ConfigurationError):
        VideoClient("id", "key", "https://api.example.com", headers=headers)


def tls_for(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


async def test_ssl_context_is_used_for_verification(authority: trustme.CA) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with serve(ROOM, tls=tls_for(authority.issue_cert("127.0.0.1"))) as server:
        for fast in (True, False):
            async with SessionManager(ssl_context=trusting, fast_path=fast) as manager:
                await client_for(server.base_url, session=manager).rooms.get(ROOM_ID)
        async with client_for(server.base_url, ssl_context=trusting) as client:
            await client.rooms.get(ROOM_ID)
        async with client_for(server.base_url, ssl_context=ssl.create_default_context(), retry=ONCE) as client:
            with pytest.raises(ConnectionFailed):
                await client.rooms.get(ROOM_ID)


async def test_client_certificate_of_an_ssl_context_is_presented(authority: trustme.CA) -> None:
    demanding = tls_for(authority.issue_cert("127.0.0.1"))
    demanding.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(demanding)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    authority.issue_cert("client.example").configure_cert(trusting)
    async with serve(ROOM, tls=demanding) as server, client_for(server.base_url, ssl_context=trusting) as client:
        await client.rooms.get(ROOM_ID)


@pytest.mark.parametrize("context", [True, False, "x", object()])
def test_ssl_context_of_another_type_is_refused(context: Any) -> None:
    for create in (SessionManager, lambda **options: VideoClient("id", "key", "https://api.example.com", **options)):
        with pytest.raises(ConfigurationError, match="ssl_context"):
            create(ssl_context=context)


async def test_ssl_context_is_not_combined_with_other_settings(ca_file: str) -> None:
    context = ssl.create_default_context()
    with pytest.raises(ConfigurationError, match="ca_file"):
        VideoClient("id", "key", "https://api.example.com", ca_file=ca_file, ssl_context=context)
    async with SessionManager() as manager:
        with pytest.raises(ConfigurationError, match="ssl_context"):
            VideoClient("id", "key", "https://api.example.com", session=manager, ssl_context=context)


# The environment


async def test_ca_file_is_read_from_the_environment(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOAPI_CA_FILE", ca_file)
    async with serve(ROOM, tls=tls_for(authority.issue_cert("127.0.0.1"))) as server:
        async with client_for(server.base_url) as client:
            await client.rooms.get(ROOM_ID)
        async with SessionManager() as manager:
            await client_for(server.base_url, session=manager).rooms.get(ROOM_ID)
        # An argument wins.
        with trustme.CA().cert_pem.tempfile() as other:
            async with client_for(server.base_url, ca_file=other, retry=ONCE) as client:
                with pytest.raises(ConnectionFailed):
                    await client.rooms.get(ROOM_ID)
        async with client_for(server.base_url, ssl_context=ssl.create_default_context(), retry=ONCE) as client:
            with pytest.raises(ConnectionFailed):
                await client.rooms.get(ROOM_ID)


def test_unreadable_ca_file_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VIDEOAPI_CA_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(ConfigurationError, match=r"missing\.pem"):
        VideoClient("id", "key", "https://api.example.com")
    monkeypatch.setenv("VIDEOAPI_CA_FILE", "")
    VideoClient("id", "key", "https://api.example.com")


async def test_proxy_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(ROOM) as proxy, serve(ROOM) as other:
        monkeypatch.setenv("VIDEOAPI_PROXY", proxy.origin)
        base_url = "http://127.0.0.1:9/video/v2"
        async with client_for(base_url, retry=ONCE) as client:
            await client.rooms.get(ROOM_ID)
        async with SessionManager() as manager:
            await client_for(base_url, session=manager, retry=ONCE).rooms.get(ROOM_ID)
        async with client_for(base_url, proxy=other.origin, retry=ONCE) as client:
            await client.rooms.get(ROOM_ID)
    assert [seen.target for seen in proxy.requests] == [f"{base_url}/rooms/{ROOM_ID}"] * 2
    assert len(other.requests) == 1


def test_empty_proxy_of_the_environment_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOAPI_PROXY", "")
    assert VideoClient("id", "key", "https://api.example.com")._manager.pool.proxy is None


@pytest.mark.parametrize("source", ["argument", "manager", "environment"])
@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("127.0.0.1:3128", "http://127.0.0.1:3128"),
        ("localhost:3128", "http://localhost:3128"),
        ("proxy", "http://proxy"),
        ("user:hush-hush@proxy.example:3128", "http://"),
        ("//proxy.example:3128", "http://"),
        ("socks5://proxy.example:1080", "http://"),
        ("http://", "http://"),
        ("http://proxy.example:99999", "http://"),
        ("http://[::1", "http://"),
    ],
)
def test_unusable_proxy_is_refused_with_the_right_form(
    proxy: str, shown: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {} if source == "environment" else {"proxy": proxy}
    if source == "environment":
        monkeypatch.setenv("VIDEOAPI_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="proxy") as failed:
        if source == "manager":
            SessionManager(**options)
        else:
            VideoClient("id", "key", "https://api.example.com", **options)
    assert shown in str(failed.value)
    assert "hush" not in str(failed.value)


@pytest.mark.parametrize("proxy", [7, b"http://proxy:3128", ["http://proxy:3128"], True])
def test_proxy_of_another_type_is_refused(proxy: Any) -> None:
    with pytest.raises(ConfigurationError, match="proxy"):
        SessionManager(proxy=proxy)


# base_url


@pytest.mark.parametrize(
    "text", [" https://api.example.com/v2", "https://api.example.com/v2\n", "\t https://api.example.com/v2/ "]
)
def test_base_url_is_stripped_of_blanks(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert VideoClient("id", "key", text).base_url == "https://api.example.com/v2"
    monkeypatch.setenv("VIDEOAPI_BASE_URL", text)
    assert VideoClient("id", "key").base_url == "https://api.example.com/v2"


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_empty_base_url_is_an_error_and_not_production(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        VideoClient("id", "key", text)
    monkeypatch.setenv("VIDEOAPI_BASE_URL", text)
    with pytest.raises(ConfigurationError, match=r"base_url|VIDEOAPI_BASE_URL"):
        VideoClient("id", "key")


@pytest.mark.parametrize(
    "text",
    [
        "https://api..example.com",
        "https://.example.com",
        "https://api.example.com:70000",
        "https://api.example.com:-1",
        "https://api.example.com:port",
        b"https://api.example.com",
        7,
        "api.example.com",
        "//api.example.com",
        "https://",
        "https:///v2",
        "https://:8443",
        "ftp://api.example.com",
        "https://api example.com",
        "https://-api.example.com",
        "https://" + "a" * 64 + ".example.com",
        "https://" + ".".join(["abcdefgh"] * 40),
        "https://[::1",
        "https://[zzz]",
        "https://user:pw@api.example.com",
        "https://api.example.com?x=1",
        "https://api.example.com#x",
        "https://*.example.com",
        "https://api%2eexample.com",
        "https://\ud800.example.com",
    ],
)
def test_base_url_that_cannot_be_one_is_refused_at_once(text: Any) -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        VideoClient("id", "key", text)


@pytest.mark.parametrize(
    "text",
    [
        "https://api.example.com:8443/video/v2",
        "https://[2001:db8::1]:8443/v2",
        "https://192.0.2.7",
        "https://api.example.com./v2",
        "https://my_gateway/v2",
        "https://bücher.example/v2",
        "HTTPS://API.EXAMPLE.COM/v2",
        "http://localhost:8080",
    ],
)
def test_unusual_but_valid_base_url_is_accepted(text: str) -> None:
    assert VideoClient("id", "key", text).base_url.startswith(text[:4].lower())


# Bare values


async def test_bare_value_is_taken_as_the_only_one() -> None:
    seen: list[str] = []

    async def middleware(request: Request, send: Send) -> Outcome:
        seen.append("middleware")
        return await send(request)

    def listener(event: videoapi.AttemptEvent | CallEvent | videoapi.CallStarted) -> None:
        if isinstance(event, AttemptEvent):
            seen.append("listener")

    async def http_middleware(request: Any, handler: Any) -> Any:
        seen.append("http")
        return await handler(request)

    async with serve(ROOM) as server, SessionManager(http_middlewares=http_middleware) as manager:
        client = client_for(
            server.base_url, session=manager, middleware=middleware, listeners=listener, recording_hosts=".example.com"
        )
        await client.rooms.get(ROOM_ID)
        assert client._recording_hosts == (".example.com",)
    assert seen == ["middleware", "http", "listener"]


@pytest.mark.parametrize("given", [7, None, "text", b"text", [None], ["text"], object()])
@pytest.mark.parametrize("name", ["middleware", "listeners", "http_middlewares"])
def test_value_that_is_not_callable_is_refused_by_name(name: str, given: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        if name == "http_middlewares":
            SessionManager(http_middlewares=given)
        else:
            VideoClient("id", "key", "https://api.example.com", **{name: given})


@pytest.mark.parametrize(
    "given", [7, None, b"host", [None], [7], ["https://host/"], "https://host/", "", [""], object()]
)
def test_invalid_recording_hosts_are_refused_by_name(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="recording_hosts"):
        VideoClient("id", "key", "https://api.example.com", recording_hosts=given)


def test_recording_hosts_may_come_from_a_generator() -> None:
    hosts: Any = (host for host in ["Portal.example", ".cdn.example"])
    client = VideoClient("id", "key", "https://api.example.com", recording_hosts=hosts)
    assert client._recording_hosts == ("portal.example", ".cdn.example")


# Names, signatures, doubles


@pytest.mark.parametrize(
    "name",
    [
        "RecordStream",
        "Page",
        "Listener",
        "Middleware",
        "Outcome",
        "Verdict",
        "Response",
        "CallStarted",
        "CredentialsUnavailable",
        "new_reference",
        "reference_for",
    ],
)
def test_name_is_public(name: str) -> None:
    namespace: dict[str, object] = {}
    exec(f"from videoapi import {name}", namespace)
    assert namespace[name] is getattr(videoapi, name)
    assert name in videoapi.__all__
    assert name in dir(videoapi)


def test_star_import_provides_every_public_name() -> None:
    code = "from videoapi import *; import videoapi; print(sorted(set(videoapi.__all__) - set(globals())))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


async def test_autospec_of_the_client_has_its_namespaces() -> None:
    client = create_autospec(VideoClient, instance=True)
    client.rooms.create.return_value = "room"
    assert await client.rooms.create(name="Stand-up") == "room"
    client.rooms.create.assert_awaited_once_with(name="Stand-up")
    with pytest.raises(TypeError):
        client.rooms.create(nme="Stand-up")
    client.tokens.create.return_value = "token"
    assert await client.tokens.create(ROOM_ID, name="Ann", role="moderator", user_ref="u") == "token"
    client.request.return_value = Response(status=200, headers={}, request_id=None, body=b"{}")
    assert (await client.request("GET", "/x", operation="read")).json() == {}
    for namespace, method in (("cdr", "by_period"), ("archives", "download"), ("dialin", "get"), ("rooms", "list")):
        assert callable(getattr(getattr(client, namespace), method))
    with pytest.raises(AttributeError):
        _ = client.rooms.creat


async def test_autospec_of_the_class_builds_clients_with_namespaces() -> None:
    kind = create_autospec(VideoClient)
    client = kind("id", "key")
    client.rooms.get.return_value = "room"
    assert await client.rooms.get(ROOM_ID) == "room"


def public_callables() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield every public function, class, method, property and fixture of the package, with its name."""
    roots: list[tuple[str, Any]] = []
    for module in map(import_module, MODULES):
        roots += [(f"{module.__name__}.{name}", getattr(module, name)) for name in module.__all__]
    roots += [
        (f"videoapi.pytest_plugin.{name}", inspect.unwrap(value))
        for name, value in vars(pytest_plugin).items()
        if name.startswith("videoapi_")
    ]
    roots += [
        (f"VideoClient.{name}", getattr(VideoClient, name)) for name in ("rooms", "tokens", "cdr", "archives", "dialin")
    ]
    for name, value in roots:
        if inspect.isfunction(value):
            yield name, value
        if inspect.isclass(value):
            yield name, value
            for attribute in dir(value):
                member = inspect.getattr_static(value, attribute)
                function = getattr(member, "fget", None) or getattr(member, "__func__", member)
                is_own = inspect.isfunction(function) and (function.__module__ or "").startswith("videoapi")
                if is_own and (
                    not attribute.startswith("_")
                    or attribute in ("__init__", "__aenter__", "__aexit__", "__aiter__", "__await__")
                ):
                    yield f"{name}.{attribute}", function


CALLABLES = dict(public_callables())


@pytest.mark.parametrize("name", CALLABLES)
def test_type_hints_of_public_callables_resolve(name: str) -> None:
    assert isinstance(typing.get_type_hints(CALLABLES[name]), dict)


@pytest.mark.parametrize("name", ["rooms", "tokens", "cdr", "archives", "dialin"])
def test_namespace_is_documented_on_the_class(name: str) -> None:
    assert inspect.isclass(getattr(VideoClient, name))
    assert inspect.getattr_static(VideoClient, name).__doc__


async def test_namespace_is_created_once_per_client() -> None:
    one, other = VideoClient("id", "key"), VideoClient("id", "key")
    assert one.rooms is one.rooms
    assert one.rooms is not other.rooms
    assert one.with_options(timeout=1).rooms is not one.rooms


def test_module_runs_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "videoapi", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "Usage" in done.stdout
    version = subprocess.run(
        [sys.executable, "-m", "videoapi.cli", "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.replace("videoapi.cli", "videoapi") == version.stdout.replace("videoapi.cli", "videoapi")


# Fixed references


async def created_bodies(seed: int, count: int = 2) -> list[bytes]:
    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            link.answer(200, room(name="Stand-up", owner_ref=seen.json["owner_ref"]))
            await link.drain()

    async with serve(script) as server, client_for(server.base_url) as client:
        with fixed_references(seed):
            for _ in range(count):
                await client.rooms.create(name="Stand-up")
    return [seen.body for seen in server.requests]


async def test_fixed_references_replay_the_same_creates() -> None:
    first, second, other = [await created_bodies(seed) for seed in (1, 1, 2)]
    assert first == second
    assert len({*first, *other}) == 4


async def test_fixed_references_apply_to_bulk_runs_too() -> None:
    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            if seen.method == "POST":
                link.answer(
                    200, room(f"{len(link.server.requests):024x}", name="Stand-up", owner_ref=seen.json["owner_ref"])
                )
            else:
                link.answer(200, {"result": 0, "rooms": []})
            await link.drain()

    async def references() -> list[str]:
        async with serve(script) as server, client_for(server.base_url) as client:
            with fixed_references(5):
                await client.rooms.create_many([RoomSpec("Stand-up")] * 5, audit=False, concurrency=1)
        return [seen.json["owner_ref"] for seen in server.requests if seen.method == "POST"]

    assert await references() == await references()


def test_fixed_references_end_with_their_block() -> None:
    with fixed_references():
        first = new_reference()
        with fixed_references(9):
            inner = new_reference()
        second = new_reference()
    with fixed_references():
        assert [new_reference(), new_reference()] == [first, second]
    assert inner not in (first, second)
    assert new_reference() != new_reference()
    with pytest.raises(RuntimeError), fixed_references():
        raise RuntimeError
    assert new_reference() != first


# Loops and threads


SECOND_LOOP = """
import asyncio, threading
from videoapi import RetryPolicy, VideoClient
client = VideoClient("id", "key", "http://127.0.0.1:9/v2", retry=RetryPolicy(attempts=1))

def call(send):
    try:
        asyncio.run(send())
    except BaseException as error:
        print(type(error).__name__, error)

async def get():
    await client.rooms.get("6571f3c2a1b2c3d4e5f60718")

async def request():
    await client.request("GET", "/x", operation="read")

call(get)
call(get)
call(request)
thread = threading.Thread(target=call, args=[request])
thread.start()
thread.join()
"""


def test_second_event_loop_gets_a_clear_error() -> None:
    done = subprocess.run([sys.executable, "-c", SECOND_LOOP], capture_output=True, text=True, timeout=60)
    first, *later = done.stdout.splitlines()
    assert first.startswith("ConnectionFailed ")
    assert len(later) == 3
    for line in later:
        assert line.startswith("ConfigurationError The client belongs to event loop ")
        assert "create one client for each" in line
