"""Reports leave their process as JSON, and the reports of shards are merged into that of the job."""

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videoapi import BulkOutcome, BulkReport, ConfigurationError, errors
from videoapi.errors import VideoAPIError, facts_of

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VideoAPIError)]
ANY_TEXT = st.text(st.characters(exclude_categories=()))
PLAIN_KEYS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    ANY_TEXT,
    st.binary(),
    st.floats(allow_nan=False),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.dates(),
    st.datetimes(timezones=st.sampled_from([UTC, None])),
)
KEYS = st.one_of(PLAIN_KEYS, st.tuples(PLAIN_KEYS, st.tuples(PLAIN_KEYS)))
ERRORS = st.builds(
    lambda kind, text, attempts, sure, wait: kind(
        text, attempts=attempts, may_have_executed=not sure, retry_after=wait, reference="vx", status=503
    ),
    st.sampled_from(KINDS),
    st.text(),
    st.integers(0, 9),
    st.booleans(),
    st.none() | st.floats(0, 1e6),
)


@st.composite
def reports(draw: st.DrawFn) -> BulkReport:
    report = BulkReport()
    for index in range(draw(st.integers(0, 4))):
        status = draw(st.sampled_from(["created", "deleted", "failed", "unknown", "not_sent"]))
        error = None if status in ("created", "deleted") else draw(ERRORS)
        outcome = BulkOutcome(index=index, key=draw(KEYS), status=status, error=error, room_id=draw(st.none() | ANY_ID))
        report.count(outcome, keep=draw(st.booleans()))
    report.exhausted = draw(st.booleans())
    report.stopped = draw(st.none() | ERRORS)
    report.concurrency = draw(st.integers(0, 99))
    report.audited = draw(st.none() | st.datetimes(timezones=st.just(UTC)))
    report.duplicates = draw(st.dictionaries(ANY_ID, st.lists(ANY_ID, unique=True).map(tuple), max_size=2))
    report.missing = [BulkOutcome(index=0, status="created", room_id="a")] if draw(st.booleans()) else []
    report.removed = draw(st.lists(ANY_ID, max_size=2))
    return report


ANY_ID = st.text("0123456789abcdef", min_size=1, max_size=3)


def comparable(report: BulkReport) -> dict[str, Any]:
    return report.to_dict()


@settings(max_examples=60)
@given(reports())
def test_a_report_survives_json(report: BulkReport) -> None:
    document = json.loads(json.dumps(report.to_dict()))
    again = BulkReport.from_dict(document)
    assert again.to_dict() == report.to_dict() == document
    for one, other in zip(again.made, report.made, strict=True):
        assert (one.key, type(one.key), one.room_id) == (other.key, type(other.key), other.room_id)
    for one, other in zip(again.failures, report.failures, strict=True):
        assert one.error is not None
        assert other.error is not None
        assert type(one.error) is type(other.error)
        assert facts_of(one.error) == facts_of(other.error)
    assert (again.total, again.counts, again.audited) == (report.total, report.counts, report.audited)


def test_a_wait_of_zero_seconds_survives() -> None:
    report = BulkReport(stopped=errors.RateLimited("slow down", retry_after=0.0))
    again = BulkReport.from_dict(report.to_dict())
    assert again.stopped is not None
    assert again.stopped.retry_after == 0.0


@settings(max_examples=30)
@given(reports(), reports(), reports())
def test_merging_is_associative(one: BulkReport, two: BulkReport, three: BulkReport) -> None:
    whole = BulkReport.merge([one, two, three])
    assert comparable(one.merge(two).merge(three)) == comparable(one.merge(two.merge(three))) == comparable(whole)
    assert comparable(BulkReport.merge(one)) == comparable(one.merge())
    before = comparable(one)
    one.merge(two)
    assert comparable(one) == before


@settings(max_examples=30)
@given(st.lists(reports(), max_size=4))
def test_a_merged_report_has_all_outcomes_in_the_order_of_the_shards(given: list[BulkReport]) -> None:
    merged = BulkReport.merge(given)
    assert merged.total == sum(report.total for report in given)
    assert merged.total == sum(merged.counts.values())
    assert [row.key for row in merged.made] == [row.key for report in given for row in report.made]
    indexes = [row.index for rows in (merged.made, merged.failures, merged.unknown, merged.not_sent) for row in rows]
    assert len(set(indexes)) == len(indexes)
    assert merged.exhausted == all(report.exhausted for report in given)


def test_a_merged_report_names_what_stopped_the_first_shard_and_the_earliest_audit() -> None:
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    stopped = errors.LeaseLost("lost")
    one = BulkReport(exhausted=True, audited=late, duplicates={"vx": ("a", "b")}, removed=["b"])
    two = BulkReport(stopped=stopped, audited=early, duplicates={"vx": ("b", "c")}, removed=["c"])
    merged = one.merge(two)
    assert merged.stopped is stopped
    assert not merged.exhausted
    assert merged.audited == early
    assert merged.duplicates == {"vx": ("a", "b", "c")}
    assert merged.removed == ["b", "c"]
    assert merged.merge(BulkReport()).audited is None


@pytest.mark.parametrize(
    "key",
    [
        7,
        "7",
        2**80,
        -1.5,
        math.inf,
        b"\xff",
        "\ud800\n",
        UUID(int=7),
        Decimal("1.50"),
        date(2026, 1, 2),
        ("a", 1, ("b",)),
    ],
)
def test_keys_keep_their_types(key: object) -> None:
    report = BulkReport()
    report.count(BulkOutcome(index=0, key=key, status="created"))
    text = json.dumps(report.to_dict())
    text.encode()
    again = BulkReport.from_dict(json.loads(text)).made[0].key
    assert (again, type(again)) == (key, type(key))


def test_no_spec_no_room_and_no_token_leave_the_process() -> None:
    report = BulkReport()
    report.count(BulkOutcome(index=0, status="created", token="secret", room="secret", spec="secret"))
    report.count(
        BulkOutcome(index=1, status="failed", spec="secret", error=errors.ConnectionFailed("x", partial=["secret"]))
    )
    assert "secret" not in json.dumps(report.to_dict())


def test_fields_and_errors_of_a_later_version_are_ignored() -> None:
    report = BulkReport(stopped=errors.RateLimited("slow down", retry_after=2.0))
    report.count(BulkOutcome(index=0, status="failed", error=errors.NotFound("gone")))
    document = report.to_dict()
    document |= {"version": 2, "later": {"a": 1}}
    document["failures"][0] |= {"later": 1}
    document["failures"][0]["error"] |= {"type": "GoneForGood"}
    document["stopped"]["facts"] |= {"later": "x"}
    again = BulkReport.from_dict(document)
    assert type(again.failures[0].error) is VideoAPIError
    assert str(again.failures[0].error) == "gone"
    assert isinstance(again.stopped, errors.RateLimited)
    assert again.stopped.retry_after == 2.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"total": "3"}, "total"),
        ({"total": 5}, "add up to 1, not to the total of 5"),
        ({"counts": {"made": 1}}, "unknown status, 'made'"),
        ({"counts": {"failed": 1}}, "`made` has more outcomes"),
        ({"made": [{"index": 0, "status": "failed"}]}, "another status"),
        ({"made": [{"index": -1, "status": "created"}]}, "index"),
        ({"made": [{"index": 0, "status": "created", "key": {"Room": 1}}]}, "key of an outcome"),
        ({"made": [{"index": 0, "status": "created", "key": {"Decimal": "x"}}]}, "key of an outcome"),
        ({"audited": "2026-01-01T00:00:00"}, "no time zone"),
        ({"stopped": "x"}, "stopped"),
        ({"stopped": {"type": "NotFound", "message": "x", "facts": {"status": [1]}}}, "facts"),
        ({"version": 0}, "version"),
    ],
)
def test_nonsense_is_refused(change: dict[str, Any], said: str) -> None:
    report = BulkReport()
    report.count(BulkOutcome(index=0, key="a", status="created"))
    with pytest.raises(ConfigurationError, match=r"^Not the dictionary of a report") as refused:
        BulkReport.from_dict({**report.to_dict(), **change})
    assert said in str(refused.value)


@pytest.mark.parametrize("given", [None, [], "x", 3, {}])
def test_what_is_no_report_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError):
        BulkReport.from_dict(given)


@pytest.mark.parametrize("given", [None, {}, "report", [BulkReport(), 3]])
def test_only_reports_are_merged(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="merged report"):
        BulkReport.merge(given)


def nested(levels: int) -> Any:
    key: Any = "key"
    for _ in range(levels):
        key = (key,)
    return key


class Silent:
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    "key", [10**5000, -(10**5000), (1, 10**5000), 2**53], ids=["long", "negative", "tuple", "short"]
)
def test_integer_key_of_any_size_survives(key: Any) -> None:
    report = BulkReport()
    report.count(BulkOutcome(index=0, key=key, status="created", room_id="a"))
    document = json.loads(json.dumps(report.to_dict()))
    assert BulkReport.from_dict(document).made[0].key == key


@pytest.mark.parametrize("key", [nested(100_000), Silent(), frozenset([10**5000])], ids=["nested", "silent", "long"])
def test_key_that_has_no_text_costs_no_other_outcome(key: Any) -> None:
    report = BulkReport()
    report.count(BulkOutcome(index=0, key=key, status="failed"))
    report.count(BulkOutcome(index=1, key="ok", status="created", room_id="a"))
    copy = BulkReport.from_dict(json.loads(json.dumps(report.to_dict())))
    assert copy.failures[0].key == f"<{type(key).__name__}>"
    assert copy.made[0].key == "ok"
