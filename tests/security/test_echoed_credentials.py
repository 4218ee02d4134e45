"""Credentials that a gateway echoes do not appear in errors, events and logs, whole or in part, in any spelling."""

from __future__ import annotations

import base64
import html
import itertools
import json
import logging
import pickle
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clients import ONCE
from support.server import ROOM_ID, Link, answer, repeating, serve

from videoapi import Credentials, Outcome, Request, Send, SessionManager, VideoAPIError, VideoClient, answered
from videoapi.protocol.envelope import printable
from videoapi.protocol.outcome import redirect_reason
from videoapi.protocol.redaction import redact

APP_ID = "a1b2c3d4e5f6"
KEY = "K3y>>>?S3cret/Value???That&Must'Not~~~Show"
BASE64 = base64.b64encode(f"{APP_ID}:{KEY}".encode()).decode()
CREDENTIALS = Credentials(APP_ID, KEY)
SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "quoted": lambda secret: quote(secret, safe=""),
    "quoted in lower case": lambda secret: quote(secret, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    "quoted twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "HTML": html.escape,
    "HTML by numbers": lambda secret: "".join(f"&#x{ord(c):X};" if not c.isalnum() else c for c in secret),
    "HTML in HTML": lambda secret: html.escape(html.escape(secret)),
    "JSON with escaped slashes": lambda secret: secret.replace("/", "\\/"),
    "JSON in JSON": lambda secret: json.dumps(json.dumps(secret.replace("/", "\\/")))[3:-3],
    "JSON by numbers": lambda secret: "".join(f"\\u{ord(c):04x}" if not c.isalnum() else c for c in secret),
    "bytes": lambda secret: "".join(f"\\x{ord(c):02X}" if not c.isalnum() else c for c in secret),
    "base64 for URLs": lambda secret: secret.replace("/", "_").replace("+", "-") if secret == BASE64 else secret,
    "wrapped": lambda secret: "\r\n ".join(textwrap.wrap(secret, 20, break_on_hyphens=False)),
    "wrapped, and quoted": lambda secret: "%0D%0A".join(quote(part, safe="") for part in textwrap.wrap(secret, 20)),
}


def longest_part(secret: str, text: str) -> int:
    """Return the length of the longest part of a secret that a text has, whatever the case."""
    secret, text = secret.lower(), text.lower()
    longest = 0
    for start in range(len(secret)):
        while start + longest < len(secret) and secret[start : start + longest + 1] in text:
            longest += 1
    return longest


def assert_hidden(text: str) -> None:
    for secret in (KEY, BASE64):
        for spell in (str, html.escape, lambda secret: quote(secret, safe=""), lambda secret: quote(secret)):
            assert longest_part(spell(secret), text) < 6, text


async def everything_shown(
    caplog: pytest.LogCaptureFixture, response: bytes, how: str = "get", *, fast: bool = True
) -> str:
    """Return all texts of the error of a call, its events and its log."""
    caplog.set_level(logging.DEBUG)
    events: list[object] = []
    async with serve(repeating(response)) as server, SessionManager(fast_path=fast) as manager:
        options = {"session": manager, "retry": ONCE, "listeners": [events.append], "allow_http": True}
        async with VideoClient(APP_ID, KEY, server.base_url, **options) as client:
            with pytest.raises(VideoAPIError) as failed:
                if how == "get":
                    await client.rooms.get(ROOM_ID)
                elif how == "stream":
                    await client.rooms.list().to_list()
                else:
                    await client.request("GET", "/own", operation="read")
    error = failed.value
    kept = pickle.loads(pickle.dumps(error))
    shown = [str(error), repr(error), repr(vars(error)), repr(vars(kept)), repr(events), caplog.text]
    return "\n".join([*shown, *traceback.format_exception(error)])


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "session"])
@pytest.mark.parametrize("how", ["get", "stream", "custom"])
@pytest.mark.parametrize("status", [200, 400])
async def test_no_part_of_echoed_credentials_is_left_where_a_text_is_cut(
    caplog: pytest.LogCaptureFixture, how: str, status: int, fast: bool
) -> None:
    for secret in (KEY, BASE64):
        texts = {
            name: "x" * (500 - len(secret) + cut) + secret
            for name, cut in (("error", 1), ("desc", 9), ("request_id", len(secret) // 2))
        }
        response = answer(status, {"result": 4001, **texts})
        assert_hidden(await everything_shown(caplog, response, how, fast=fast))


@pytest.mark.parametrize("secret", [KEY, BASE64], ids=["key", "base64"])
async def test_no_part_of_echoed_credentials_is_left_in_the_request_id_header(
    caplog: pytest.LogCaptureFixture, secret: str
) -> None:
    response = answer(400, {}, {"X-Request-Id": "x" * (500 - len(secret) + 1) + secret})
    assert_hidden(await everything_shown(caplog, response))


@pytest.mark.parametrize("length", [0, 140, 170, 180, 198])
@pytest.mark.parametrize("spell", [str, lambda secret: quote(secret, safe="")], ids=["plain", "quoted"])
async def test_no_part_of_echoed_credentials_is_left_in_a_redirect(
    caplog: pytest.LogCaptureFixture, spell: Callable[[str], str], length: int
) -> None:
    for secret in (KEY, BASE64):
        response = answer(302, b"", {"Location": f"/login/{'x' * length}{spell(secret)}"})
        assert_hidden(await everything_shown(caplog, response))


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_echoed_credentials_are_hidden_in_each_spelling(caplog: pytest.LogCaptureFixture, spelling: str) -> None:
    spell = SPELLINGS[spelling]
    for secret in (KEY, BASE64):
        shown = await everything_shown(caplog, answer(400, {"result": 4001, "error": f"before {spell(secret)} after"}))
        assert "before … after" in shown
        assert_hidden(shown)


@pytest.mark.parametrize("credentials", [CREDENTIALS, None])
async def test_a_middleware_that_answers_with_the_response_hides_credentials(credentials: Credentials | None) -> None:
    async def again(request: Request, send: Send) -> Outcome:
        outcome = await send(request)
        return answered(request, outcome.status or 0, outcome.headers, outcome.body, credentials)

    async with serve(repeating(answer(400, {"result": 4001, "error": f"Basic {BASE64}"}))) as server:
        async with VideoClient(APP_ID, KEY, server.base_url, middleware=[again], allow_http=True) as client:
            with pytest.raises(VideoAPIError, match="Basic …"):
                await client.rooms.get(ROOM_ID)


@pytest.mark.parametrize("kept", ["first", "cached"])
async def test_a_middleware_that_answers_with_an_earlier_response_hides_its_credentials(kept: str) -> None:
    keys = itertools.count()
    responses: list[Outcome] = []

    async def again(request: Request, send: Send) -> Outcome:
        if kept == "first" or not responses:
            responses.append(await send(request))
        if kept == "first":
            await send(request)
        first = responses[0]
        return answered(request, first.status or 0, first.headers, first.body)

    async def echo(link: Link) -> None:
        authorization = (await link.request()).headers["authorization"]
        link.send(answer(400, {"result": 4001, "error": authorization}))
        await echo(link)

    def rotated() -> Credentials:
        return Credentials(APP_ID, f"{KEY}{next(keys)}")

    async with serve(echo) as server:
        async with VideoClient(
            credentials=rotated, base_url=server.base_url, middleware=[again], retry=ONCE, allow_http=True
        ) as client:
            for _ in range(3):
                with pytest.raises(VideoAPIError, match="Basic …") as failed:
                    await client.rooms.get(ROOM_ID)
                assert_hidden(str(failed.value))


@given(st.text(st.sampled_from("x %2f\\/&;#nu"), max_size=12), st.sampled_from([*SPELLINGS]), st.integers(0, 560))
def test_a_cut_text_has_no_part_of_the_credentials_wherever_it_is_cut(before: str, spelling: str, at: int) -> None:
    for secret in (KEY, BASE64):
        spelled = SPELLINGS[spelling](secret)
        # What is in front must not turn its first character into the end of an escape.
        text = printable(f"{before} {'-' * at}{spelled} end", CREDENTIALS) or ""
        assert len(text) <= 500
        assert longest_part(spelled, text) < 8
        assert_hidden(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Too many requests, retry in 5 s.",
        "100 % of a&b are \\n in %2F &amp; \\u0041 \\ud800 \ud800 &notanentity; \u00e9\U0001f600",
        f"{APP_ID}: unknown app, key K3y>>>?S3cret",
        "https://portal.example/a%20b/" + "c" * 900,
    ],
)
def test_a_text_without_credentials_stays_as_it_is(text: str) -> None:
    assert redact(text, CREDENTIALS) == text
    assert redact(text, CREDENTIALS, 40) == text[:40]


@given(st.text(min_size=8, max_size=40), st.text(max_size=30), st.text(max_size=30))
def test_any_key_is_hidden_as_it_is_and_quoted(key: str, before: str, after: str) -> None:
    try:
        credentials = Credentials(APP_ID, key)
    except ValueError:
        return
    for spelled in (key, quote(key, safe="")):
        assert f" {spelled} ".lower() not in redact(f"{before} {spelled} {after}", credentials).lower()


def test_many_echoed_credentials_do_not_uncover_the_last_one() -> None:
    text = redact(f"{quote(BASE64, safe='')} " * 1000, CREDENTIALS, 500)
    assert set(text) == {"…", " "}


def test_a_large_text_is_redacted_at_once() -> None:
    assert redact("%41" * 5_000_000, CREDENTIALS, 500) == ("%41" * 200)[:500]


@attrs.frozen
class _Other:
    authorization: str = "Basic " + base64.b64encode("id:kéy-ünd-😀-geheim".encode()).decode()


@pytest.mark.parametrize(
    "spell", [str, quote, json.dumps, lambda key: html.escape(key).encode("ascii", "xmlcharrefreplace").decode()]
)
def test_a_key_that_is_not_ascii_is_hidden(spell: Callable[[str], str]) -> None:
    assert redact(f"[{spell('kéy-ünd-😀-geheim')}]", _Other()).replace('"', "") == "[…]"


def test_a_redirect_shows_the_rest_of_its_target() -> None:
    location = {"Location": f"https://portal.example/{quote(KEY, safe='')}/login?x={BASE64}"}
    assert redirect_reason(location, CREDENTIALS) == "unexpected redirect to https://portal.example/…/login"


@pytest.mark.parametrize("password", ["Canary7Password", KEY.replace("?", "!")])
@pytest.mark.parametrize("spell", [str, lambda login: quote(login, safe="")], ids=["plain", "quoted"])
async def test_a_redirected_download_hides_the_recording_credentials(
    tmp_path: Path, spell: Callable[[str], str], password: str
) -> None:
    login = base64.b64encode(f"recorder:{password}".encode()).decode()
    for secret in (login, password):
        response = answer(302, b"", {"Location": f"https://other.example/{spell(secret)}/x.mp4"})
        async with serve(repeating(response)) as server:
            options = {"recording_auth": ("recorder", password), "retry": ONCE, "allow_http": True}
            async with VideoClient(APP_ID, KEY, server.base_url, **options) as client:
                with pytest.raises(VideoAPIError, match=r"other\.example") as failed:
                    await client.archives.download(f"{server.origin}/files/a.mp4", tmp_path)
        for text in (str(failed.value), repr(failed.value), repr(pickle.loads(pickle.dumps(failed.value)))):
            assert longest_part(secret, text) < 6
            assert longest_part(quote(secret), text) < 6
