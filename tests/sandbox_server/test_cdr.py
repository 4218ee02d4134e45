"""Call records, generated and simulated, through the four queries."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from videoapi.sandbox import Sandbox

TODAY = date(2026, 3, 31)
FIRST = date(2026, 3, 1)


@pytest.fixture
async def past(serve):
    return await serve(seed=7, calls=1200, today=TODAY)


async def cdr(bare, path):
    reply = await bare("GET", f"/cdr/{path}")
    assert reply.status == 200, reply.body
    assert list(reply.json) == ["result", "cdr"]
    assert reply.json["result"] == "0"
    return reply.json["cdr"]


async def test_period_returns_every_call_once_in_chronological_order(past):
    rows = await cdr(past, f"period/{FIRST}/{TODAY}")
    assert len(rows) == past.sandbox.history.records(FIRST, TODAY) == 1200
    times = [row["trans_date"] for row in rows]
    assert times == sorted(times)
    for key in ("call_num", "call_log_id", "cdr_id"):
        assert len({row[key] for row in rows}) == 1200


async def test_period_may_end_on_the_last_day_of_all(past):
    assert len(await cdr(past, "period/0001-01-01/9999-12-31")) == 1200


async def test_a_record_has_the_documented_keys_and_types(past):
    row = (await cdr(past, f"period/{TODAY}/{TODAY}"))[0]
    documented = "trans_date conf_num sip call_num call_log_id parent_partner_id room user sigserver"
    documented += " published_track usage stats_quality app_id cdr_id"
    assert list(row) == documented.split()
    assert row["app_id"] == past.sandbox.app_id
    assert list(row["room"]) == ["room_id", "connect_dt", "disconnect_dt", "duration", "room_details", "sip"]
    assert "owner_ref" in row["room"]["room_details"]
    assert {type(value) for value in row["published_track"].values()} == {bool}
    start, end = (datetime.fromisoformat(row["room"][key]) for key in ("connect_dt", "disconnect_dt"))
    assert (end - start) // timedelta(seconds=1) == row["room"]["duration"]
    assert start < end <= datetime.fromisoformat(row["trans_date"])


async def test_days_are_utc_days_and_counts_add_up(past):
    per_day = past.sandbox.history.per_day()
    assert list(per_day) == [FIRST + timedelta(days=day) for day in range(31)]
    assert sum(per_day.values()) == 1200
    for day in (FIRST, FIRST + timedelta(days=13), TODAY):
        rows = await cdr(past, f"period/{day}/{day}")
        assert {row["trans_date"][:10] for row in rows} == {day.isoformat()}
        assert len(rows) == per_day[day]


async def test_the_four_cdr_queries_agree(past):
    whole = await cdr(past, f"period/{FIRST}/{TODAY}")
    row = whole[777]
    room_id, day = row["room"]["room_id"], row["trans_date"][:10]
    by_room = await cdr(past, f"room/{room_id}")
    assert by_room == [one for one in whole if one["room"]["room_id"] == room_id]
    by_conference = await cdr(past, f"conf/{row['conf_num']}")
    assert by_conference == [one for one in whole if one["conf_num"] == row["conf_num"]]
    assert len(by_conference) > 1
    by_both = [one for one in by_room if one["trans_date"][:10] == day]
    assert await cdr(past, f"room-period/{room_id}/{day}/{day}") == by_both
    assert await cdr(past, f"room-period/{room_id}/period/{day}/{day}") == by_both


async def test_records_per_room_add_up_to_the_period(past):
    whole = await cdr(past, f"period/{FIRST}/{TODAY}")
    rooms = Counter(row["room"]["room_id"] for row in whole)
    assert [len(await cdr(past, f"room/{room_id}")) for room_id in rooms] == list(rooms.values())
    assert set(past.sandbox.history.room_ids(5)) <= set(rooms)
    assert set(past.sandbox.history.conf_nums(5)) <= {row["conf_num"] for row in whole}


async def test_same_seed_generates_the_same_history(serve):
    one, other, third = [await serve(seed=seed, calls=50, today=TODAY) for seed in (3, 3, 4)]
    path = f"/cdr/period/{FIRST}/{TODAY}"
    assert (await one("GET", path)).body == (await other("GET", path)).body != (await third("GET", path)).body


async def test_records_of_a_day_do_not_depend_on_the_period(past):
    short = await cdr(past, f"period/{TODAY}/{TODAY}")
    long = await cdr(past, f"period/{TODAY - timedelta(days=5)}/{TODAY + timedelta(days=5)}")
    assert long[-len(short) :] == short


@pytest.mark.parametrize(
    "path",
    [
        "period/2020-01-01/2020-12-31",
        "period/2026-03-20/2026-03-10",
        "period/0001-01-01/0001-01-01",
        "period/9999-12-31/9999-12-31",
        "room/unknown",
        "conf/nothing",
        "room-period/unknown/2026-03-01/2026-03-31",
    ],
)
async def test_no_match_returns_an_empty_list(past, path):
    assert await cdr(past, path) == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("conf", 10201),
        ("room", 10202),
        ("room-period", 10202),
        ("room-period/x", 10203),
        ("period", 10203),
        ("period/2026-03-01", 10203),
        ("period/2026-03-01/soon", 10203),
        ("period/2026-03-01/2026-02-30", 10203),
    ],
)
@pytest.mark.parametrize("kind", ["cdr", "archive"])
async def test_missing_or_invalid_path_part_is_rejected(past, kind, path, code):
    reply = await past("GET", f"/{kind}/{path}")
    assert (reply.status, reply.code) == (400, code)


async def test_simulated_session_has_one_call_record_per_user(past):
    room_id = await past.room(name='Say "hi"', data={"videoapi_ref": "vx9"})
    start = datetime(2026, 3, 15, 10, 0, tzinfo=UTC)
    conf_num = past.sandbox.conference(room_id, users=3, minutes=45, start=start)
    rows = await cdr(past, f"conf/{conf_num}")
    assert [row["user"]["role"] for row in rows] == ["moderator", "participant", "participant"]
    assert {row["room"]["duration"] for row in rows} == {2700}
    assert {row["trans_date"] for row in rows} == {"2026-03-15T10:45:00.000Z"}
    assert rows[0]["room"]["room_details"]["data"] == {"videoapi_ref": "vx9"}
    assert rows[0]["room"]["room_details"]["name"] == 'Say "hi"'
    assert len({row["cdr_id"] for row in rows}) == 3
    assert await cdr(past, f"room/{room_id}") == rows
    whole = await cdr(past, f"period/{FIRST}/{TODAY}")
    assert len(whole) == past.sandbox.history.records(FIRST, TODAY) == 1203
    assert [row["trans_date"] for row in whole] == sorted(row["trans_date"] for row in whole)
    assert sum(past.sandbox.history.per_day().values()) == 1203


async def test_call_records_appear_when_the_session_ends(bare, clock):
    room_id = await bare.room()
    ann = await bare.enter(room_id, "moderator", "ann")
    clock.move(minutes=5)
    bo = await bare.enter(room_id, "participant", "bo")
    clock.move(minutes=10)
    bare.sandbox.leave(ann)
    assert await cdr(bare, f"room/{room_id}") == []
    clock.move(minutes=1)
    bare.sandbox.leave(bo)
    rows = await cdr(bare, f"room/{room_id}")
    assert [(row["user"]["ref"], row["room"]["duration"]) for row in rows] == [("ann", 900), ("bo", 660)]
    assert len({row["conf_num"] for row in rows}) == 1
    await bare.enter(room_id, "moderator", "ann")
    assert len(await cdr(bare, f"room/{room_id}")) == 2


@pytest.mark.parametrize("order", ["descending", "shuffled"])
async def test_cdr_order_does_not_change_the_records(past, order):
    past.sandbox.conference(await past.room(), start=datetime(2026, 3, 15, 10, tzinfo=UTC))
    whole = await cdr(past, f"period/{FIRST}/{TODAY}")
    past.sandbox.set(cdr_order=order)
    other = await cdr(past, f"period/{FIRST}/{TODAY}")
    assert other != whole
    assert sorted(other, key=lambda row: row["cdr_id"]) == sorted(whole, key=lambda row: row["cdr_id"])
    if order == "descending":
        assert other == whole[::-1]


def test_counting_does_not_generate_the_records():
    history = Sandbox(seed=1, calls=10_000_000, today=TODAY).history
    assert sum(history.per_day().values()) == 10_000_000 == history.records(FIRST, TODAY)


def test_conference_in_unknown_room_is_rejected():
    with pytest.raises(ValueError, match="no room"):
        Sandbox().conference("nowhere")


@pytest.mark.parametrize("calls", [0, 1, 2, 15, 16, 17, 31, 101])
async def test_history_has_exactly_the_requested_number_of_calls(serve, calls):
    bare = await serve(seed=1, calls=calls, today=TODAY)
    rows = await cdr(bare, f"period/{FIRST}/{TODAY}")
    assert len(rows) == bare.sandbox.history.records(FIRST, TODAY) == calls
    assert sum(bare.sandbox.history.per_day().values()) == calls
    by_conference = [await cdr(bare, f"conf/{conf}") for conf in bare.sandbox.history.conf_nums(1000)]
    assert sum(map(len, by_conference)) == calls


@pytest.mark.parametrize(
    ("minutes", "day"),
    [(0, "2026-03-09"), (1439.99, "2026-03-09"), (1440, "2026-03-10")],
)
async def test_simulated_session_belongs_to_the_utc_day_of_its_end(bare, minutes, day):
    midnight = datetime(2026, 3, 9, tzinfo=UTC)
    bare.sandbox.conference(await bare.room(), start=midnight, minutes=minutes, recorded=True)
    for other in ("2026-03-08", "2026-03-09", "2026-03-10", "2026-03-11"):
        found = 2 if other == day else 0
        assert len(await cdr(bare, f"period/{other}/{other}")) == found
        assert len((await bare("GET", f"/archive/period/{other}/{other}")).json["archive"]) == found / 2
