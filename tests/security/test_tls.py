"""Certificates are always verified; nothing in the package can disable it."""

from __future__ import annotations

import ast
import datetime
import ssl
from pathlib import Path

import pytest
import trustme
from support.server import ROOM_ID, Link, answer, repeating, room, serve

import videoapi
from videoapi import (
    AttemptEvent,
    CallEvent,
    CallStarted,
    ConfigurationError,
    ConnectionFailed,
    RetryPolicy,
    VideoClient,
)

EAGER = RetryPolicy(base=0)
PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


def context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(served)
    return served


async def test_ca_file_is_trusted(authority: trustme.CA, ca_file: str) -> None:
    async with serve(repeating(answer(200, room())), tls=context(authority.issue_cert("127.0.0.1"))) as server:
        async with VideoClient("id", "key", server.base_url, ca_file=ca_file) as client:
            assert (await client.rooms.get(ROOM_ID)).room_id == ROOM_ID


@pytest.mark.parametrize(
    ("fault", "reason", "advised"),
    [
        ("unknown-authority", "unable to get local issuer certificate", True),
        ("wrong-host", "IP address mismatch, certificate is not valid for '127.0.0.1'", False),
        ("expired", "certificate has expired", False),
    ],
)
async def test_untrusted_certificate_fails_the_call_without_retry(
    authority: trustme.CA, ca_file: str, fault: str, reason: str, advised: bool
) -> None:
    certificate = {
        "unknown-authority": lambda: trustme.CA().issue_cert("127.0.0.1"),
        "wrong-host": lambda: authority.issue_cert("api.example.com"),
        "expired": lambda: authority.issue_cert("127.0.0.1", not_after=PAST),
    }[fault]()
    async with serve(repeating(answer(200, room())), tls=context(certificate)) as server:
        events: list[object] = []
        client = VideoClient("id", "key", server.base_url, ca_file=ca_file, retry=EAGER, listeners=[events.append])
        async with client:
            with pytest.raises(ConnectionFailed) as failed:
                await client.rooms.create(name="Stand-up")
        assert [type(event) for event in events] == [CallStarted, AttemptEvent, CallEvent]
        assert server.requests == []
    # The words of OpenSSL; `ca_file=` only where it helps.
    assert f"TLS verification failed for 127.0.0.1:{server.port}: {reason}. Not sent." in str(failed.value)
    assert ("ca_file=" in str(failed.value)) == advised
    assert not failed.value.may_have_executed
    assert not failed.value.retryable
    assert failed.value.attempts == 1


async def test_private_ca_is_not_trusted_without_ca_file(authority: trustme.CA) -> None:
    async with serve(repeating(answer(200, room())), tls=context(authority.issue_cert("127.0.0.1"))) as server:
        async with VideoClient("id", "key", server.base_url, retry=EAGER) as client:
            with pytest.raises(ConnectionFailed, match=r"unable to get local issuer certificate\. .*ca_file="):
                await client.rooms.get(ROOM_ID)
        assert server.requests == []


async def test_tls_is_not_downgraded_when_the_server_speaks_plain_text(ca_file: str) -> None:
    received = bytearray()

    async def plain(link: Link) -> None:
        received.extend(await link.reader.read(100))
        link.answer(400)
        await link.gone()

    async with serve(plain) as server:
        base = server.base_url.replace("http://", "https://")
        async with VideoClient("id", "key", base, ca_file=ca_file, retry=RetryPolicy(attempts=1)) as client:
            with pytest.raises(ConnectionFailed) as failed:
                await client.rooms.create(name="Stand-up")
        assert server.accepted == 1
    assert not failed.value.may_have_executed
    assert received[0] == 0x16


def test_unreadable_ca_file_is_rejected_by_name(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    for path in (empty, tmp_path / "missing.pem"):
        with pytest.raises(ConfigurationError, match=path.name):
            VideoClient("id", "key", "https://api.example.com", ca_file=str(path))


SOURCES = sorted(Path(videoapi.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_package_never_disables_tls_verification(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword) and node.arg in ("ssl", "verify_ssl", "check_hostname"):
            assert not (isinstance(node.value, ast.Constant) and node.value.value is False), node.lineno
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("CERT_NONE", "CERT_OPTIONAL", "_create_unverified_context"), node.lineno
            assert not (node.attr == "check_hostname" and isinstance(node.ctx, ast.Store)), node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_package_bounds_body_reads_and_follows_no_redirects(path: Path) -> None:
    if "sandbox" in path.parts:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "allow_redirects":
            assert isinstance(node.value, ast.Constant), node.lineno
            assert node.value.value is False, node.lineno
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and "response" in node.value.id:
            assert node.attr not in ("json", "text", "read"), node.lineno
