"""Notifications of the sandbox: what is sent, when, in which form, and what is recorded of the answers."""

import asyncio
import json

import aiohttp
import pytest
from support.webhook_receiver import receiving

from videoapi.sandbox import Sandbox


@pytest.fixture
async def receiver():
    async with receiving() as found:
        yield found


async def delivered(sandbox):
    async with asyncio.timeout(20):
        while sandbox.undelivered:
            await asyncio.sleep(0.005)


async def test_session_is_announced_after_its_records_and_its_files_after_the_archive(serve, receiver):
    bare = await serve(webhook_url=receiver.url)
    room_id = await bare.room(owner_ref="mine")
    found = []

    async def check(fields):
        calls = (await bare("GET", f"/cdr/conf/{fields['conf_num']}")).json["cdr"]
        archive = (await bare("GET", f"/archive/conf/{fields['conf_num']}")).json["archive"]
        found.append((calls[0]["room"]["room_details"]["owner_ref"], len(calls), len(archive)))

    receiver.check = check
    conf_num = bare.sandbox.conference(room_id, users=3, recorded=True)
    await delivered(bare.sandbox)
    assert receiver.types == ["roomdrop", "recording", "transcoded", "file-transfer"]
    assert found == [("mine", 3, 1)] * 4
    for _, fields in receiver.seen:
        assert fields["room_id"] == room_id
        assert fields["conf_num"] == conf_num
        assert fields["app_id"] == bare.sandbox.app_id
        assert fields["trans_date"].isdecimal()
        assert len(fields["trans_date"]) == 10


async def test_files_are_those_of_the_archive(serve, receiver):
    bare = await serve(webhook_url=receiver.url, file_size=1000)
    conf_num = bare.sandbox.conference(await bare.room(), users=2, recorded=True)
    await delivered(bare.sandbox)
    (archive,) = (await bare("GET", f"/archive/conf/{conf_num}")).json["archive"]
    _, recording, transcoded, transfer = (fields for _, fields in receiver.seen)
    assert recording["recording"] == [file["url"] for file in archive["recording"]]
    assert [transcoded["recording"]] == [file["url"] for file in archive["transcoded"]]
    assert (transcoded["stage"], transcoded["file_size"]) == ("1", "1000")
    assert transfer["destination"]["name"] == "awss3"
    files = [file["url"] for file in transfer["files"]]
    assert files == [*recording["recording"], transcoded["recording"], archive["chatdata"], archive["metadata"]]


async def test_session_without_files_is_one_notification(serve, receiver):
    bare = await serve(webhook_url=receiver.url)
    room_id = await bare.room()
    bare.sandbox.conference(room_id)
    bare.sandbox.conference(room_id, recorded=True, files=False)
    await delivered(bare.sandbox)
    assert receiver.types == ["roomdrop", "roomdrop"]


async def test_last_user_who_leaves_ends_the_session(serve, receiver):
    bare = await serve(webhook_url=receiver.url)
    room_id = await bare.room()
    first, second = await bare.enter(room_id, user="a"), await bare.enter(room_id, user="b")
    bare.sandbox.leave(first)
    await delivered(bare.sandbox)
    assert receiver.types == []
    bare.sandbox.leave(second)
    await delivered(bare.sandbox)
    assert receiver.types == ["roomdrop"]


@pytest.mark.parametrize(
    ("switches", "header", "time"),
    [
        ({}, "text/plain; charset=utf-8", "1773144000"),
        ({"webhook_content_type": "application/json"}, "application/json", "1773144000"),
        ({"webhook_content_type": "none", "webhook_time": "ms"}, None, "1773144000000"),
        ({"webhook_values": "number"}, "text/plain; charset=utf-8", 1773144000),
        ({"webhook_values": "number", "webhook_time": "ms"}, "text/plain; charset=utf-8", 1773144000000),
    ],
)
async def test_switches_change_the_form(serve, receiver, clock, switches, header, time):
    bare = await serve(webhook_url=receiver.url, clock=clock, **switches)
    bare.sandbox.conference(await bare.room())
    await delivered(bare.sandbox)
    ((request, fields),) = receiver.seen
    assert request.headers.get("Content-Type") == header
    assert fields["trans_date"] == time


async def test_credentials_are_sent_and_shown_nowhere(serve, receiver):
    bare = await serve(webhook_url=f"{receiver.url}?key=canary", webhook_auth=("user", "canary-password"))
    bare.sandbox.notify("session-ended", "r")
    await delivered(bare.sandbox)
    ((request, _),) = receiver.seen
    assert request.headers["Authorization"] == aiohttp.encode_basic_auth("user", "canary-password")
    assert request.query["key"] == "canary"
    assert "canary" not in repr(bare.sandbox.deliveries) + repr(vars(bare.sandbox)) + repr(vars(bare.sandbox._webhooks))


async def test_answers_are_recorded_and_nothing_is_repeated(serve, receiver):
    bare = await serve(webhook_url=receiver.url)
    for status in (200, 204, 302, 401, 503):
        receiver.status = status
        bare.sandbox.notify("transcoded", "r")
        await delivered(bare.sandbox)
    assert [one.status for one in bare.sandbox.deliveries] == [200, 204, 302, 401, 503]
    assert [one.accepted for one in bare.sandbox.deliveries] == [True, False, False, False, False]
    assert len(receiver.seen) == 5


async def test_retry_repeats_until_the_answer_is_200(serve, receiver, monkeypatch):
    monkeypatch.setattr("videoapi.sandbox.webhook_sender._AGAIN", 0.01)
    bare = await serve(webhook_url=receiver.url, webhook_retry=3)
    receiver.status = 500

    async def recover(fields):
        receiver.status = 200 if len(receiver.seen) == 3 else 500

    receiver.check = recover
    bare.sandbox.notify("session-ended", "r", "c")
    await delivered(bare.sandbox)
    assert [(one.status, one.attempt) for one in bare.sandbox.deliveries] == [(500, 1), (500, 2), (200, 3)]
    assert receiver.seen[0][1] == receiver.seen[2][1]


async def test_receiver_that_does_not_answer_is_recorded(serve, receiver, monkeypatch):
    monkeypatch.setattr("videoapi.sandbox.webhook_sender.WAIT", 0.1)
    bare = await serve(webhook_url=receiver.url)
    receiver.gate.clear()
    bare.sandbox.notify("session-ended", "r")
    await delivered(bare.sandbox)
    receiver.gate.set()
    (one,) = bare.sandbox.deliveries
    assert (one.status, one.error) == (None, "no answer within 0.1 s")


async def test_aclose_ends_what_is_still_being_delivered(receiver):
    receiver.gate.clear()
    async with Sandbox(webhook_url=receiver.url) as sandbox:
        sandbox.notify("session-ended", "r")
        async with asyncio.timeout(20):
            while not receiver.seen:
                await asyncio.sleep(0.005)
    receiver.gate.set()
    assert sandbox.undelivered == 0
    assert [one.error for one in sandbox.deliveries] == ["the sandbox closed"]


async def test_sessions_that_ended_before_the_start_are_announced_then(receiver):
    sandbox = Sandbox(webhook_url=receiver.url)
    sandbox.notify("session-ended", "r", "early")
    assert sandbox.undelivered == 1
    async with sandbox:
        await delivered(sandbox)
    assert [fields["conf_num"] for _, fields in receiver.seen] == ["early"]


async def test_methods_work_from_another_thread(receiver):
    with Sandbox(webhook_url=receiver.url).in_thread() as sandbox:
        await asyncio.to_thread(sandbox.notify, "recording-ready", "r")
        await delivered(sandbox)
    assert receiver.types == ["recording"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://h/",
        "h",
        "http://",
        "http://u:p@h/",
        "http://h:0/",
        7,
        "http://[::1",
        "http://h /",
        "http://h/\n",
        "http://\ud800/",
    ],
)
def test_url_is_checked(url):
    with pytest.raises(ValueError, match="webhook URL"):
        Sandbox(webhook_url=url)


@pytest.mark.parametrize("auth", [("a",), ("a:b", "c"), ("a", "b\n"), ("a", 1), "ab", 7])
def test_credentials_are_checked(auth):
    with pytest.raises(ValueError, match="needs a webhook_url"):
        Sandbox(webhook_auth=auth)
    with pytest.raises(ValueError, match="webhook credentials"):
        Sandbox(webhook_url="http://h/", webhook_auth=auth)


async def test_notify_checks_its_kind_and_needs_a_url(receiver):
    with pytest.raises(ValueError, match="no webhook_url"):
        Sandbox().notify("session-ended", "r")
    with pytest.raises(ValueError, match="unknown notification 'roomdrop'"):
        Sandbox(webhook_url=receiver.url).notify("roomdrop", "r")


async def test_clear_forgets_deliveries_and_what_is_still_to_be_delivered(receiver):
    sandbox = Sandbox(webhook_url=receiver.url)
    sandbox.notify("session-ended", "never")
    sandbox.clear()
    async with sandbox:
        sandbox.notify("session-ended", "sent")
        await delivered(sandbox)
        receiver.gate.clear()
        sandbox.notify("session-ended", "dropped")
        async with asyncio.timeout(20):
            while len(receiver.seen) < 2:
                await asyncio.sleep(0.005)
        sandbox.clear()
        assert (sandbox.undelivered, list(sandbox.deliveries)) == (0, [])
        receiver.gate.set()
    assert list(sandbox.deliveries) == []
    assert [fields["room_id"] for _, fields in receiver.seen] == ["sent", "dropped"]


@pytest.mark.parametrize("kind", ["recording-ready", "transcoded", "file-transfer"])
async def test_notification_of_a_session_without_files_names_one_that_does_not_exist(serve, receiver, kind):
    bare = await serve(webhook_url=receiver.url)
    bare.sandbox.notify(kind, "a room/", "c")
    await delivered(bare.sandbox)
    assert "https://files.example.com/a%20room%2F/c/" in json.dumps(receiver.seen[0][1])


async def hang_up(reader, writer):
    # What is left unread would reset the connection.
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.partition(b"Content-Length: ")[2].split()[0]))
    writer.close()


async def talk(reader, writer):
    await reader.read(10)
    writer.write(b"220 another protocol\r\n\r\n")
    writer.close()


@pytest.mark.parametrize(
    ("url", "server", "error"),
    [
        ("http://127.0.0.1:9/", None, "Connection refused"),
        ("http://localhost:9/", None, "Connection refused"),
        ("http://a..b/", None, "the host of the URL is not a valid name"),
        ("http://" + "a" * 300 + "/", None, "the host of the URL is not a valid name"),
        ("http://127.0.0.1:{port}/", hang_up, "the connection was closed without an answer"),
        ("http://127.0.0.1:{port}/", talk, "the answer is not HTTP"),
        ("https://127.0.0.1:{port}/", talk, "no TLS: wrong version number"),
    ],
)
async def test_missing_answer_has_a_reason_in_words(url, server, error):
    listening = await asyncio.start_server(server or hang_up, "127.0.0.1", 0)
    async with listening, Sandbox(webhook_url=url.format(port=listening.sockets[0].getsockname()[1])) as sandbox:
        sandbox.notify("session-ended", "r")
        await delivered(sandbox)
        (delivery,) = sandbox.deliveries
    assert (delivery.status, delivery.error, delivery.outcome) == (None, error, error)


async def test_certificate_that_is_not_trusted_is_the_reason():
    async with Sandbox(tls=True) as secure, Sandbox(webhook_url=secure.base_url) as sandbox:
        sandbox.notify("session-ended", "r")
        await delivered(sandbox)
        (delivery,) = sandbox.deliveries
    assert delivery.error.startswith("the certificate is not trusted: ")
