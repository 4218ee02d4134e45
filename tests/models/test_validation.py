"""Client-side validation: rejects before sending, with the field and the service's error code."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any
from unittest.mock import patch

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from videoapi.errors import ValidationError
from videoapi.models import validation
from videoapi.models.rooms import EffectiveSettings, RoomSettings
from videoapi.models.tokens import Role
from videoapi.models.validation import (
    check_conf_num,
    check_room,
    check_room_id,
    check_start,
    check_token,
    names_fixed,
    period_day,
    without_fixed,
)

SCHEDULED = {"scheduled": True, "scheduled_time": "2030-01-31 10:00:00", "duration": "30"}


def room(**settings):
    return {"name": "a", "owner_ref": "b", "settings": settings}


def outcome(check, *args, **named):
    """Return the result of a check, or the field that it rejected."""
    try:
        return check(*args, **named) or "passed"
    except ValidationError as error:
        return error.field


def rejection(check, *args, **named):
    with pytest.raises(ValidationError) as caught:
        check(*args, **named)
    return caught.value.field, caught.value.code


@pytest.mark.parametrize(
    "payload",
    [
        {"name": "a", "owner_ref": "b"},
        {"name": "a", "owner_ref": 5, "settings": None},
        {"name": "a", "owner_ref": "b", "settings": {}, "sip": False, "data": {"x": None}, "facex": 1},
        room(mode="Group"), room(mode="lecture"), room(mode=None), room(quality="SD"),
        room(participants="0"), room(participants=0), room(participants=5.0), room(moderators="5"),
        room(moderators=1), room(duration="60"), room(duration=0), room(duration=""), room(adhoc=True, duration="30"),
        room(scheduled_time="", scheduled=False), room(scheduled_time="no time"),
        room(**SCHEDULED), room(**SCHEDULED | {"duration": 30}),
        room(facex=True, abwd=False, canvas=True, peep=False, aor="x", wait_moderator=False, video=True),
        room(sip={"enabled": True}, billing_code=1234, viewers=0, media_zone="XX"),
    ],
)  # fmt: skip
def test_valid_room_is_accepted(payload):
    check_room(payload)


@pytest.mark.parametrize(
    ("payload", "field", "code"),
    [
        ({}, "name", 10002),
        ({"name": None, "owner_ref": None}, "name", 10002),
        ({"name": "", "owner_ref": "b"}, "name", 10002),
        ({"name": 5, "owner_ref": "b"}, "name", 10002),
        ({"name": "a"}, "owner_ref", 10010),
        ({"name": "a", "owner_ref": ""}, "owner_ref", 10010),
        ({"name": "a", "owner_ref": True}, "owner_ref", 10010),
        ({"name": "a", "owner_ref": "b", "settings": []}, "settings", None),
        (room(scheduled="yes"), "settings.scheduled", 10003),
        (room(scheduled=True, duration=5), "settings.scheduled_time", 10004),
        (room(**SCHEDULED | {"scheduled_time": ""}), "settings.scheduled_time", 10004),
        (room(**SCHEDULED | {"scheduled_time": "2030-01-31T10:00:00Z"}), "settings.scheduled_time", 10005),
        (room(**SCHEDULED | {"scheduled_time": 5}), "settings.scheduled_time", 10005),
        (room(participants="many"), "settings.participants", 10007),
        (room(participants=-1), "settings.participants", 10007),
        (room(participants=True), "settings.participants", 10007),
        (room(auto_recording="true"), "settings.auto_recording", 10008),
        (room(particpants=5), "settings.particpants", 10009),
        (room(media=None), "settings.media", 10009),
        (room(**SCHEDULED | {"duration": None}), "settings.duration", 10011),
        (room(duration="long"), "settings.duration", 10011),
        (room(duration=-5), "settings.duration", 10011),
        (room(active_talker=1), "settings.active_talker", 10012),
        (room(wait_moderator=0), "settings.wait_moderator", 10013),
        (room(quality="4K"), "settings.quality", 10014),
        (room(adhoc="yes"), "settings.adhoc", 10016),
        (room(**SCHEDULED, adhoc=True), "settings.adhoc", 10017),
        (room(mode="p2p"), "settings.mode", 10019),
        (room(mode=1), "settings.mode", 10019),
        (room(moderators="none"), "settings.moderators", 10022),
        (room(moderators=0), "settings.moderators", 10023),
        (room(moderators="6"), "settings.moderators", 10023),
        (room(moderators=10**400), "settings.moderators", 10023),
        (room(peep="x"), "settings.peep", 10024),
        (room(knock="x"), "settings.knock", 10025),
    ],
)
def test_invalid_room_is_rejected_with_the_service_code(payload, field, code):
    assert rejection(check_room, payload) == (field, code)


@pytest.mark.parametrize(("seconds_late", "code"), [(-1, None), (0, None), (300, None), (301, 10006), (10**8, 10006)])
def test_start_has_passed_only_beyond_the_difference_of_two_clocks(seconds_late, code):
    now = datetime(2030, 1, 31, 10, tzinfo=UTC) + timedelta(seconds=seconds_late)
    if code is None:
        check_start(SCHEDULED, now)
    else:
        assert rejection(check_start, SCHEDULED, now) == ("settings.scheduled_time", code)


@pytest.mark.parametrize("settings", [{"scheduled": False}, {"scheduled": None}, {"scheduled_time": None}])
def test_start_counts_only_in_a_scheduled_room(settings):
    check_start(SCHEDULED | settings, datetime(2031, 1, 31, tzinfo=UTC))


def test_white_label_settings_are_accepted_if_allowed():
    check_room(room(own=1), allow=("own",))
    check_room({"name": "a", "owner_ref": "b", "settings": RoomSettings(knock=True, extra={"own": 1})})
    assert rejection(check_room, room(own=1, other=2), allow=("own",)) == ("settings.other", 10009)


@pytest.mark.parametrize(
    "payload",
    [
        {}, {"name": "b"}, {"settings": {"participants": "15"}},
        {"settings": {"scheduled_time": "2030-01-31 10:00:00"}},
        {"settings": {"mode": None}},
    ],
)  # fmt: skip
def test_update_requires_no_field(payload):
    check_room(payload, partial=True)


@pytest.mark.parametrize(
    ("payload", "field", "code"),
    [
        ({"name": ""}, "name", 10002),
        ({"owner_ref": None}, "owner_ref", 10010),
        ({"settings": {"mode": "p2p"}}, "settings.mode", 10019),
        ({"settings": {"scheduled": "no"}}, "settings.scheduled", 10003),
        ({"settings": {"scheduled_time": "soon"}}, "settings.scheduled_time", 10005),
        ({"settings": {"moderators": 9}}, "settings.moderators", 10023),
        ({"settings": {"own": 9}}, "settings.own", 10009),
    ],
)
def test_invalid_update_is_rejected_with_the_service_code(payload, field, code):
    assert rejection(check_room, payload, partial=True) == (field, code)


@pytest.mark.parametrize("current", [{}, {"mode": "group", "scheduled": False, "adhoc": False}])
def test_kind_and_mode_of_an_update_are_no_change_if_they_are_those_of_the_room(current):
    given = {"mode": "Group", "scheduled": False, "adhoc": False, "knock": True}
    assert names_fixed(given)
    assert without_fixed(given, EffectiveSettings(**current), validate=True) == {"knock": True}


@pytest.mark.parametrize(
    ("given", "field", "code"),
    [
        ({"mode": "lecture"}, "settings.mode", 10020),
        ({"scheduled": True}, "settings.scheduled", 10106),
        ({"adhoc": False}, "settings.adhoc", 10106),
    ],
)
def test_change_of_the_kind_or_mode_is_rejected_unless_validation_is_off(given, field, code):
    current = EffectiveSettings(mode="group", adhoc=True)
    assert rejection(without_fixed, given, current, validate=True) == (field, code)
    assert without_fixed(given, current, validate=False) == given


@given(
    st.dictionaries(
        st.sampled_from(["name", "owner_ref", "settings", "sip"]),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
            lambda inner: st.dictionaries(
                st.sampled_from(["mode", "scheduled", "scheduled_time", "duration", "moderators", "quality"]), inner
            ),
        ),
    ),
    st.booleans(),
)
def test_any_body_passes_or_raises_validation_error(payload, partial):
    assert outcome(check_room, payload, partial=partial)


@pytest.mark.parametrize("role", [*Role, "audience"])
def test_token_of_each_role_is_accepted(role):
    check_token({"name": "Ann", "role": role, "user_ref": "u", "data": dict.fromkeys("abcde"), "roomId": 5})
    check_token({"name": "Ann", "role": role, "user_ref": 5, "data": '{"a":1}'})


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"name": None, "user_ref": None}, "name", 10101),
        ({"name": ""}, "name", 10101),
        ({"user_ref": None}, "user_ref", 10102),
        ({"role": None}, "role", 10103),
        ({"role": ""}, "role", 10103),
        ({"role": "Moderator"}, "role", 10104),
        ({"role": ["moderator"]}, "role", 10104),
        ({"data": dict.fromkeys("abcdef")}, "data", None),
    ],
)
def test_invalid_token_is_rejected_with_the_service_code(change, field, code):
    payload = {"name": "Ann", "role": "moderator", "user_ref": "u"} | change
    assert rejection(check_token, payload) == (field, code)


@pytest.mark.parametrize(
    ("check", "field", "code", "others"),
    [
        (check_room_id, "room_id", 10001, ("a/b", "a?b", "a b", "%2e", "é", "a" * 129)),
        (check_conf_num, "conf_num", 10201, (".", "a" * 257)),
    ],
)
def test_id_unsafe_in_a_path_is_rejected(check, field, code, others):
    assert check("605c44dd1f2e3d4c5b6a7988") == "605c44dd1f2e3d4c5b6a7988"
    assert check("a-B_9" * 25) == "a-B_9" * 25
    for missing in (None, ""):
        assert rejection(check, missing) == (field, code)
    for bad in ("..", "a\n", "a\x00", "\ud800", 5, b"a", True, *others):
        assert rejection(check, bad) == (field, None)


@pytest.mark.parametrize(
    ("conf_num", "problem"),
    [
        ("a" * 257, "is longer than 256 characters"),
        ("a\tb", "contains a control character or a lone surrogate"),
        ("\ud800", "contains a control character or a lone surrogate"),
        (".", "is a dot segment of a URL"),
    ],
)
def test_conf_num_that_fits_no_url_says_why_and_what_to_do(conf_num, problem):
    with pytest.raises(ValidationError) as caught:
        check_conf_num(conf_num)
    assert str(caught.value) == f"conf_num {problem}: read the period and filter its records by conf_num."


@pytest.mark.parametrize(
    "value",
    [
        date(2026, 1, 31),
        "2026-01-31",
        datetime(2026, 1, 31, tzinfo=UTC),
        datetime(2026, 1, 31, 2, tzinfo=timezone(timedelta(hours=2))),
        "2026-01-31T00:00:00Z",
        "2026-01-31T02:00:00+02:00",
    ],
)
def test_period_day_accepts_every_form_of_a_day(value):
    day = period_day(value)
    assert (type(day), day) == (date, date(2026, 1, 31))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (datetime(2026, 1, 31), "time zone"),
        ("2026-01-31T00:00:00", "time zone"),
        (datetime(2026, 1, 31, 1, tzinfo=UTC), "midnight"),
        (datetime(2026, 1, 31, 0, 0, 0, 1, tzinfo=UTC), "midnight"),
        ("2026-01-31T01:00:00Z", "midnight"),
        (datetime(9999, 12, 31, tzinfo=timezone(timedelta(hours=-5))).replace(hour=23), "years 1 to 9999"),
        ("2026-02-30", "not a day"),
        ("31.01.2026", "not a day"),
        ("yesterday", "not a day"),
        ("２０２６-01-31", "not a day"),
        (20260131, "must be"),
        (True, "must be"),
        (1.5, "must be"),
    ],
)
def test_period_day_rejects_an_invalid_day(value, message):
    with pytest.raises(ValidationError, match=message) as caught:
        period_day(value, field="from_date")
    assert caught.value.field == "from_date"


def test_missing_end_of_a_period_has_the_service_code():
    assert rejection(period_day, None, field="to_date") == ("to_date", 10203)
    assert rejection(period_day, "", field="from_date") == ("from_date", None)


@given(st.text(max_size=20))
def test_any_text_is_a_day_or_raises_validation_error(text):
    assert type(outcome(period_day, text)) in (date, str)


class Number(IntEnum):
    FIVE = 5


class Word(StrEnum):
    HD = "HD"


class Whole(int):
    pass


class Text(str):
    __slots__ = ()


SETTING_NAMES = st.sampled_from(sorted(field.name for field in attrs.fields(EffectiveSettings) if field.init))
SETTING_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["HD", "SD", "group", "LECTURE", "\ud800", " 2 ", "1.5", "1000"]),
    st.integers(0, 999).map(str),
    st.text(max_size=4),
    st.lists(st.integers(), max_size=2),
    st.sampled_from(
        [Decimal("5"), Decimal("NaN"), Number.FIVE, Word.HD, Whole(5), Text("HD"), b"HD", date(2026, 1, 1)]
    ),
)


@given(
    fields=st.fixed_dictionaries({}, optional={"name": SETTING_VALUES, "owner_ref": SETTING_VALUES}),
    settings=st.dictionaries(st.one_of(SETTING_NAMES, st.just("\ud800")), SETTING_VALUES, max_size=4),
)
@example(fields={}, settings={})
@example(fields={"owner_ref": True}, settings={})
@example(fields={"name": ""}, settings={})
def test_checking_all_fields_at_once_says_what_checking_each_says(
    fields: dict[str, Any], settings: dict[str, Any]
) -> None:
    body = {"name": "Room", "owner_ref": "a", **fields, "settings": settings}

    def problem() -> str:
        try:
            check_room(body)
        except ValidationError as error:
            return f"{error} {error.field} {error.code}"
        return ""

    at_once = problem()
    with patch.object(validation, "_is_common", return_value=False):
        assert problem() == at_once


def test_most_rooms_are_checked_at_once() -> None:
    body = {"name": "Room", "owner_ref": "a", "settings": {"participants": "10", "quality": "HD", "adhoc": False}}
    with patch.object(validation, "_check_fields", side_effect=AssertionError):
        check_room(body)
