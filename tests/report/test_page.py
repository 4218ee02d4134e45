"""The page of a report: texts of the service stay texts, it loads nothing, and its tables are those of the figures."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videoapi.report.calendar import Calendar
from videoapi.report.page import render
from videoapi.report.rows import UsageRow
from videoapi.report.summary import UsageSummary, summarize
from videoapi.report.tally import Tally

MADE = datetime(2026, 2, 1, 9, 30, tzinfo=UTC)
AT = 1_767_600_000_000
HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!--<script>",
    "<b>bold</b><a href='http://evil.example'>x</a>",
    "=HYPERLINK(1)",
    "@users",
    "\u202eabc\x00\x1b[31m",
    "$x^2$",
    "x" * 5_000,
)


def summary_of(*names: str) -> UsageSummary:
    with Tally(Calendar()) as tally:
        for place, name in enumerate(names):
            row = UsageRow(
                conf_num=f"{place}", room_id=name, room_name=name, owner_ref=name, user_ref=name, user_role=name,
                at=AT, room_from=AT - 60_000, room_to=AT, user_from=AT - 60_000, user_to=AT, user_seconds=60.0 + place,
                quality=(name,) * 6,
            )  # fmt: skip
            tally.add([row])
        groups = ("room", "owner_ref", "user", "role")
        return summarize(
            tally, period=None, timezone="UTC", source=names[0] if names else "x", scope=names[-1] if names else "",
            groups=groups,
        )  # fmt: skip


class Elements(HTMLParser):
    """The elements of a page, and the texts of its scripts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._in_script = False


def parsed(page: str) -> Elements:
    elements = Elements()
    elements.feed(page)
    elements.close()
    return elements


USUAL = parsed(render(summary_of("a"), made=MADE))


@given(st.lists(st.text(max_size=30) | st.sampled_from(HOSTILE), min_size=1, max_size=4, unique=True))
@settings(max_examples=15, deadline=None)
def test_names_are_texts_and_add_no_element(names: list[str]) -> None:
    page = render(summary_of(*names), made=MADE)
    page.encode(errors="replace")
    found = parsed(page)
    assert {tag for tag, _ in found.tags} <= {tag for tag, _ in USUAL.tags}
    assert len(found.scripts) == len(USUAL.scripts) == 3
    assert found.scripts[1:] == USUAL.scripts[1:]
    json.loads(found.scripts[0])
    events = [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert events == []


def test_names_in_charts_have_no_tags() -> None:
    (figures, *_) = parsed(render(summary_of(*HOSTILE), made=MADE)).scripts
    charts = json.loads(figures)
    for name in ("room", "owner_ref"):
        shown = [*charts[name]["layout"]["yaxis"]["ticktext"], *charts[name]["data"][0]["customdata"]]
        assert len(shown) == 2 * len(HOSTILE)
        assert not any(character in text for text in shown for character in "<>$\x00\x1b\u202e")


def test_page_allows_no_request() -> None:
    (policy,) = (
        attributes["content"] or ""
        for tag, attributes in USUAL.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert not {"connect-src", "frame-src", "font-src", "media-src"} & rules.keys()
    assert re.fullmatch(r"('sha256-[\w+/=]{44}' ?){2}", rules["script-src"])
    for tag, attributes in USUAL.tags:
        assert "src" not in attributes
        assert tag not in ("link", "iframe", "img", "object", "form", "base")
        if "href" in attributes:
            assert (attributes["href"] or "").startswith("#")


def test_every_link_of_the_page_has_its_target() -> None:
    ids = [attributes["id"] for _, attributes in USUAL.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    links = {(attributes["href"] or "")[1:] for tag, attributes in USUAL.tags if tag == "a"}
    assert links <= set(ids)
    assert "minutes" in links


def test_tables_are_accessible() -> None:
    tags = [tag for tag, _ in USUAL.tags]
    assert tags.count("caption") == tags.count("table") >= 8
    assert tags.count("h1") == 1
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in USUAL.tags if tag == "th")
    assert all(attributes.get("aria-label") for _, attributes in USUAL.tags if attributes.get("role") == "img")


def test_section_of_the_group_leads() -> None:
    page = render(summary_of("a"), made=MADE, lead="role")
    sections = re.findall(r'<section id="(\w+)"', page)
    assert sections[:3] == ["totals", "role", "day"]
    assert sorted(sections) == sorted(re.findall(r'<section id="(\w+)"', render(summary_of("a"), made=MADE)))


def test_same_figures_give_the_same_page() -> None:
    assert render(summary_of("a", "b"), made=MADE) == render(summary_of("a", "b"), made=MADE)


@pytest.mark.parametrize("days", [1, 62, 63, 400])
def test_long_table_is_folded_after_one_of_months(days: int) -> None:
    summary = summary_of("a")
    day, figures = summary.days[0]
    long = attrs.evolve(summary, days=tuple((day.fromordinal(day.toordinal() + n), figures) for n in range(days)))
    page = render(long, made=MADE)
    assert ("<details>" in page) == (days > 62)
    assert ('id="months-table"' in page) == (days > 62)
    assert page.count('<th scope="row">2026-01-05</th>') == 1


@pytest.mark.parametrize(
    ("days", "how"), [(1, "1 connection begun."), (31, "0.20 connections begun on average, 1 on 5 Mondays.")]
)
def test_busiest_hour_says_over_how_many_days_it_is_added_up(days: int, how: str) -> None:
    summary = summary_of("a")
    day, figures = summary.days[0]
    long = attrs.evolve(summary, days=tuple((day.fromordinal(day.toordinal() + n), figures) for n in range(days)))
    assert f"Monday from 7:00 to 8:00</strong> (UTC) with {how}" in render(long, made=MADE)


def test_records_without_a_date_are_not_called_no_records() -> None:
    with Tally(Calendar()) as tally:
        tally.add([UsageRow(conf_num="1", user_seconds=60.0)])
        page = render(summarize(tally, period=None, timezone="UTC", source="x"), made=MADE)
    assert "Usage report: records without a date" in page
    assert "<p>.</p>" not in page


@pytest.mark.parametrize("kept", [0, 100])
def test_room_has_its_latest_name(kept: int) -> None:
    with Tally(Calendar(), kept=kept) as tally:
        for at, room_id, name in ((2, "r", "Daily"), (3, "r", "Acme"), (1, "r", "Zebra"), (9, None, "Lost")):
            tally.add([UsageRow(conf_num=f"{at}", room_id=room_id, room_name=name, at=AT + at)])
        rooms = summarize(tally, period=None, timezone="UTC", source="x").groups["room"]
    assert {entry.key: entry.name for entry in rooms.entries} == {"r": "Acme", "": ""}
