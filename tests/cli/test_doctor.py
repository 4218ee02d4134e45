"""`videoapi doctor` names the first thing that is wrong, says what to do, never hangs, and prints no key."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from email.utils import format_datetime
from inspect import signature
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from click.testing import CliRunner
from support.clients import APP_ID, APP_KEY
from support.server import Link, Seen, answer, repeating, serve

from videoapi.cli import exit_codes
from videoapi.cli.app import videoapi
from videoapi.cli.doctor import diagnosis, report
from videoapi.cli.doctor.diagnosis import STEPS, CheckStep, print_check
from videoapi.sandbox import Sandbox

PASSWORD = "CanaryProxyPassword"
DIALIN = {"_id": "x", "dialin": [{"country": "India", "country_code": "91", "phone": "1", "toll": True}]}
REFUSED = {"result": 10000, "error": "[Reason] Application not found", "desc": ""}
DOCS = Path(__file__).parents[2] / "docs/reference/command-line.md"
QUICK = ("--timeout", "3")


@attrs.frozen
class Report:
    """What `videoapi doctor --json` printed."""

    document: dict[str, Any]
    exit_code: int

    def __getitem__(self, name: str) -> dict[str, Any]:
        (check,) = (check for check in self.document["checks"] if check["name"] == name)
        return dict(check)

    @property
    def statuses(self) -> dict[str, str]:
        return {check["name"]: check["status"] for check in self.document["checks"]}

    def assert_first_failure(self, name: str) -> dict[str, Any]:
        """Assert that a check failed first, with a reason, a remedy and its exit code; return it."""
        check = self[name]
        assert self.document["failed"] == name, self.document["checks"]
        assert self.exit_code == self.document["exit_code"] == exit_codes.DOCTOR[name]
        assert check["text"]
        assert check["remedy"]
        return check

    def assert_rest_is_skipped(self, name: str, *, but: tuple[str, ...] = ()) -> None:
        """Assert that all checks after a failed one were skipped because of it."""
        checks = self.document["checks"]
        place = [check["name"] for check in checks].index(name)
        for check in checks[place + 1 :]:
            if check["name"] not in but:
                assert (check["status"], check["because_of"]) == ("skipped", name), check
                assert check["text"] == f"because {report.label(name)} failed"


Doctor = Callable[..., Awaitable[Report]]


def invoke(*arguments: str) -> tuple[int, str, str]:
    options: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
    result = CliRunner(**options).invoke(videoapi, ["doctor", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """A function that runs the command with a base URL and canary credentials; no secret may be in its output."""
    for name in list(os.environ):
        if name.startswith("VIDEOAPI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)

    async def run(base_url: str | None, *arguments: str, **variables: str | None) -> Report:
        environment = {"VIDEOAPI_APP_ID": APP_ID, "VIDEOAPI_APP_KEY": APP_KEY, "VIDEOAPI_BASE_URL": base_url}
        for name, value in (environment | variables).items():
            if value is not None:
                monkeypatch.setenv(name, value)
        try:
            code, stdout, stderr = await asyncio.to_thread(invoke, *arguments, "--json")
        finally:
            for name in environment | variables:
                monkeypatch.delenv(name, raising=False)
        for secret in (APP_KEY, PASSWORD, APP_ID):
            assert secret not in stdout + stderr
        return Report(json.loads(stdout), code)

    return run


def dated(status: int = 200, body: object = DIALIN, *, ahead: float = 0, **headers: str) -> bytes:
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=ahead)
    return answer(status, body, {"Date": format_datetime(now, usegmt=True), **headers})


def secured(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


def closed_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Listen with a full backlog, so that further SYNs get no reply."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        place = listening.getsockname()
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(place)
        yield place[1]


async def silent(link: Link) -> None:
    await link.gone()


async def never_answers(link: Link) -> None:
    await link.request()
    await link.gone()


async def test_good_set_up_passes_every_check(doctor: Doctor) -> None:
    with Sandbox(seed=7).in_thread() as sandbox:
        variables = {"VIDEOAPI_APP_ID": sandbox.app_id, "VIDEOAPI_APP_KEY": sandbox.app_key}
        report = await doctor(sandbox.base_url, **variables)
        # One read and five more for latency; nothing else was requested, and nothing was changed.
        assert sandbox.ledger.requests() == sandbox.ledger.requests("dialin.get") == 6
    assert report.exit_code == 0
    assert report.document["ok"]
    assert set(report.statuses.values()) == {"ok", "skipped"}
    assert {name for name, status in report.statuses.items() if status == "skipped"} == {
        "sharing",
        "profile",
        "dns",
        "proxy",
        "tls",
    }
    assert report["fast_path"]["facts"] == {"active": True}
    facts = report["latency"]["facts"]
    assert facts["failed"] == 0
    assert 0 < facts["min"] <= facts["median"] <= facts["max"]
    assert {"videoapi", "python", "aiohttp", "msgspec", "openssl", "os"} == set(report["versions"]["facts"])


async def test_lines_have_marks_in_words_and_no_secrets(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(repeating(dated(401, REFUSED))) as server:
        monkeypatch.setenv("VIDEOAPI_BASE_URL", server.base_url)
        monkeypatch.setenv("VIDEOAPI_APP_ID", APP_ID)
        monkeypatch.setenv("VIDEOAPI_APP_KEY", APP_KEY)
        code, stdout, stderr = await asyncio.to_thread(invoke)
    assert code == exit_codes.DOCTOR["credentials"]
    assert stderr == ""
    assert "\x1b" not in stdout
    *lines, last = stdout.splitlines()
    marks = [line.split()[0] for line in lines]
    assert len([mark for mark in marks if mark in ("ok", "warn", "FAIL", "skipped")]) == len(STEPS)
    assert marks.count("->") == 1
    assert marks[marks.index("->") - 1] == "FAIL"
    assert last == "Failed: credentials (exit code 21), no warnings."
    assert f"APP_ID {APP_ID[:3]}*** (VIDEOAPI_APP_ID), APP_KEY (set, {len(APP_KEY)} characters)" in stdout
    assert APP_KEY not in stdout
    assert APP_ID not in stdout


async def test_tls_is_reported_with_chain_and_expiry(doctor: Doctor, authority: trustme.CA, ca_file: str) -> None:
    async with serve(repeating(dated()), tls=secured(authority.issue_cert("127.0.0.1"))) as server:
        report = await doctor(server.base_url, "--ca-file", ca_file)
    assert report.exit_code == 0, report.document
    facts = report["tls"]["facts"]
    assert facts["version"].startswith("TLSv1.3")
    assert len(facts["chain"]) == 2
    assert facts["chain"][-1].startswith("Testing CA")
    assert facts["days_left"] > 14
    assert f"valid for {facts['days_left']} more days" in report["tls"]["text"]


async def test_certificate_that_expires_soon_is_a_warning(doctor: Doctor, authority: trustme.CA, ca_file: str) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3, hours=1)
    async with serve(repeating(dated()), tls=secured(authority.issue_cert("127.0.0.1", not_after=soon))) as server:
        report = await doctor(server.base_url, "--ca-file", ca_file)
    assert report.exit_code == 0
    assert report["tls"]["status"] == "warn"
    assert report["tls"]["facts"]["days_left"] == 3


PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("fault", "reason", "remedy"),
    [
        ("unknown authority", "unable to get local issuer certificate", "--ca-file"),
        ("another CA file", "unable to get local issuer certificate", "lacks the authority that issued it"),
        ("expired", "certificate has expired", "must renew it, unless this machine's clock is wrong"),
        ("wrong host", "certificate is not valid for '127.0.0.1'", "Check the host name in the base URL"),
    ],
)
async def test_certificate_that_is_not_accepted(
    doctor: Doctor, authority: trustme.CA, ca_file: str, fault: str, reason: str, remedy: str
) -> None:
    certificate = {
        "unknown authority": lambda: authority.issue_cert("127.0.0.1"),
        "another CA file": lambda: trustme.CA().issue_cert("127.0.0.1"),
        "expired": lambda: authority.issue_cert("127.0.0.1", not_after=PAST),
        "wrong host": lambda: authority.issue_cert("api.example.com"),
    }[fault]()
    options = () if fault == "unknown authority" else ("--ca-file", ca_file)
    async with serve(repeating(dated()), tls=secured(certificate)) as server:
        report = await doctor(server.base_url, *options)
        assert server.requests == []
    check = report.assert_first_failure("tls")
    assert reason in check["text"]
    assert remedy in check["remedy"]
    report.assert_rest_is_skipped("tls")


async def test_stalled_handshake_ends_and_is_named(doctor: Doctor) -> None:
    async with serve(silent) as server:
        report = await doctor(server.base_url.replace("http:", "https:"), *QUICK)
    check = report.assert_first_failure("tls")
    assert "does not complete the TLS handshake" in check["text"]
    assert "connect_timeout" not in check["text"]
    assert report["tcp"]["status"] == "ok"


async def test_plain_server_under_https_is_named(doctor: Doctor) -> None:
    async def plain(link: Link) -> None:
        await link.reader.read(10)
        link.answer(400)
        await link.drain()

    async with serve(plain) as server:
        report = await doctor(server.base_url.replace("http:", "https:"))
    assert "Does the port serve TLS?" in report.assert_first_failure("tls")["remedy"]


async def test_refused_connection_names_host_port_and_reason(doctor: Doctor) -> None:
    port = closed_port()
    report = await doctor(f"https://127.0.0.1:{port}/video/v2")
    check = report.assert_first_failure("tcp")
    assert f"127.0.0.1:{port}: Connection refused (errno 111)" in check["text"]
    report.assert_rest_is_skipped("tcp")


async def test_packets_that_vanish_are_named_in_bounded_time(doctor: Doctor) -> None:
    with black_hole() as port:
        report = await doctor(f"https://127.0.0.1:{port}/video/v2", *QUICK, HTTPS_PROXY="http://proxy:3128")
    check = report.assert_first_failure("tcp")
    assert "no answer within 0.5 s" in check["text"]
    assert "A firewall may drop packets" in check["remedy"]
    # What other programs use is a hint, and is not used.
    assert "HTTPS_PROXY is set, but not used" in check["remedy"]


async def test_unknown_name(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    report = await doctor("https://api.videoapi.test/video/v2")
    check = report.assert_first_failure("dns")
    assert check["text"] == "cannot resolve api.videoapi.test: Name or service not known"
    assert "VIDEOAPI_BASE_URL" in check["remedy"]
    report.assert_rest_is_skipped("dns")


async def test_some_dead_addresses_are_a_warning(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(repeating(dated())) as server:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, server.port)) for host in ("127.0.0.1", "127.0.0.9")
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: found)
        report = await doctor(f"http://api.videoapi.test:{server.port}/video/v2", VIDEOAPI_ALLOW_HTTP="1")
    assert report.exit_code == 0
    assert report["dns"]["facts"]["addresses"] == ["127.0.0.1", "127.0.0.9"]
    assert report["tcp"]["status"] == "warn"
    assert "1 of 2 addresses do not accept connections (127.0.0.9: Connection refused" in report["tcp"]["text"]
    assert "unencrypted" in report["base_url"]["remedy"]


async def test_silent_name_server_ends_in_bounded_time(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: released.wait(60))
    try:
        async with asyncio.timeout(20):
            report = await doctor("https://api.videoapi.test/video/v2", *QUICK)
    finally:
        released.set()
    assert "no answer from DNS within 0.5 s" in report.assert_first_failure("dns")["text"]


HANGING = """
import socket, sys, time
from videoapi.cli import main
socket.getaddrinfo = lambda *arguments, **options: time.sleep(600)
sys.argv[1:] = ["doctor", "--timeout", "1"]
main()
"""


@pytest.mark.slow
def test_process_ends_while_the_name_server_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOAPI_BASE_URL", "https://api.videoapi.test/video/v2")
    monkeypatch.delenv("VIDEOAPI_PROXY", raising=False)
    ended = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=45, check=False)
    assert ended.returncode == exit_codes.DOCTOR["account"]
    assert "no answer from DNS" in ended.stdout
    assert ended.stderr == ""


async def test_server_that_never_answers(doctor: Doctor) -> None:
    async with serve(never_answers) as server:
        report = await doctor(server.base_url, *QUICK)
    check = report.assert_first_failure("response")
    assert f"no complete response from 127.0.0.1:{server.port} within 1 s" in check["text"]
    report.assert_rest_is_skipped("response")


async def test_server_that_hangs_up(doctor: Doctor) -> None:
    async def hang_up(link: Link) -> None:
        await link.request()

    async with serve(hang_up) as server:
        report = await doctor(server.base_url)
    assert "closed the connection before responding" in report.assert_first_failure("response")["text"]


async def test_wrong_credentials(doctor: Doctor) -> None:
    async with serve(repeating(dated(401, REFUSED))) as server:
        report = await doctor(server.base_url, VIDEOAPI_APP_ID="i" * 36, VIDEOAPI_APP_KEY="k" * 24)
    check = report.assert_first_failure("credentials")
    assert check["text"] == "Application not found (HTTP 401, code 10000)"
    assert "seem to be swapped" in check["remedy"]
    assert report["response"]["status"] == report["version_directory"]["status"] == "ok"
    report.assert_rest_is_skipped("credentials")


async def test_redirect_is_not_followed_and_named(doctor: Doctor) -> None:
    moved = {"Location": "https://other.example.com/video/v2/dialin/?secret=1"}
    async with serve(repeating(answer(301, b"", moved))) as server:
        report = await doctor(server.base_url)
        assert len(server.requests) == 1
    check = report.assert_first_failure("response")
    assert check["text"] == "unexpected redirect to https://other.example.com/video/v2/dialin/ (HTTP 301)"
    assert "Redirects are not followed" in check["remedy"]


async def test_page_of_a_portal(doctor: Doctor) -> None:
    async with serve(repeating(dated(200, b"<html>Sign in</html>", **{"Content-Type": "text/html"}))) as server:
        report = await doctor(server.base_url)
    check = report.assert_first_failure("response")
    assert "requires a sign-in" in check["remedy"]
    assert report["clock"]["status"] == "ok"


@pytest.mark.parametrize(
    ("status", "headers", "remedy"),
    [
        (503, {}, "give the operator of the service the time"),
        (429, {"Retry-After": "7"}, "run doctor again in 7 s"),
        (511, {}, "sign in to this network"),
    ],
)
async def test_service_that_does_not_serve(doctor: Doctor, status: int, headers: dict[str, str], remedy: str) -> None:
    async with serve(repeating(dated(status, b"", **headers))) as server:
        report = await doctor(server.base_url)
    check = report.assert_first_failure("response")
    assert f"HTTP {status}" in check["text"]
    assert remedy in check["remedy"]


async def test_any_json_object_is_not_taken_for_the_service(doctor: Doctor) -> None:
    async with serve(repeating(dated(200, {"status": "fine"}))) as server:
        report = await doctor(server.base_url)
    assert report["response"]["facts"]["route"] == "GET /rooms"
    report.assert_first_failure("response")


async def test_refusal_without_a_result_code_may_be_of_a_gateway(doctor: Doctor) -> None:
    async with serve(repeating(dated(401, b"<html>Who are you?</html>"))) as server:
        report = await doctor(server.base_url)
    assert "it may be something else" in report["version_directory"]["text"]
    report.assert_first_failure("credentials")


async def test_key_in_a_wrong_variable_is_not_printed(doctor: Doctor) -> None:
    # The fixture looks for the key in the output.
    report = await doctor(f"https://127.0.0.1:{closed_port()}/{APP_KEY}/v2", VIDEOAPI_PROFILE=APP_KEY)
    assert report["variables"]["facts"]["found"]["VIDEOAPI_PROFILE"] == "***"
    report = await doctor(f"https://{APP_KEY}.invalid/video/v2")
    assert APP_KEY.lower() not in str(report.document).lower()


@pytest.mark.parametrize(
    "key", ['Quote"And\\Backslash-0123456789', "Schlüssel-mit-Umlaut-äöü", "DEL\x7fete-0123456789"]
)
async def test_key_that_json_writes_in_another_way_is_not_printed(doctor: Doctor, key: str) -> None:
    report = await doctor("https://127.0.0.1:1/video/v2", VIDEOAPI_PROFILE=key, VIDEOAPI_APP_KEY=key)
    assert report["variables"]["facts"]["found"]["VIDEOAPI_PROFILE"] == "***"
    assert key not in str(report.document)
    assert key not in json.dumps(report.document, ensure_ascii=False)


def test_key_that_is_wrapped_over_two_lines_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    key = "two words of a password"
    check = report.Check(name="tcp", status="fail", text=f"{'x ' * 30}{key}", remedy=f"{'y ' * 30}{key}")
    print_check(check, lambda text: text.replace(key, "***"))
    printed = capsys.readouterr().out
    assert "password" not in printed
    assert printed.count("***") == 2


async def test_base_url_without_version_directory(doctor: Doctor) -> None:
    async with serve(repeating(dated(404, b"<html>not here</html>"))) as server:
        report = await doctor(server.origin)
    assert report["base_url"]["status"] == "warn"
    assert f"{server.origin}/video/v2" in report["base_url"]["remedy"]
    check = report.assert_first_failure("version_directory")
    assert check["text"] == "/ does not have the Video API (HTTP 404)"
    assert f"{server.origin}/video/v2" in check["remedy"]


async def test_service_without_dial_in_route_is_read_another_way(doctor: Doctor) -> None:
    async def older(link: Link) -> None:
        while True:
            seen = await link.request()
            missing = seen.target.endswith("/dialin/")
            link.send(dated(404, b"") if missing else dated(200, {"result": 0, "rooms": []}))
            await link.drain()

    async with serve(older) as server:
        report = await doctor(server.base_url)
        targets = [seen.target for seen in server.requests]
    assert report.exit_code == 0, report.document
    assert report["credentials"]["text"] == "accepted for GET /rooms"
    assert targets == ["/video/v2/dialin/", *["/video/v2/rooms"] * 6]


@pytest.mark.parametrize(
    ("ahead", "status", "words"),
    [
        (3_600, "fail", "this machine's clock is 60 minutes slow"),
        (-10_800, "fail", "this machine's clock is 3.0 hours fast"),
        (90, "warn", " s slow"),
        (5, "ok", "agrees with the Date"),
    ],
)
async def test_clock_is_compared_with_the_date_header(doctor: Doctor, ahead: float, status: str, words: str) -> None:
    async with serve(repeating(dated(ahead=ahead))) as server:
        report = await doctor(server.base_url)
    assert report["clock"]["status"] == status
    assert words in report["clock"]["text"]
    assert report["clock"]["facts"]["skew"] == pytest.approx(ahead, abs=5)
    # Later checks do not depend on the clock.
    assert report["credentials"]["status"] == "ok"
    if status == "fail":
        assert "NTP" in report.assert_first_failure("clock")["remedy"]
    else:
        assert report.exit_code == 0


@pytest.mark.parametrize("headers", [{}, {"Date": "yesterday"}, {"Date": "Thu, 01 Jan 2026 00:00:00 GMT", "Age": "9"}])
async def test_clock_is_not_compared_without_a_fresh_date(doctor: Doctor, headers: dict[str, str]) -> None:
    async with serve(repeating(answer(200, DIALIN, headers))) as server:
        report = await doctor(server.base_url)
    assert report["clock"]["status"] == "skipped"
    assert report.exit_code == 0


@contextlib.asynccontextmanager
async def forwarding(status: int = 200, *, hold: bool = False) -> AsyncIterator[tuple[str, list[Seen]]]:
    """Run a proxy that answers CONNECT with a status, or not at all, and forwards what follows."""
    seen: list[Seen] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def script(link: Link) -> None:
        seen.append(await link.request())
        if hold:
            await link.gone()
            return
        link.send(f"HTTP/1.1 {status} Whatever\r\n\r\n".encode())
        await link.drain()
        if status == 200:
            host, _, port = seen[-1].target.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            await asyncio.gather(pipe(link.reader, writer), pipe(reader, link.writer))

    async with serve(script) as server:
        yield server.origin, seen


async def test_proxy_is_used_and_its_password_is_not_shown(doctor: Doctor, authority: trustme.CA, ca_file: str) -> None:
    certificate = secured(authority.issue_cert("127.0.0.1"))
    async with serve(repeating(dated()), tls=certificate) as server, forwarding() as (origin, seen):
        proxy = origin.replace("//", f"//ann:{PASSWORD}@")
        report = await doctor(server.base_url, "--ca-file", ca_file, VIDEOAPI_PROXY=proxy)
        assert {request.method for request in seen} == {"CONNECT"}
    assert report.exit_code == 0, report.document
    assert "opens connections to" in report["proxy"]["text"]
    assert report["tls"]["facts"]["days_left"] > 14
    assert report["settings"]["text"].startswith(f"proxy {origin} (with a user) (VIDEOAPI_PROXY)")
    assert report["fast_path"]["text"] == "not used, as calls go through a proxy"


@pytest.mark.parametrize(("status", "remedy"), [(407, "instead of --proxy"), (403, "Have the proxy permit")])
async def test_proxy_that_refuses(doctor: Doctor, status: int, remedy: str) -> None:
    async with forwarding(status) as (origin, _):
        report = await doctor("https://api.videoapi.test/video/v2", "--proxy", origin)
    check = report.assert_first_failure("proxy")
    assert f"(HTTP {status})" in check["text"]
    assert remedy in check["remedy"]
    report.assert_rest_is_skipped("proxy")


async def test_proxy_that_never_answers(doctor: Doctor) -> None:
    async with forwarding(hold=True) as (origin, _):
        report = await doctor("https://api.videoapi.test/video/v2", *QUICK, VIDEOAPI_PROXY=origin)
    assert "no answer" in report.assert_first_failure("proxy")["text"]


async def test_proxy_that_hangs_up(doctor: Doctor) -> None:
    async def hang_up(link: Link) -> None:
        await link.request()

    async with serve(hang_up) as server:
        report = await doctor("https://api.videoapi.test/video/v2", VIDEOAPI_PROXY=server.origin)
    report.assert_first_failure("proxy")


async def test_untrusted_certificate_seen_through_a_proxy_is_a_fault_of_tls(
    doctor: Doctor, authority: trustme.CA
) -> None:
    certificate = secured(authority.issue_cert("127.0.0.1"))
    async with serve(repeating(dated()), tls=certificate) as server, forwarding() as (origin, _):
        report = await doctor(server.base_url, VIDEOAPI_PROXY=origin)
    assert report["proxy"]["status"] == "ok"
    report.assert_first_failure("tls")


async def test_proxy_that_is_not_there(doctor: Doctor) -> None:
    port = closed_port()
    report = await doctor("https://api.videoapi.test/video/v2", VIDEOAPI_PROXY=f"http://127.0.0.1:{port}")
    check = report.assert_first_failure("tcp")
    assert f"127.0.0.1:{port}" in check["text"]
    assert "the proxy (VIDEOAPI_PROXY)" in check["remedy"]


async def test_missing_credentials_leave_the_network_checked(doctor: Doctor) -> None:
    async with serve(repeating(dated())) as server:
        report = await doctor(server.base_url, VIDEOAPI_APP_KEY=None, VIDEOAPI_APPKEY=APP_KEY)
        assert server.requests == []
    check = report.assert_first_failure("account")
    assert check["text"] == "APP_KEY not set"
    assert "videoapi login" in check["remedy"]
    assert report["tcp"]["status"] == "ok"
    assert report["response"]["because_of"] == "account"
    assert (
        "VIDEOAPI_APPKEY is not a variable of videoapi; did you mean VIDEOAPI_APP_KEY?" in report["variables"]["remedy"]
    )


@pytest.mark.parametrize(
    ("variables", "failed", "words"),
    [
        ({"VIDEOAPI_CA_FILE": "/nonexistent.pem"}, "settings", "No such file"),
        ({"VIDEOAPI_PROXY": f"socks5://ann:{PASSWORD}@host"}, "settings", "Invalid VIDEOAPI_PROXY: "),
        ({"VIDEOAPI_BASE_URL": f"https://ann:{PASSWORD}@host/video/v2"}, "base_url", "no user"),
        ({"VIDEOAPI_BASE_URL": "http://api.example.com/video/v2"}, "base_url", "unencrypted"),
        ({"VIDEOAPI_BASE_URL": f"{PASSWORD}"}, "base_url", "must begin with https://"),
        ({"VIDEOAPI_APP_KEY": f"{APP_KEY}\n"}, "account", "control character"),
        ({"VIDEOAPI_RECORDING_USER": "ann"}, "account", "Set both VIDEOAPI_RECORDING_USER and"),
        ({"VIDEOAPI_PROFILE": "nope"}, "profile", "No profile nope"),
    ],
)
async def test_settings_that_cannot_be_used(doctor: Doctor, variables: dict[str, str], failed: str, words: str) -> None:
    report = await doctor(f"https://127.0.0.1:{closed_port()}/video/v2", **variables)
    assert words in report.assert_first_failure(failed)["text"]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"VIDEOAPI_RATE": "fast"}, "VIDEOAPI_RATE must be a rate"),
        ({"VIDEOAPI_PROCESSES": "0"}, "VIDEOAPI_PROCESSES must be a number"),
        ({"VIDEOAPI_PROCESSES": "9" * 5000}, "VIDEOAPI_PROCESSES must be a number"),
    ],
)
async def test_variables_of_workers_that_are_wrong_are_a_warning(
    doctor: Doctor, variables: dict[str, str], words: str
) -> None:
    report = await doctor(f"https://127.0.0.1:{closed_port()}/video/v2", **variables)
    assert report["sharing"]["status"] == "warn"
    assert words in report["sharing"]["text"]


async def test_url_for_webhooks_is_a_known_variable_shown_without_its_secrets(doctor: Doctor) -> None:
    webhook_url = f"https://ann:{PASSWORD}@example.com/hooks/?key={PASSWORD}"
    report = await doctor(f"https://127.0.0.1:{closed_port()}/video/v2", VIDEOAPI_WEBHOOK_URL=webhook_url)
    assert "VIDEOAPI_WEBHOOK_URL=https://example.com/hooks/" in report["variables"]["text"]
    assert report["variables"]["remedy"] is None
    assert PASSWORD not in report["variables"]["text"]


@pytest.mark.parametrize("value", [f" {APP_KEY}", f'"{APP_KEY}"'])
async def test_spaces_and_quotes_around_a_value_are_noted(doctor: Doctor, value: str) -> None:
    async with serve(repeating(dated())) as server:
        report = await doctor(server.base_url, VIDEOAPI_APP_KEY=value)
    assert report["variables"]["status"] == "warn"
    assert "VIDEOAPI_APP_KEY" in report["variables"]["remedy"]


async def test_unsteady_service_is_a_warning_and_a_dead_one_a_failure(doctor: Doctor) -> None:
    good, bad = dated(), dated(502, b"")
    async with serve(sequence(good, good, bad, good, bad, good)) as server:
        report = await doctor(server.base_url)
    assert report.exit_code == 0
    assert report["latency"]["status"] == "warn"
    assert report["latency"]["facts"]["failed"] == 2
    async with serve(sequence(good, *[bad] * 5)) as server:
        report = await doctor(server.base_url)
    assert "HTTP 502" in report.assert_first_failure("latency")["text"]


def sequence(*answers: bytes) -> Callable[[Link], Awaitable[None]]:
    """Return a script that sends the responses in turn, whatever the connection."""
    left = list(answers)

    async def script(link: Link) -> None:
        while True:
            await link.request()
            link.send(left.pop(0))
            await link.drain()

    return script


async def test_slow_service_is_a_warning_with_its_latency(doctor: Doctor) -> None:
    async def slow(link: Link) -> None:
        while True:
            await link.request()
            await asyncio.sleep(0.7)
            link.send(dated())
            await link.drain()

    async with serve(slow) as server:
        report = await doctor(server.base_url, "--timeout", "12")
    assert report.exit_code == 0
    assert report["latency"]["status"] == "warn"
    assert report["latency"]["facts"]["min"] >= 700
    assert report["latency"]["facts"]["calls"] < 5
    assert "slow" in report["latency"]["remedy"]


async def test_time_limit_covers_all_checks(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(examination: object) -> report.Check:
        await asyncio.sleep(300)
        raise AssertionError

    monkeypatch.setattr(diagnosis, "STEPS", (*STEPS[:-1], CheckStep("latency", endless, STEPS[-1].needs)))
    async with serve(repeating(dated())) as server:
        report = await doctor(server.base_url, "--timeout", "3")
    check = report.assert_first_failure("latency")
    assert "no result within the 3 s of --timeout" in check["text"]
    assert report.document["seconds"] < 30


def test_lines_are_wrapped_on_a_terminal_alone() -> None:
    check = report.Check(name="tls", status="fail", text="word " * 40, remedy="https://" + "x" * 90)
    assert [len(line) > 100 for line in check.lines()] == [True, True]
    *wrapped, remedy = check.lines(80)
    assert all(len(line) <= 80 for line in wrapped)
    assert all(line.startswith(" " * 27) for line in wrapped[1:])
    assert remedy.split() == ["->", check.remedy]


def test_reasons_are_free_of_control_characters() -> None:
    check = report.Check(name="tls", status="fail", text="a\x1b[31mb\u202ec", remedy="d\x07e\nf")
    with CliRunner().isolation() as streams:
        print_check(check)
        shown = streams[0].getvalue().decode()
    assert shown.splitlines() == ["FAIL     TLS               a[31mbc", " " * 27 + "-> de f"]


def test_every_check_that_can_fail_has_a_documented_exit_code() -> None:
    codes = list(exit_codes.DOCTOR.values())
    assert len(set(codes)) == len(codes)
    assert {step.name for step in STEPS} - set(exit_codes.DOCTOR) == {"versions", "variables", "sharing", "fast_path"}
    # Those of other commands mean something else.
    assert min(codes) > 6
    section = DOCS.read_text(encoding="utf-8").split("## Doctor")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \| [^|]+ \| (\d+|never) \|$", section, re.MULTILINE)
    assert [(name, str(exit_codes.DOCTOR.get(name, "never"))) for name, _ in documented] == documented
    assert {name for name, _ in documented} == {step.name for step in STEPS}
    _, shown, _ = invoke("--help")
    assert all(f"{code}  {name.replace('_', ' ')}" in shown for name, code in exit_codes.DOCTOR.items())


@pytest.mark.parametrize("command", ["doctor", "login"])
def test_help_imports_neither_the_client_nor_the_profiles(command: str) -> None:
    heavy = ("aiohttp", "asyncio", "attrs", "msgspec", "tomllib", "videoapi.client", "videoapi.cli.profiles")
    program = (
        "import sys\nfrom videoapi.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"print([name for name in {heavy!r} if name in sys.modules])\n"
    )
    words = [sys.executable, "-c", program, command, "--help"]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_every_check_comes_after_those_it_depends_on() -> None:
    seen: set[str] = set()
    for step in STEPS:
        assert set(step.needs) <= seen
        seen.add(step.name)


async def test_json_report_is_as_documented(doctor: Doctor) -> None:
    report = await doctor(f"https://127.0.0.1:{closed_port()}/video/v2")
    section = DOCS.read_text(encoding="utf-8").split("## Doctor")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `(?:checks\[\]\.)?(\w+)` \| [^|]+ \|$", section, re.MULTILINE))
    assert documented == {*report.document, *report.document["checks"][0]}
