"""Properties of the sandbox's pure functions."""

from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from videoapi.sandbox.files import content
from videoapi.sandbox.history import Generated
from videoapi.sandbox.records import RecordQuery, Records
from videoapi.sandbox.responses import Refusal
from videoapi.sandbox.routing import ROUTES, match
from videoapi.sandbox.settings import count, moment
from videoapi.sandbox.validation import check_create, check_token

TODAY = date(2026, 3, 31)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SETTINGS = st.dictionaries(
    st.sampled_from(["mode", "scheduled", "adhoc", "scheduled_time", "duration", "participants", "quality", "x"]),
    JSON,
)


def past(calls, days=31, rooms=0):
    return Generated("a" * 24, seed="s", calls=calls, rooms=rooms, today=TODAY, days=days)


def validate(check):
    """Return the code of a refusal and None, or 0 and the accepted value."""
    try:
        return 0, check()
    except Refusal as refusal:
        return refusal.code, None


@given(st.sampled_from(["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "X"]), st.text())
def test_every_path_yields_a_route_or_a_refusal(method, path):
    call = match(method, path)
    assert call.route in ROUTES or call.refusal is not None


@given(JSON, JSON, SETTINGS | JSON, JSON)
def test_any_body_is_stored_or_rejected_with_a_code(name, owner_ref, sent, sip):
    body = {"name": name, "owner_ref": owner_ref, "settings": sent, "sip": sip}
    rules = {"quality": "HD", "strict": False, "drop_unknown": False}
    now = moment("2026-03-10 12:00:00")
    code, stored = validate(lambda: check_create(body, now=now, **rules))
    assert 10002 <= code <= 10026 or set(stored) == {"name", "owner_ref", "settings", "sip"}


@given(JSON, JSON, JSON)
def test_any_token_body_yields_a_role_or_a_code(name, user_ref, role):
    code, stored = validate(lambda: check_token({"name": name, "user_ref": user_ref, "role": role}))
    assert 10101 <= code <= 10104 or (code, stored) == (0, role)


@given(JSON)
def test_counts_are_non_negative_integers(value):
    number = count(value)
    assert number is None or (number >= 0 and float(value) == number)


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(1, 40), st.integers(0, 45), st.integers(0, 45))
def test_adjacent_periods_add_up(calls, days, one, other):
    records = Records(past(calls, days))
    first, split, last = TODAY - timedelta(days=50), TODAY - timedelta(days=max(one, other)), TODAY

    def ids(start, end):
        found = records.calls(RecordQuery(start, end + timedelta(days=1)), "ascending")
        listed = [row.cdr_id for row in found]
        assert len(listed) == found.size == records.records(start, end)
        return listed

    whole = ids(first, last)
    assert ids(first, split) + ids(split + timedelta(days=1), last) == whole
    assert len(set(whole)) == calls


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(0, 7))
def test_rooms_and_recordings_partition_the_sessions(calls, rooms):
    generated = past(calls, rooms=rooms)
    every = generated.sessions
    ids = dict.fromkeys(next(generated.rows(place)).room_id for place in every)
    by_room = [list(generated.in_room(room_id, every)) for room_id in ids]
    assert sorted(place for places in by_room for place in places) == list(every)
    recorded = [place for room_id in ids for place in generated.recorded(generated.in_room(room_id, every))]
    assert sorted(recorded) == list(generated.recorded(every))
    assert [generated.session(generated.conf_num(place))[0] for place in every] == list(every)


@settings(deadline=None)
@given(st.integers(0, 200_000), st.integers(0, 200_000))
def test_any_range_of_a_file_matches_its_content(start, stop):
    whole = b"".join(content("/files/a", 0, 200_000))
    assert len(whole) == 200_000
    assert b"".join(content("/files/a", start, max(start, stop))) == whole[start : max(start, stop)]
