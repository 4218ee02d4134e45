"""The site: it builds without a warning, its links lead somewhere, and it works in a browser without a network."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1_000),
]
SECTIONS = ["Get started", "Guides", "Recipes", "Concepts", "Reference", "Contributing"]


class _Links(HTMLParser):
    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif "src" in given:
            self.loaded.append(given["src"])
        elif tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon"):
            self.loaded.append(given["href"])


def broken(site: Path, pages: dict[Path, _Links]) -> list[str]:
    found = []
    for page, parsed in pages.items():
        for link in [*parsed.links, *parsed.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            missing = not target.is_file() or not target.is_relative_to(site)
            fragment = unquote(parts.fragment)
            if missing or (fragment and target in pages and fragment not in pages[target].ids):
                found.append(f"{page.relative_to(site)}: {link}")
    return found


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, _Links]:
    return {page: _Links(page) for page in sorted(site.resolve().rglob("*.html"))}


def test_internal_links_lead_to_a_page_and_a_heading(site: Path, pages: dict[Path, _Links]) -> None:
    assert len(pages) > 100
    assert sum(len(parsed.links) for parsed in pages.values()) > 5_000
    assert broken(site.resolve(), pages) == []


def test_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<a href="gone.html">x</a><a href="#gone">y</a><h1 id="there"></h1><a href="#there">z</a>')
    assert broken(tmp_path, {page: _Links(page)}) == ["page.html: gone.html", "page.html: #gone"]


def test_pages_show_nothing_of_the_machine_that_builds_them(site: Path) -> None:
    of_the_machine = re.compile(r"environ\(\{| at 0x[0-9a-f]{6,}|<function ")
    folders = (str(Path(__file__).resolve().parents[2]), str(Path.home()), str(site))
    found = {}
    for page in sorted(site.rglob("*.html")):
        # Without the markup within a signature.
        text = html.unescape(re.sub(r"<[^>]*>", "", page.read_text(encoding="utf-8")))
        shown = [*of_the_machine.findall(text), *(folder for folder in folders if f"{folder}/" in text)]
        if shown:
            found[str(page.relative_to(site))] = shown
    assert found == {}


def test_pages_load_nothing_from_elsewhere(pages: dict[Path, _Links]) -> None:
    foreign = {link for parsed in pages.values() for link in parsed.loaded if urlsplit(link).netloc}
    assert foreign == set()


def test_fields_have_their_types_and_link_to_them(site: Path) -> None:
    page = (site / "reference" / "api" / "Room.html").read_text(encoding="utf-8")
    assert 'id="videoapi.Room.settings"' in page
    assert "EffectiveSettings.html#videoapi.EffectiveSettings" in page
    events = (site / "reference" / "api" / "CallEvent.html").read_text(encoding="utf-8")
    assert "https://docs.python.org/3/library/stdtypes.html#str" in events


def test_names_in_the_text_of_a_guide_link_to_the_reference(site: Path) -> None:
    guide = (site / "howto" / "bulk.html").read_text(encoding="utf-8")
    assert "../reference/api/Room.html#videoapi.Room" in guide


@pytest.fixture(params=[1280, 390], ids=["wide", "narrow"])
def view(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """Yield a page of a browser; console errors, failed requests and requests to elsewhere fail the test."""
    context = browser.new_context(viewport={"width": request.param, "height": 900})
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda sent: None if sent.url.startswith(address) else problems.append(sent.url))
    page.on("response", lambda got: problems.append(f"{got.status} {got.url}") if got.status >= 400 else None)
    yield page
    context.close()
    assert problems == []


def fits(view: Any) -> bool:
    """Return whether nothing is wider than the window."""
    return bool(view.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def test_home_shows_the_sections(view: Any, address: str) -> None:
    view.goto(f"{address}/index.html")
    captions = view.locator(".sidebar-tree .caption-text").all_inner_texts()
    assert [caption.lower() for caption in captions] == [section.lower() for section in SECTIONS]
    assert fits(view)


def test_guide_and_page_of_the_api_fit_the_window(view: Any, address: str) -> None:
    for page, title in (
        ("howto/bulk.html", "Create and delete many rooms"),
        ("reference/api/VideoClient.html", "VideoClient"),
    ):
        view.goto(f"{address}/{page}")
        assert view.locator("h1").first.inner_text().startswith(title)
        assert fits(view), page


def test_search_for_cursor_finds_its_page(view: Any, address: str) -> None:
    view.goto(f"{address}/search.html?q=cursor")
    results = view.locator("#search-results ul.search li a")
    results.first.wait_for()
    assert any("Cursor" in text for text in results.all_inner_texts())
    results.first.click()
    view.wait_for_load_state()
    assert "cursor" in view.url.lower()


def test_dark_mode_changes_the_background(view: Any, address: str) -> None:
    view.goto(f"{address}/index.html")
    colors = set()
    for _ in range(3):
        colors.add(view.evaluate("getComputedStyle(document.body).backgroundColor"))
        view.locator(".theme-toggle:visible").first.click()
    assert len(colors) == 2
