"""Compares statements of the documentation with the code."""

from __future__ import annotations

import inspect
import re
from datetime import datetime
from pathlib import Path

import attrs
import pytest

import videoapi
from videoapi import (
    CallRecord,
    RetryPolicy,
    SessionManager,
    VideoAPIError,
    VideoClient,
    errors,
    new_reference,
    reference_for,
)
from videoapi.creation.references import is_reference
from videoapi.models.formulas import escaped
from videoapi.protocol.codes import TEXTS
from videoapi.sandbox import KINDS, Sandbox, Switches
from videoapi.webhooks import Webhooks

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_internal_links_resolve(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_is_reachable_from_the_index() -> None:
    seen: set[Path] = set()
    waiting = [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md" or not page.is_relative_to(DOCS):
            continue
        seen.add(page)
        waiting += [(page.parent / link.partition("#")[0]).resolve() for link in LINK.findall(prose(page))]
    assert seen == set(DOCS.rglob("*.md"))


def test_cited_contract_sections_exist() -> None:
    numbers = set(re.findall(r"^#+ (\d+(?:\.\d+)?) ", text("contract.md"), re.MULTILINE))
    numbers |= set(re.findall(r"^\*\*(\d+\.\d+) ", text("contract.md"), re.MULTILINE))
    for module in (ROOT / "videoapi").rglob("*.py"):
        source = module.read_text(encoding="utf-8")
        for sections in re.findall(r"[Cc]ontract(?:\.md)? (\d[\d., ]*\d|\d)", source):
            for number in re.findall(r"\d+(?:\.\d+)?", sections):
                assert number in numbers, f"{module.name} cites contract {number}"


def test_contract_lists_every_result_code_with_its_text() -> None:
    table: dict[int, str] = {}
    for codes, words in re.findall(r"^\|[^|]*\| ([\d, ]+) \| (.+?) \|$", text("contract.md"), re.MULTILINE):
        for code in codes.split(","):
            table[int(code)] = words
    assert table.pop(50004) == table.pop(50005) == f'{TEXTS[50004]} (one surely meant "update")'
    assert table == {code: words for code, words in TEXTS.items() if code not in (50004, 50005)}


@pytest.mark.parametrize("page", ["contract.md", "reference/sandbox.md"])
def test_switches_are_listed_with_their_defaults(page: str) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `?([^`,|]+)", text(page), re.MULTILINE))
    switches = Switches()
    for field in attrs.fields(Switches):
        default = getattr(switches, field.name)
        documented = rows[field.name].strip().split(" ")[0]
        assert documented == ("none" if default is None else str(default)), field.name


def test_every_error_is_in_the_reference() -> None:
    page = text("reference/errors.md")
    for name, error in inspect.getmembers(errors, inspect.isclass):
        if issubclass(error, VideoAPIError):
            assert f"`{name}`" in page, name
    for fact in inspect.signature(VideoAPIError).parameters:
        assert fact == "message" or f"`{fact}`" in page, fact


@pytest.mark.parametrize("owner", [VideoClient, SessionManager, RetryPolicy, Webhooks])
def test_every_setting_is_in_the_reference_with_its_default(owner: type) -> None:
    page = text("reference/settings.md")
    section = page.split(f"## {owner.__name__}")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `?([^`|]+)", section, re.MULTILINE))
    for name, parameter in inspect.signature(owner).parameters.items():
        default = parameter.default
        assert name in rows, name
        if isinstance(default, bool | int | float):
            assert rows[name].strip() in (f"{default:g}", str(default)), name


def test_every_sandbox_argument_and_fault_is_in_the_reference() -> None:
    page = text("reference/sandbox.md")
    for name in inspect.signature(Sandbox).parameters:
        assert name == "switches" or f"`{name}`" in page, name
    for kind, words in KINDS.items():
        assert re.search(rf"^\| `{kind}` \| {re.escape(words)} \|$", page, re.MULTILINE), kind


def test_columns_of_call_records_are_in_the_reference_with_type_and_unit() -> None:
    words = {"text": str, "float": float, "bool": bool, "datetime": datetime}
    section = text("reference/call-record-columns.md").split("## Columns")[1]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\w*) ?\| `[\w.]+` \|", section, re.MULTILINE)
    assert [(name, words[kind]) for name, kind, _ in rows] == list(CallRecord.columns.items())
    units = {"seconds", "minutes", "percent"}
    for name, kind, unit in rows:
        end = name.rpartition("_")[2]
        if end in units:
            assert unit == end, name
        assert bool(unit) == (kind in ("float", "datetime")), name


@pytest.mark.parametrize("page", ["howto/data-frames.md", "howto/usage-report.md"])
def test_pattern_of_references_is_that_of_the_client(page: str) -> None:
    found = re.findall(r"vx\[[^]]+\]\{\d+\}", text(page))
    assert found
    for pattern in found:
        for reference in (new_reference(), reference_for("job", "key"), "vx", "vx1" * 9 + "a", "owner-1"):
            assert (re.fullmatch(pattern, reference) is not None) == is_reference(reference)


def test_apostrophe_of_an_export_is_removed_as_the_guide_says() -> None:
    (pattern,) = re.findall(r'replace\(r"([^"]+)", "", regex=True\)', text("howto/data-frames.md"))
    for plain in ("=A", "'=A", "''=A", "'A", "'", "-5", "'-5", "+x", "@", "\t1", "a'=b", "Ann"):
        assert re.sub(pattern, "", escaped(plain)) == plain


def test_every_public_name_can_be_imported() -> None:
    assert sorted(videoapi.__all__) == videoapi.__all__
    for name in videoapi.__all__:
        assert getattr(videoapi, name) is not None


def test_contributing_page_has_at_most_50_lines() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 50


@pytest.mark.parametrize("example", ["fastapi_backend.py", "aiohttp_backend.py", "fastapi_bookings.py"])
def test_web_backends_guide_quotes_the_examples(example: str) -> None:
    code = (ROOT / "examples" / example).read_text(encoding="utf-8").split('"""\n', 1)[1].strip()
    assert code in text("howto/web-backends.md")


@pytest.mark.parametrize(
    ("example", "start"),
    [
        ("django_backend.py", "async def application"),
        ("flask_backend.py", "def video"),
        ("celery_tasks.py", "@worker_process_init.connect"),
        ("celery_tasks.py", "@app.task"),
    ],
)
def test_web_backends_guide_quotes_functions_of_the_examples(example: str, start: str) -> None:
    code = (ROOT / "examples" / example).read_text(encoding="utf-8")
    (function,) = (part for part in code.split("\n\n\n") if part.startswith(start))
    assert function.strip() in text("howto/web-backends.md")
