"""From a body to a typed event: documented shapes, contradicting shapes, and anything else."""

from __future__ import annotations

import contextlib
import copy
import json
import pickle
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import videoapi
from videoapi import ConfigurationError, ValidationError, VideoAPIError
from videoapi.webhooks import (
    DeliveryRejected,
    EventTooLarge,
    FileTransferred,
    InvalidCredentials,
    InvalidEvent,
    RecordingReady,
    SessionEnded,
    Transcoded,
    TransferDestination,
    UnknownEvent,
    WebhookEvent,
    Webhooks,
    parse_event,
)

from .conftest import AUTH, body_of

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECONDS = 1769860800
COMMON = {"app_id": "a", "room_id": "r", "conf_num": "c"}


@pytest.mark.parametrize(
    ("kind", "cls"),
    [
        ("roomdrop", SessionEnded),
        ("recording", RecordingReady),
        ("transcoded", Transcoded),
        ("file-transfer", FileTransferred),
        ("participant-joined", UnknownEvent),
    ],
)
def test_each_type_has_its_class(kind: str, cls: type[WebhookEvent]) -> None:
    event = parse_event(body_of(kind, trans_date=SECONDS, **COMMON))
    assert type(event) is cls
    assert (event.type, event.trans_date) == (kind, AT)
    assert (event.app_id, event.room_id, event.conf_num) == ("a", "r", "c")
    assert event.extra == {}


@pytest.mark.parametrize(
    "time",
    [
        SECONDS,
        str(SECONDS),
        SECONDS * 1000,
        str(SECONDS * 1000),
        float(SECONDS),
        f" {SECONDS} ",
        "2026-01-31T12:00:00Z",
    ],
)
def test_time_may_be_number_or_text_in_seconds_or_milliseconds(time: object) -> None:
    assert parse_event(body_of(trans_date=time)).trans_date == AT


@pytest.mark.parametrize("time", ["soon", 0, -1, True, [], {}, 10**400, 1e300, "0000-00-00", "03/04/2026"])
def test_time_that_cannot_be_read_is_none_and_kept_in_extra(time: object) -> None:
    event = parse_event(body_of(trans_date=time, room_id="r"))
    assert event.trans_date is None
    assert "trans_date" in event.extra
    assert event.room_id == "r"
    assert parse_event(event.to_json()) == event


@pytest.mark.parametrize("kind", ["recording", "transcoded"])
@pytest.mark.parametrize(
    ("given", "urls"),
    [
        ("http://h/1", ("http://h/1",)),
        (["http://h/1", "http://h/2"], ("http://h/1", "http://h/2")),
        ([{"url": "http://h/1"}], ("http://h/1",)),
        ({"url": "http://h/1"}, ("http://h/1",)),
        ([], ()),
        ("", None),
        (None, None),
    ],
)
def test_recording_may_have_either_shape(kind: str, given: object, urls: object) -> None:
    event = parse_event(body_of(kind, recording=given))
    assert event.recording == urls  # type: ignore[attr-defined]
    assert event.extra == {}


def test_urls_that_can_be_read_are_kept_and_the_others_are_in_extra() -> None:
    given = ["http://h/1", 7, {"url": "http://h/2", "size": 3}]
    event = parse_event(body_of("recording", recording=given))
    assert isinstance(event, RecordingReady)
    assert event.recording == ("http://h/1", "http://h/2")
    assert event.extra == {"recording": given}
    assert parse_event(event.to_json()) == event


@pytest.mark.parametrize(
    ("given", "read"), [(1, 1), ("1", 1), (2.0, 2), ("two", "two"), ("", None), (10**30, 10**30), ("١", "١")]
)
def test_counts_may_be_number_or_text(given: object, read: object) -> None:
    event = parse_event(body_of("transcoded", stage=given, file_size=given))
    assert isinstance(event, Transcoded)
    assert (event.stage, event.file_size) == (read, read)


def test_transfer_has_destination_and_files() -> None:
    destination = {"name": "sftp", "host": "h", "account": "", "region": "x"}
    event = parse_event(body_of("file-transfer", destination=destination, files=[{"url": "u1"}, {"url": "u2"}]))
    assert isinstance(event, FileTransferred)
    assert event.destination == TransferDestination(name="sftp", host="h", account="")
    assert event.destination is not None
    assert event.destination.extra == {"region": "x"}
    assert event.files == ("u1", "u2")


def test_older_name_of_the_session_is_read() -> None:
    assert parse_event(body_of(conf_key="c")).conf_num == "c"
    assert parse_event(body_of(conf_key="c")).extra == {}
    both = parse_event(body_of(conf_key="old", conf_num="new"))
    assert (both.conf_num, both.extra) == ("new", {"conf_key": "old"})


@pytest.mark.parametrize("field", ["app_id", "room_id", "conf_num", "destination", "stage"])
@pytest.mark.parametrize("value", [[1], {"a": 1}, 1.5])
def test_field_of_an_unexpected_type_costs_only_itself(field: str, value: object) -> None:
    kind = "transcoded" if field == "stage" else "file-transfer"
    event = parse_event(body_of(kind, **{"trans_date": SECONDS, field: value}))
    assert event.trans_date == AT
    if (read := getattr(event, field)) is None:
        assert event.extra == {field: value}
    else:
        assert read in ("1.5", TransferDestination())


def test_unknown_fields_are_in_extra() -> None:
    event = parse_event(body_of("new", room_id=7, user={"name": "Ann"}))
    assert isinstance(event, UnknownEvent)
    assert event.room_id == "7"
    assert event.extra == {"user": {"name": "Ann"}}


NOT_EVENTS = [
    b"",
    b"   ",
    b"{",
    b"null",
    b"[]",
    b'"roomdrop"',
    b"{}",
    b'{"type": null}',
    b'{"type": ""}',
    b'{"type": "  "}',
    b'{"type": 7}',
    b'{"type": ["roomdrop"]}',
    b'{"type": "roomdrop"} x',
    b'{"type": NaN}',
    b"\xff\xfe",
    b"type=roomdrop",
    b"[" * 100_000,
    b'{"type":"canary-secret"',
]


@pytest.mark.parametrize("body", NOT_EVENTS, ids=lambda body: repr(body[:20]))
def test_anything_else_is_not_an_event_and_the_error_shows_nothing_of_it(body: bytes) -> None:
    with pytest.raises(InvalidEvent) as failed:
        parse_event(body)
    assert isinstance(failed.value, ValueError)
    assert failed.value.status == 400
    shown = str(failed.value) + repr(failed.value) + repr(vars(failed.value))
    assert "canary" not in shown
    assert failed.value.__context__ is None
    assert "roomdrop" not in shown


def test_body_may_be_text_or_any_bytes_and_have_a_byte_order_mark() -> None:
    body = body_of(room_id="r")
    for form in (body, body.decode(), bytearray(body), memoryview(body), b"\xef\xbb\xbf" + body):
        assert parse_event(form) == SessionEnded(room_id="r")  # type: ignore[arg-type]
    with pytest.raises(InvalidEvent, match="bytes or text, not dict"):
        parse_event({"type": "roomdrop"})  # type: ignore[arg-type]
    with pytest.raises(InvalidEvent):
        parse_event('{"type": "\ud800"}')


def test_text_and_depth_that_cannot_be_written_are_replaced() -> None:
    deep = "[" * 100 + "]" * 100
    event = parse_event(f'{{"type":"roomdrop","room_id":"\\ud800","deep":{deep}}}')
    assert event.room_id == "\ufffd"
    assert parse_event(event.to_json()) == event


def test_events_are_frozen_and_can_be_compared_copied_and_pickled() -> None:
    event = parse_event(body_of("recording", recording="u", trans_date=SECONDS, new=1))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.room_id = "x"  # type: ignore[misc]
    assert not hasattr(event, "__dict__")
    for same in (copy.copy(event), copy.deepcopy(event), pickle.loads(pickle.dumps(event))):
        assert same == event
        assert hash(same) == hash(event)
        assert (same.extra, same.digest) == (event.extra, event.digest)
    assert event != parse_event(body_of("recording", recording="v"))


def test_event_can_be_built_for_a_test_of_a_handler() -> None:
    event = SessionEnded(room_id="r", conf_num="c")
    assert (event.type, event.extra) == ("roomdrop", {})
    assert WebhookEvent.from_dict({"type": "roomdrop", "room_id": "r", "conf_num": "c"}) == event
    for wrong in ({}, {"type": 3}, []):
        with pytest.raises(ValidationError):
            WebhookEvent.from_dict(wrong)  # type: ignore[arg-type]


def test_repr_shows_no_query_and_no_login_of_a_url() -> None:
    url = "http://user:canary@h/file?sig=canary"
    shown = [
        repr(parse_event(body_of("recording", recording=[url], sig="canary"))),
        repr(parse_event(body_of("transcoded", recording=url))),
        repr(parse_event(body_of("file-transfer", files=[{"url": url}], destination={"host": url}))),
    ]
    assert all("canary" not in text and "http://h/file" in text for text in shown)


def test_digest_depends_on_the_content_and_not_on_its_order() -> None:
    first = parse_event(b'{"type":"roomdrop","room_id":"r","conf_num":"c"}')
    same = parse_event(b'{ "conf_num": "c", "room_id": "r", "type": "roomdrop" }')
    assert first.digest == same.digest
    others = [
        b'{"type":"roomdrop","room_id":"r","conf_num":"d"}',
        b'{"type":"roomdrop","room_id":"r","conf_num":"c","new":1}',
        b'{"type":"roomdrop","room_id":"r","conf_num":"c","trans_date":"odd"}',
        b'{"type":"recording","room_id":"r","conf_num":"c"}',
    ]
    assert len({first.digest, *(parse_event(other).digest for other in others)}) == 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["trans_date", "app_id", "room_id", "conf_num", "conf_key", "recording", "stage", "file_size"]
FIELDS = st.dictionaries(st.sampled_from([*NAMES, "destination", "files", "other"]), JSON)
KINDS = st.sampled_from(["roomdrop", "recording", "transcoded", "file-transfer", "other"])


@given(KINDS, FIELDS)
@settings(max_examples=100, deadline=None)
def test_any_object_with_a_type_is_an_event_that_survives_its_own_json(kind: str, fields: dict[str, Any]) -> None:
    event = parse_event(json.dumps({**fields, "type": kind}))
    again = parse_event(event.to_json())
    assert again == event
    assert again.extra == event.extra
    assert again.digest == event.digest
    assert pickle.loads(pickle.dumps(event)) == event
    assert type(event).__name__ in repr(event)
    # Nothing is lost: what was not read is kept.
    for name, value in fields.items():
        if value is not None and name not in ("conf_num", "conf_key") and getattr(event, name, None) is None:
            assert name in event.extra or str(value).strip() in ("", "null"), name


@given(st.binary(max_size=200) | st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_other_body_raises_nothing_but_invalid_event(body: Any) -> None:
    with contextlib.suppress(InvalidEvent):
        parse_event(body)


def library_variables(error: BaseException) -> str:
    """Return the variables of the library's frames in a traceback, as error reporters store them."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    library = Path(videoapi.__file__).parent
    ours = [frame.f_locals for frame in frames if Path(frame.f_code.co_filename).is_relative_to(library)]
    assert ours
    return repr(ours)


@pytest.mark.parametrize("body", [b'{"type": 7, "canary": 1}', '{"canary"', b'["canary"]', b'"canary' + b"x" * 300])
def test_frames_of_the_error_hold_nothing_of_the_body_and_the_credentials(body: bytes | str) -> None:
    for parse in (lambda: parse_event(body), lambda: Webhooks(AUTH, max_body=200).parse(body, header(*AUTH))):
        with pytest.raises(DeliveryRejected) as failed:
            parse()
        assert "canary" not in library_variables(failed.value)
        assert header(*AUTH) not in library_variables(failed.value)


# parse: credentials first, then size, then content


def header(user: str, password: str) -> str:
    import aiohttp

    return aiohttp.encode_basic_auth(user, password, encoding="utf-8")


def test_parse_checks_the_credentials() -> None:
    hooks = Webhooks(AUTH)
    right = header(*AUTH)
    assert hooks.parse(body_of(), right) == SessionEnded()
    assert hooks.parse(body_of(), right.encode()) == SessionEnded()
    assert hooks.parse(body_of(), right.replace("Basic", "basic")) == SessionEnded()


WRONG = [
    None,
    "",
    "Basic",
    "Basic !!!",
    "Basic \ud800é",
    "Bearer x",
    header(AUTH[0], "wrong"),
    header("wrong", AUTH[1]),
    header(AUTH[0], ""),
    header("", AUTH[1]),
    header(AUTH[0], AUTH[1] + "x"),
    header(*AUTH).replace("Basic", "Digest"),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_credentials_are_rejected_before_the_body_is_looked_at(wrong: str | None) -> None:
    for body in (body_of(), b"{", b"x" * 300_000):
        with pytest.raises(InvalidCredentials) as failed:
            Webhooks(AUTH).parse(body, wrong)
        error = failed.value
        assert (error.status, error.headers["WWW-Authenticate"][:5]) == (401, "Basic")
        assert "canary" not in str(error) + repr(error)
        assert not wrong or len(wrong) < 10 or wrong not in library_variables(error)


def test_larger_bodies_are_rejected() -> None:
    hooks = Webhooks(AUTH, max_body=20)
    assert hooks.parse(b'{"type":"roomdrop" }', header(*AUTH)) == SessionEnded()
    for large in (b'{"type":"roomdrop"  }', '{"type":"roomdröp"}  '):
        with pytest.raises(EventTooLarge) as failed:
            hooks.parse(large, header(*AUTH))
        assert failed.value.status == 413


def test_rejections_are_one_family_and_can_be_pickled() -> None:
    for kind in (InvalidEvent, InvalidCredentials, EventTooLarge):
        error = kind("why")
        assert isinstance(error, DeliveryRejected)
        assert isinstance(error, VideoAPIError)
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.status) == (kind, "why", kind.answer)


def test_without_credentials_anything_passes_and_one_warning_says_so(caplog: pytest.LogCaptureFixture) -> None:
    hooks = Webhooks()
    hooks.parse(body_of())
    hooks.parse(body_of(), "Basic x")
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "ANYONE" in warnings[0].getMessage()


def test_credentials_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VIDEOAPI_WEBHOOK_USER", AUTH[0])
    with pytest.raises(ConfigurationError, match="Set both"):
        Webhooks()
    monkeypatch.setenv("VIDEOAPI_WEBHOOK_PASSWORD", AUTH[1])
    hooks = Webhooks()
    assert hooks.parse(body_of(), header(*AUTH)) == SessionEnded()
    with pytest.raises(InvalidCredentials):
        hooks.parse(body_of())
    assert "canary" not in repr(hooks) + repr(vars(hooks))
    assert not caplog.records


@pytest.mark.parametrize(
    "arguments",
    [
        {"auth": ("user",)},
        {"auth": ("", "x")},
        {"auth": ("x", "")},
        {"auth": ("a:b", "x")},
        {"auth": ("x", "canary\n")},
        {"auth": "canary"},
        {"auth": ("x", "canary\ud800")},
        {"max_body": 0},
        {"queue_size": 1.5},
        {"concurrency": True},
        {"tries": 0},
        {"dedupe": -1},
        {"dedupe": float("nan")},
        {"handler_timeout": 0},
        {"retry_wait": -1},
        {"drain_timeout": -1},
        {"on_error": 3},
        {"store": object()},
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as failed:
        Webhooks(**{"auth": AUTH, **arguments})
    assert next(iter(arguments)) in str(failed.value)
    assert "canary" not in str(failed.value)


def test_on_checks_types_and_handlers() -> None:
    hooks = Webhooks(AUTH)
    for types in ((), ("roomdrop",), (int,), (print,)):
        with pytest.raises(ConfigurationError, match=r"on\(\)"):
            hooks.on(*types)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        hooks.on(SessionEnded)(3)  # type: ignore[type-var]

    def handler(event: SessionEnded) -> None: ...

    assert hooks.on(SessionEnded, RecordingReady)(handler) is handler


@pytest.mark.parametrize(
    "arguments",
    [
        {"auth": ("x", "canary\n")},
        {"auth": ("a:b", "canary")},
        {"auth": ("a", "b", "canary")},
        {"auth": ("user", "canary"), "tries": 0},
        {"auth": ("user", "canary"), "store": object()},
    ],
)
def test_frames_of_a_configuration_error_hold_no_password(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as failed:
        Webhooks(**arguments)
    assert "canary" not in library_variables(failed.value)


def test_frames_of_a_configuration_error_do_not_hold_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING_ELSE", "canary")
    monkeypatch.setenv("VIDEOAPI_WEBHOOK_PASSWORD", "canary")
    with pytest.raises(ConfigurationError) as failed:
        Webhooks()
    assert "canary" not in library_variables(failed.value)
