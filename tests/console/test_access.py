"""The console: who may look, who may act, and what its pages are allowed to load."""

import asyncio
import base64
import json
import re
import ssl
from importlib.resources import files

import aiohttp
import pytest
from console.conftest import KEY, PASSWORD

from videoapi.sandbox import Sandbox
from videoapi.sandbox.console.access import Access

FILES = ("console.css", "console.js", "forms.js", "tables.js", "icon.svg")
READABLE = ("", *(f"console/{name}" for name in FILES))


async def raw(desk, *lines, body=b""):
    """Send a request as these header lines; return the status and the body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.sandbox.port)
    head = "\r\n".join((*lines, f"Content-Length: {len(body)}", "Connection: close", "", ""))
    writer.write(head.encode() + body)
    async with asyncio.timeout(10):
        answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return int(answer.split()[1]), answer


@pytest.mark.parametrize("path", READABLE)
async def test_pages_need_no_key_and_may_load_nothing_from_elsewhere(desk, path):
    async with desk.session.get(desk.url + path) as response:
        text = await response.text()
    assert response.status == 200
    assert "Authorization" not in response.request_info.headers
    policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert set(policy.values()) <= {"'none'", "'self'", "'script'"}
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in response.headers
    assert set(re.findall(r"https?://[^\s\"'`]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_scripts_insert_no_markup():
    static = files("videoapi.sandbox.console").joinpath("static")
    for file in static.iterdir():
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|\son\w+=", text), file.name
        assert "localStorage" not in text
        assert "sessionStorage" not in text


async def test_without_console_the_root_is_a_path_that_the_service_does_not_have():
    async with Sandbox() as sandbox, aiohttp.ClientSession(f"http://127.0.0.1:{sandbox.port}") as session:
        assert sandbox.console_url is None
        for path in ("/", "/console/events", "/console/actions/clear"):
            async with session.get(path) as response:
                assert (response.status, (await response.json())["result"]) == (401, 10000)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_console_needs_a_loopback_address(host):
    with pytest.raises(ValueError, match="the console needs a loopback address"):
        Sandbox(host=host, allow_remote=True, console=True)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
async def test_loopback_names_with_the_port_are_served(desk, name):
    for path in ("/", "/console/events"):
        assert (await raw(desk, f"GET {path} HTTP/1.1", f"Host: {name}:{desk.sandbox.port}"))[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example:{port}",
        "127.0.0.1",
        "localhost:1",
        "localhost.attacker.example:{port}",
        "192.0.2.1:{port}",
        "",
    ],
)
async def test_other_hosts_can_neither_look_nor_act(desk, host):
    host = f"Host: {host.format(port=desk.sandbox.port)}"
    for path in ("/", "/console/events", "/console/console.js"):
        status, answer = await raw(desk, f"GET {path} HTTP/1.1", host)
        assert status == 403
        assert KEY.encode() not in answer
    login = base64.b64encode(f"{desk.sandbox.app_id}:{KEY}".encode()).decode()
    json_type, auth = "Content-Type: application/json", f"Authorization: Basic {login}"
    assert (await raw(desk, "POST /console/actions/check HTTP/1.1", host, json_type, auth, body=b"{}"))[0] == 403


async def test_two_hosts_are_denied(desk):
    host = f"Host: 127.0.0.1:{desk.sandbox.port}"
    assert (await raw(desk, "GET / HTTP/1.1", host, "Host: attacker.example"))[0] in (400, 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://attacker.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        # A page of another port of this machine.
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_other_pages_cannot_act_even_with_the_credentials(desk, headers):
    status, answer = await desk.act("start-session", headers, users=1)
    assert status == 403
    assert answer == {"error": "Other pages cannot use the console"}
    assert desk.sandbox.ledger.rooms == {}


async def test_the_page_itself_can_act(desk):
    headers = {"Origin": desk.url.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert (await desk.act("check", headers))[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_other_pages_may_open_the_console_but_not_read_its_events(desk, site):
    opened = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for path, status in (("", 200), ("console/events", 403), ("console/console.js", 403)):
        async with desk.session.get(desk.url + path, headers=opened) as response:
            assert response.status == status, path
    async with desk.session.get(desk.url, headers={"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "iframe"}) as response:
        assert response.status == 403


@pytest.mark.parametrize(
    "login", [None, "Basic !!!", "Bearer {right}", "Basic {wrong}", "Basic", "Basic {half}", "Basic {recordings}"]
)
async def test_actions_need_the_credentials_of_the_sandbox(desk, login):
    forms = {
        "right": f"{desk.sandbox.app_id}:{KEY}",
        "wrong": f"{desk.sandbox.app_id}:{KEY[:-1]}",
        "half": KEY,
        "recordings": ":".join(desk.sandbox.recording_auth),
    }
    encoded = {name: base64.b64encode(form.encode()).decode() for name, form in forms.items()}
    headers = {} if login is None else {"Authorization": login.format(**encoded)}
    async with desk.session.post(f"{desk.url}console/actions/clear", json={}, headers=headers) as response:
        assert response.status == 401
        # A browser that is asked by this header would send the credentials on its own from then on.
        assert "WWW-Authenticate" not in response.headers


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_actions_are_json_which_a_page_elsewhere_cannot_send(desk, kind):
    headers = {**desk.login, "Content-Type": kind}
    async with desk.session.post(f"{desk.url}console/actions/check", data=b"{}", headers=headers) as response:
        assert response.status == 415


async def test_preflight_requests_are_denied(desk):
    async with desk.session.options(f"{desk.url}console/actions/check", headers=desk.login) as response:
        assert response.status == 405
        assert not [name for name in response.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "", 405),
        ("DELETE", "console/events", 405),
        ("GET", "console/actions/clear", 405),
        ("GET", "console/missing", 404),
        ("HEAD", "", 200),
        ("HEAD", "console/events", 200),
    ],
)
async def test_other_methods_and_paths_are_denied(desk, method, path, status):
    async with desk.session.request(method, desk.url + path) as response:
        assert response.status == status


@pytest.mark.parametrize("path", ["/console/../server.py", "/console/%2e%2e/server.py", "/console//etc/passwd"])
async def test_only_the_files_of_the_page_are_served(desk, path):
    status, _ = await raw(desk, f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{desk.sandbox.port}")
    assert status in (401, 404)


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"null", b"[" * 5000, b'{"a":' * 5000])
async def test_body_that_is_not_an_object_is_denied(desk, body):
    headers = {**desk.login, "Content-Type": "application/json"}
    async with desk.session.post(f"{desk.url}console/actions/check", data=body, headers=headers) as response:
        assert response.status == 400
        assert "not a JSON object" in (await response.json())["error"]


async def test_large_body_is_denied_unread(desk):
    headers = {**desk.login, "Content-Type": "application/json"}
    async with desk.session.post(f"{desk.url}console/actions/check", data=b" " * 300_000, headers=headers) as response:
        assert response.status == 413


async def test_body_that_cannot_be_decoded_is_denied(desk):
    login = base64.b64encode(f"{desk.sandbox.app_id}:{KEY}".encode()).decode()
    lines = (f"Host: 127.0.0.1:{desk.sandbox.port}", f"Authorization: Basic {login}", "Content-Type: application/json")
    head = ("POST /console/actions/check HTTP/1.1", *lines, "Content-Encoding: gzip")
    assert (await raw(desk, *head, body=b"{}"))[0] == 400


async def test_client_that_leaves_within_a_body_is_no_error(desk, caplog):
    login = base64.b64encode(f"{desk.sandbox.app_id}:{KEY}".encode()).decode()
    _, writer = await asyncio.open_connection("127.0.0.1", desk.sandbox.port)
    head = f"POST /console/actions/clear HTTP/1.1\r\nHost: 127.0.0.1:{desk.sandbox.port}\r\n"
    head += f"Authorization: Basic {login}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    writer.write(head.encode())
    await writer.drain()
    # Until the action waits for the rest.
    assert (await desk.act("check"))[0] == 200
    writer.close()
    await writer.wait_closed()
    assert (await desk.act("check"))[0] == 200
    await desk.sandbox.aclose()
    assert [record.message for record in caplog.records if record.name == "aiohttp.server"] == []


async def test_nothing_that_is_served_has_a_secret_or_a_token(desk):
    room_id = await desk.room(f"named {KEY}")
    token = (await desk.call("POST", f"/rooms/{room_id}/tokens", {"name": KEY, "user_ref": "u", "role": "moderator"}))[
        "token"
    ]
    await desk.call("GET", f"/rooms/{KEY}?key={KEY}&password={PASSWORD}")
    await desk.call("GET", f"/rooms/{PASSWORD}/users")
    await desk.call("GET", "/dialin")
    desk.sandbox.join(token)
    desk.sandbox.conference(room_id, recorded=True)
    desk.sandbox.leave(token)
    events = await desk.events()
    await events.until(lambda events: events.answered(5))
    await desk.room()
    await events.until(lambda events: events.answered(6))
    served = bytes(events.raw)
    for path in READABLE:
        async with desk.session.get(desk.url + path) as response:
            served += await response.read()
    for action, values in {
        "check": {},
        "start-session": {"users": 1},
        "conference": {"users": 1, "minutes": 1},
        "end-session": {"room_id": KEY},
        "clear": {},
    }.items():
        served += json.dumps(await desk.act(action, **values)).encode()
    token_id = json.loads(base64.b64decode(token))["tokenId"]
    for secret in (KEY, PASSWORD, token, token[20:60], token_id, base64.b64encode(KEY.encode()).decode()):
        assert secret.encode() not in served
    assert events.state["tokens"]["rows"][0]["token"] == f"…{token_id[-6:]}"
    assert events.requests[3]["path"] == "/video/v2/rooms/•••"
    assert events.hello["app_id"] == desk.sandbox.app_id


async def test_console_is_served_over_tls_too(open_desk):
    desk = await open_desk(tls=True)
    context = ssl.create_default_context(cafile=desk.sandbox.ca_file)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        async with session.get(desk.url) as response:
            assert (response.status, response.url.scheme) == (200, "https")
        for origin, status in ((desk.url.rstrip("/"), 200), (desk.url.rstrip("/").replace("https", "http"), 403)):
            url, headers = f"{desk.url}console/actions/check", {**desk.login, "Origin": origin}
            async with session.post(url, json={}, headers=headers) as response:
                assert response.status == status


@pytest.mark.parametrize(
    ("origin", "host", "served"),
    [
        ("http://[::1]:8080", "[::1]:8080", True),
        ("http://127.0.0.2:8080", "127.0.0.2:8080", True),
        ("http://127.0.0.1:8080", "127.0.0.2:8080", False),
        ("http://127.0.0.1:80", "localhost", True),
        ("https://127.0.0.1:443", "localhost", True),
        ("https://127.0.0.1:80", "localhost", False),
        ("http://127.0.0.1:8080", "localhost", False),
    ],
)
def test_hosts_of_an_origin(origin, host, served):
    assert (host in Access(origin, "id", KEY).hosts()) == served


def test_repr_contains_no_secrets():
    assert KEY not in repr(Access("http://127.0.0.1:1", "id", KEY))
