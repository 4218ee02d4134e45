"""Which URLs files may be fetched from."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoapi.downloads.host_policy import HostPolicy, parse_url
from videoapi.errors import ConfigurationError, DownloadFailed
from videoapi.protocol.redaction import redact_url
from videoapi.transport.resolver import is_public

API = "https://api.example.com"


def policy(*hosts: str, origin: str = API, http: bool = False) -> HostPolicy:
    return HostPolicy.of(origin, hosts, http=http)


@pytest.mark.parametrize(
    ("hosts", "url", "public_only"),
    [
        ((), "https://api.example.com/x", False),
        ((), "https://API.example.com.:443/x?sig=%2B", False),
        (("files.example.net",), "https://files.example.net/x", False),
        (("files.example.net",), "https://files.example.net:8443/x", False),
        (("files.example.net:8443",), "https://files.example.net:8443/x", False),
        (("Files.Example.net",), "https://files.example.NET/x", False),
        (("10.0.0.7",), "https://10.0.0.7/x", False),
        (("::1",), "http://[::1]:9000/x", False),
        (("[::1]:9000",), "https://[::1]:9000/x", False),
        (("localhost",), "http://localhost:9000/x", False),
        (("127.0.0.1:80",), "http://127.0.0.1/x", False),
        ((".example.net",), "https://a.b.example.net/x", True),
        ((".example.net", "a.example.net"), "https://a.example.net/x", False),
        (("bücher.example",), "https://xn--bcher-kva.example/x", False),
    ],
)
def test_url_on_a_listed_host_is_allowed(hosts: tuple[str, ...], url: str, public_only: bool) -> None:
    assert policy(*hosts).check(parse_url(url)) is public_only


REFUSED = [
    ((), "https://127.0.0.1/x"),
    ((), "https://169.254.169.254/latest"),
    ((), "http://[::1]/x"),
    ((), "https://0x7f.1/x"),
    ((), "https://2130706433/x"),
    ((), "https://localhost./x"),
    ((), "https://[::ffff:127.0.0.1]/x"),
    ((), "https://api.example.com:8443/x"),
    ((), "http://api.example.com/x"),
    ((), "https://api.example.com@evil.example/x"),
    ((), "https://evil.example/api.example.com"),
    ((), "https://user:canary@api.example.com/x"),
    ((), "ftp://api.example.com/x"),
    ((), "file://api.example.com/etc/passwd"),
    ((".example.net",), "https://example.net/x"),
    ((".example.net",), "https://evilexample.net/x"),
    ((".example.net",), "https://example.net.evil.example/x"),
    ((".example.net",), "https://a.example.net:8443/x"),
    ((".example.net",), "http://a.example.net/x"),
    ((".0.0.1",), "https://127.0.0.1/x"),
    (("files.example.net",), "http://files.example.net/x"),
    (("files.example.net:8443",), "https://files.example.net/x"),
]


@pytest.mark.parametrize(("hosts", "url"), REFUSED)
def test_any_other_url_is_rejected(hosts: tuple[str, ...], url: str) -> None:
    with pytest.raises(DownloadFailed) as caught:
        policy(*hosts).check(parse_url(url))
    assert caught.value.reason == "host"
    assert "canary" not in str(caught.value)


def test_error_names_the_option_and_the_value_to_add() -> None:
    with pytest.raises(DownloadFailed, match=r"recording_hosts=\['files.example.net:8443'\]"):
        policy().check(parse_url("https://files.example.net:8443/x?sig=canary"))


def test_plain_http_beyond_loopback_requires_allow_http() -> None:
    url = parse_url("http://files.example.net/x")
    with pytest.raises(DownloadFailed, match="allow_http="):
        policy("files.example.net").check(url)
    assert policy("files.example.net", http=True).check(url) is False


def test_vendor_domain_is_allowed_if_the_api_is_below_it() -> None:
    url = parse_url("https://portal.enablex.io/x")
    assert policy(origin="https://api.enablex.io").check(url) is True
    with pytest.raises(DownloadFailed):
        policy().check(url)
    with pytest.raises(DownloadFailed):
        policy(origin="https://api.evilenablex.io").check(url)


@pytest.mark.parametrize("text", ["", "x", "//h/x", "https://", "https:///x", "https://h:99999/x", "https://h\\@e/x"])
def test_invalid_url_is_rejected(text: str) -> None:
    with pytest.raises(DownloadFailed) as caught:
        parse_url(text)
    assert caught.value.reason == "host"


@pytest.mark.parametrize("text", ["https://h /x", "https://h\n.x/", "https://h%00/x", "https://h<x>/", "https://a,b/"])
def test_host_with_invalid_characters_is_rejected(text: str) -> None:
    with pytest.raises(DownloadFailed):
        parse_url(text)


def test_signed_url_is_preserved_byte_for_byte() -> None:
    text = "https://h.example/a%2Fb/%7Ec+d?sig=a%2Bb%20c+d&x=%e4"
    assert str(parse_url(text)) == text


def test_redacted_url_has_no_user_query_or_fragment() -> None:
    url = parse_url("https://canary:canary@[::1]:8443/a/b.mp4?sig=canary#canary")
    assert redact_url(url) == "https://[::1]:8443/a/b.mp4"


@pytest.mark.parametrize("host", ["", ".", "..", ".exa mple", "a b", "h:99999", "u@h", "h/x", "https://h", "*"])
def test_invalid_host_is_rejected(host: str) -> None:
    with pytest.raises(ConfigurationError):
        policy(host)


INTERNAL = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "198.18.0.1",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00::1",
    "fec0::1",
    "ff02::1",
    "::ffff:8.8.8.8",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001:0:1::1",
    "2001:db8::1",
    "::8.8.8.8",
    "nonsense",
    "127.1",
]


@pytest.mark.parametrize("address", INTERNAL)
def test_internal_address_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::1"])
def test_public_address_is_recognized(address: str) -> None:
    assert is_public(address)


@given(st.text() | st.text("https://[]:@.%\\?#a1é \n\0", max_size=40).map("https://".__add__))
def test_any_text_is_parsed_or_rejected(text: str) -> None:
    with suppress(DownloadFailed):
        url = parse_url(text)
        assert url.host
        policy(".a").check(url)
