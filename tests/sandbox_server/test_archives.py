"""Archives and their files."""

from datetime import date, timedelta

import aiohttp
import pytest

TODAY = date(2026, 3, 10)


@pytest.fixture
async def recorded(bare):
    """Return a bare client and the archive item of a recorded session."""
    room_id = await bare.room(settings={"auto_recording": True})
    bare.sandbox.conference(room_id, users=2)
    return bare, (await archive(bare, f"room/{room_id}"))[0]


async def archive(bare, path):
    reply = await bare("GET", f"/archive/{path}")
    assert list(reply.json) == ["result", "archive"]
    assert reply.json["result"] == "0"
    return reply.json["archive"]


def urls(item):
    return [one["url"] for one in item["recording"] + item["transcoded"]] + [item["chatdata"], item["metadata"]]


async def fetch(bare, url, headers=()):
    login = aiohttp.encode_basic_auth(*bare.sandbox.recording_auth)
    return await bare("GET", url, headers={"Authorization": login, **dict(headers)})


async def test_archive_item_has_the_documented_keys_and_files(recorded):
    bare, item = recorded
    documented = "_id trans_date conf_num app_id room_id recording transcoded chatdata metadata"
    assert list(item) == documented.split()
    assert len(urls(item)) == len(set(urls(item))) == 5
    assert [url.rpartition(".")[2] for url in urls(item)] == ["mkv", "mkv", "mp4", "json", "json"]
    assert all(url.startswith(bare.sandbox.base_url.removesuffix("/video/v2") + "/files/") for url in urls(item))


async def test_unrecorded_session_has_no_archive_unless_requested(bare):
    room_id = await bare.room()
    bare.sandbox.conference(room_id)
    assert await archive(bare, f"room/{room_id}") == []
    conf_num = bare.sandbox.conference(room_id, recorded=True)
    bare.sandbox.conference(room_id, recorded=True, files=False)
    items = await archive(bare, f"room/{room_id}")
    assert [item["conf_num"] == conf_num for item in items] == [True, False]
    assert "recording" not in items[1]
    assert bare.sandbox.history.archives(TODAY, TODAY) == 2


async def test_the_four_archive_queries_agree(serve):
    bare = await serve(seed=2, calls=2000, today=TODAY)
    first = TODAY - timedelta(days=30)
    whole = await archive(bare, f"period/{first}/{TODAY}")
    assert len(whole) == bare.sandbox.history.archives(first, TODAY) > 100
    assert len({item["_id"] for item in whole}) == len(whole)
    item = whole[50]
    room_id, day = item["room_id"], item["trans_date"][:10]
    assert await archive(bare, f"conf/{item['conf_num']}") == [item]
    by_room = [one for one in whole if one["room_id"] == room_id]
    assert await archive(bare, f"room/{room_id}") == by_room
    assert await archive(bare, f"room-period/{room_id}/{day}/{day}") == [
        one for one in by_room if one["trans_date"][:10] == day
    ]


async def test_files_require_the_recording_credentials(recorded):
    bare, item = recorded
    url = item["recording"][0]["url"]
    for login in ("", aiohttp.encode_basic_auth(bare.sandbox.app_id, bare.sandbox.app_key)):
        reply = await bare("GET", url, headers={"Authorization": login})
        assert reply.status == 403
        assert "WWW-Authenticate" not in reply.headers
    assert (await fetch(bare, url)).status == 200


async def test_file_content_and_headers_are_stable(recorded):
    bare, item = recorded
    bodies = []
    for url in urls(item):
        one, two = await fetch(bare, url), await fetch(bare, url)
        assert one.body == two.body
        assert one.headers["ETag"] == two.headers["ETag"]
        assert int(one.headers["Content-Length"]) == len(one.body) > 0
        bodies.append(one.body)
    assert len(set(bodies)) == len(bodies)


async def test_chat_and_metadata_are_json(recorded):
    bare, item = recorded
    assert (await fetch(bare, item["metadata"])).json["conf_num"] == item["conf_num"]
    assert isinstance((await fetch(bare, item["chatdata"])).json, list)


@pytest.mark.parametrize(
    ("requested", "start", "stop"),
    [("0-99", 0, 100), ("100000-", 100_000, None), ("-77", -77, None), ("65530-65545", 65530, 65546)],
)
async def test_range_request_returns_the_requested_part(recorded, requested, start, stop):
    bare, item = recorded
    bare.sandbox.set(file_size=200_000)
    url = item["transcoded"][0]["url"]
    whole = await fetch(bare, url)
    assert len(whole.body) == 200_000
    part = await fetch(bare, url, {"Range": f"bytes={requested}", "If-Range": whole.headers["ETag"]})
    assert (part.status, part.body) == (206, whole.body[start:stop])
    begin = start % 200_000
    assert part.headers["Content-Range"] == f"bytes {begin}-{begin + len(part.body) - 1}/200000"


async def test_if_range_mismatch_returns_the_complete_file(recorded):
    bare, item = recorded
    reply = await fetch(bare, item["metadata"], {"Range": "bytes=5-", "If-Range": '"old"'})
    assert (reply.status, reply.json["room_id"]) == (200, item["room_id"])


async def test_range_past_the_end_returns_416(recorded):
    bare, item = recorded
    bare.sandbox.set(file_size=10)
    reply = await fetch(bare, item["recording"][0]["url"], {"Range": "bytes=10-"})
    assert (reply.status, reply.headers["Content-Range"]) == (416, "bytes */10")


async def test_files_expire_after_72_hours_by_default(recorded, clock):
    bare, item = recorded
    url = item["recording"][0]["url"]
    clock.move(hours=72)
    assert (await fetch(bare, url)).status == 200
    clock.move(seconds=1)
    assert (await fetch(bare, url)).status == 404
    bare.sandbox.set(file_hours=None)
    assert (await fetch(bare, url)).status == 200


@pytest.mark.parametrize("cut", [-4, -30])
async def test_unknown_file_returns_404(recorded, cut):
    bare, item = recorded
    assert (await fetch(bare, item["recording"][0]["url"][:cut])).status == 404
