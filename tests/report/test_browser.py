"""The page in the system's Chromium without a network: charts, tables, CSV, sorting, widths, dark mode and paper."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from report.conftest import CALLS, LAST, run_command, write_history

from videoapi.sandbox import Sandbox

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (group integrations)")
pytestmark = pytest.mark.slow

CHARTS = ("day", "hours", "owner_ref", "room", "role", "quality", "recordings")
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A page and its figures: of a month, with a hostile name, and with archives."""
    folder = tmp_path_factory.mktemp("report")
    write_history(folder / "calls.jsonl", CALLS)
    lines = (folder / "calls.jsonl").read_text().splitlines(keepends=True)
    name = json.dumps("=<img src=x onerror=alert(1)>")
    lines = [line.replace('"owner_ref":"owner-2"', f'"owner_ref":{name}') for line in lines]
    lines = [line.replace('"owner_ref":"owner-3"', """"owner_ref":"'=1" """) for line in lines]
    (folder / "calls.jsonl").write_text("".join(lines))
    archive = {"trans_date": "2026-01-09T10:00:00.000Z", "recording": [{"url": "https://x.example/a.mkv"}]}
    (folder / "archives.jsonl").write_text("".join(json.dumps({"_id": f"{n}", **archive}) + "\n" for n in range(7)))
    words = ("report", "2026-01", "calls.jsonl", "page.html", "--archives", "archives.jsonl", "--group-by", "role")
    # In its own process: playwright has a loop in this one.
    result = run_command(*words, "--json", "--quiet", cwd=folder)
    # The files do not say which days they have.
    assert result.returncode == 6, result.stderr
    return folder / "page.html", json.loads(result.stdout)


@pytest.fixture(scope="module")
def gaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a month, of which the export has six days: 7 to 9 and 28 to 30."""
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("gaps")
    with Sandbox(seed=1, calls=CALLS, today=LAST).in_thread() as sandbox:
        names = {"VIDEOAPI_BASE_URL": sandbox.base_url, "VIDEOAPI_APP_ID": sandbox.app_id}
        names["VIDEOAPI_APP_KEY"] = sandbox.app_key
        for first, last in (("2026-01-07", "2026-01-09"), ("2026-01-28", "2026-01-30")):
            words = ("cdr", "export", first, last, "days", "--partition", "day", "--quiet")
            done = run_command(*words, cwd=folder, env=names)
            assert done.returncode == 0, done.stderr
    result = run_command("report", "2026-01", "days", "page.html", "--quiet", cwd=folder)
    assert result.returncode == 6, result.stderr
    return folder / "page.html"


@pytest.fixture
def open_page(browser: Any, report: tuple[Path, dict[str, Any]]) -> Iterator[Open]:
    """A function that opens a page. At the end, no page had an error, or a request to anywhere."""
    opened: list[Any] = []
    errors: list[str] = []
    urls: list[str] = []

    def opening(width: int = 1280, scheme: str = "light", path: Path = report[0], **options: Any) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, **options
        )
        page = context.new_page()
        opened.append(context)
        page.on("console", lambda message: errors.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: urls.append(request.url))
        page.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            page.locator(".chart").last.locator(".main-svg").first.wait_for()
        return page

    yield opening
    for context in opened:
        context.close()
    assert errors == []
    assert [url for url in urls if not url.startswith(("blob:", "file:"))] == []


def rows_of(page: Any, table: str) -> list[list[str]]:
    """Return the exact values of a table's body, also if it is folded."""
    found: list[list[str]] = page.evaluate(
        "id => [...document.querySelectorAll(`#${id}-table tbody tr`)].map(row => [...row.cells].map("
        "cell => cell.dataset.value ?? cell.textContent))",
        table,
    )
    return found


def marks(page: Any) -> dict[str, int]:
    """Return how many bars, lines and cells each chart has."""
    found: dict[str, int] = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('[data-chart]')].map(chart => [chart.dataset.chart, "
        "chart.querySelectorAll('.point path, .js-line, .hm image').length]))"
    )
    return found


def test_every_chart_has_its_marks(open_page: Open, report: tuple[Path, dict[str, Any]]) -> None:
    found = marks(open_page())
    assert tuple(sorted(found)) == tuple(sorted(CHARTS))
    assert found["day"] == 3 * 31
    assert found["hours"] >= 1
    groups = report[1]["groups"]
    for name in ("owner_ref", "room"):
        assert found[name] == 2 * len(groups[name]["entries"])
    assert found["role"] == 2
    assert found["quality"] >= 2
    assert found["recordings"] == 31


def test_tables_show_the_figures(open_page: Open, report: tuple[Path, dict[str, Any]]) -> None:
    figures = report[1]
    check_tables(open_page(), figures)


def test_tables_show_the_figures_without_javascript(open_page: Open, report: tuple[Path, dict[str, Any]]) -> None:
    page = open_page(java_script_enabled=False)
    html = page.content()
    for day in report[1]["days"]:
        cells = f'<th scope="row">{day["day"]}</th><td data-value="{day["records"]}">{day["records"]:,}</td>'
        assert cells in html
    playwright.expect(page.locator("noscript")).to_be_visible()
    assert page.locator("#day .chart").is_hidden()
    assert page.locator("thead button, a.csv").count() == 0
    playwright.expect(page.get_by_role("table", name="Figures per day")).to_be_visible()
    first = page.locator("#day-table, #days-table").locator("tbody tr").first
    assert first.inner_text().split()[0] == "2026-01-01"


def check_tables(page: Any, figures: dict[str, Any]) -> None:
    names = ("records", "sessions", "participant_minutes", "room_minutes", "counted_minutes")
    shown = [[row[0], *map(float, row[1:])] for row in rows_of(page, "days")]
    assert shown == [[day["day"], *(day[name] for name in names)] for day in figures["days"]]
    for group in ("owner_ref", "room"):
        rows = rows_of(page, group)
        entries = figures["groups"][group]["entries"]
        first = 2 if group == "room" else 1
        assert [list(map(float, row[first:-1])) for row in rows] == [[one[name] for name in names] for one in entries]
        assert [row[0] for row in rows] == [one["key"] for one in entries]
    hours = [list(map(int, row[1:8])) for row in rows_of(page, "hours")]
    assert [list(day) for day in zip(*hours, strict=True)] == list(figures["hours"].values())
    totals = page.evaluate("Object.fromEntries([...document.querySelectorAll('.cards dt')].map("
                           "name => [name.textContent, Number(name.nextElementSibling.dataset.value)]))")  # fmt: skip
    assert totals == {
        "Participant minutes": figures["totals"]["participant_minutes"],
        "Room minutes": figures["totals"]["room_minutes"],
        "Service-counted minutes": figures["totals"]["counted_minutes"],
        "Sessions": figures["totals"]["sessions"],
        "Connections": figures["totals"]["records"],
        "Users": figures["totals"]["users"],
        "Rooms": figures["totals"]["rooms"],
        "Owners": figures["totals"]["owner_refs"],
    }


def test_table_is_sorted_by_click_and_by_keyboard(open_page: Open) -> None:
    page = open_page()
    head = page.locator("#days-table thead th").nth(3)
    head.get_by_role("button").click()
    minutes = [float(row[3]) for row in rows_of(page, "days")]
    assert minutes == sorted(minutes, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")
    assert [float(row[3]) for row in rows_of(page, "days")] == sorted(minutes)
    day = page.locator("#days-table thead th").first
    day.get_by_role("button").focus()
    page.keyboard.press("Space")
    assert [row[0] for row in rows_of(page, "days")] == sorted(row[0] for row in rows_of(page, "days"))
    assert head.get_attribute("aria-sort") is None
    assert page.locator("#days-table tfoot th").inner_text() == "Total"


def test_csv_of_a_table_has_its_exact_values_and_no_formula(open_page: Open) -> None:
    page = open_page(accept_downloads=True)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download “Figures by owner_ref” as CSV").click()
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    assert download.value.suggested_filename == "usage-2026-01-owner_ref-table.csv"
    rows = list(csv.reader(io.StringIO(text)))
    names = [row[0] for row in rows]
    assert "'=<img src=x onerror=alert(1)>" in names
    assert "''=1" in names
    assert not any(name.startswith("=") for name in names)
    assert rows[0][:3] == ["owner_ref", "Connections", "Sessions"]
    body = rows_of(page, "owner_ref")
    assert [row[1:] for row in rows[1 : len(body) + 1]] == [row[1:] for row in body]


def test_days_that_are_not_known_are_empty_in_charts_tables_and_csv(open_page: Open, gaps: Path) -> None:
    page = open_page(path=gaps, accept_downloads=True)
    bars = "[...document.querySelectorAll('#day .point path')].filter(bar => bar.getBBox().height > 0).length"
    assert page.evaluate(bars) == 3 * 6
    assert page.locator("#days-table tbody td.none").count() == 5 * 25
    assert [row[1] for row in rows_of(page, "hours")].count("") == 24
    with page.expect_download() as download:
        page.get_by_role("link", name="Download “Figures per day” as CSV").click()
    lines = Path(download.value.path()).read_text(encoding="utf-8-sig").splitlines()
    assert lines[1:7] == [f"2026-01-0{day},,,,," for day in range(1, 7)]
    assert ",," not in lines[7]
    # Sorted by a figure, the days without one are last.
    page.locator("#days-table thead th").nth(1).get_by_role("button").click()
    assert [row[1] == "" for row in rows_of(page, "days")] == [False] * 6 + [True] * 25


@pytest.mark.parametrize("width", [390, 1280])
def test_notices_do_not_overlap(width: int, open_page: Open, gaps: Path) -> None:
    page = open_page(width, path=gaps)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    boxes = [notice.bounding_box() for notice in page.locator("#totals .warning").all()]
    assert len(boxes) == 3
    assert all(one["y"] + one["height"] <= other["y"] for one, other in itertools.pairwise(boxes))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_page_fits_its_width_and_is_readable(width: int, scheme: str, open_page: Open) -> None:
    page = open_page(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert all(marks(page).values())
    ratios = page.evaluate(CONTRAST)
    assert min(ratios.values()) >= 3, ratios
    assert {name: ratio for name, ratio in ratios.items() if name.startswith("text") and ratio < 4.5} == {}


# The contrast of texts, and of the colours of the charts, with what is below them.
CONTRAST = """() => {
  const channels = (text) => text.match(/[0-9.]+/g).slice(0, 3).map(Number);
  const light = (text) => {
    const [r, g, b] = channels(text).map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const found = {};
  const panel = getComputedStyle(document.querySelector("section")).backgroundColor;
  for (const [name, query] of Object.entries({body: "td", muted: "section > p", link: "section a", head: "thead th"})) {
    found[`text ${name}`] = ratio(getComputedStyle(document.querySelector(query)).color, panel);
  }
  found["text chart"] = ratio(getComputedStyle(document.querySelector(".xtick text")).fill, panel);
  for (const mark of document.querySelectorAll(".chart .point path")) {
    const fill = getComputedStyle(mark).fill;
    found[`mark ${fill}`] = ratio(fill, panel);
  }
  return found;
}"""


def test_charts_follow_the_theme_and_paper_is_light(open_page: Open) -> None:
    page = open_page(scheme="dark")
    tick = page.locator("#day .xtick text").first
    light, dark, black = "rgb(24, 32, 43)", "rgb(230, 234, 240)", "rgb(0, 0, 0)"
    playwright.expect(tick).to_have_css("fill", dark)
    page.emulate_media(color_scheme="light")
    playwright.expect(tick).to_have_css("fill", light)
    page.emulate_media(color_scheme="dark")
    playwright.expect(tick).to_have_css("fill", dark)
    page.emulate_media(media="print")
    playwright.expect(tick).to_have_css("fill", black)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("a.csv").first.is_hidden()
    assert page.evaluate("document.querySelector('#day .chart .main-svg').getBoundingClientRect().width") <= 700
    page.emulate_media(media="screen")
    playwright.expect(tick).to_have_css("fill", dark)
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
