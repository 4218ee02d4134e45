"""An export of a stream that yields a window again: its rows are in the file once, also after a kill."""

import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import date
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videoapi.cli.csv_rows import Table
from videoapi.cli.export import ExportOptions, export
from videoapi.cli.export_file import ExportFile
from videoapi.errors import ConfigurationError, ServerFault
from videoapi.streaming.record_filter import Counts
from videoapi.streaming.windows import Window

WEEKS = tuple(Window(index, date(2026, 1, 1 + 7 * index)) for index in range(4))
QUESTION = {"app_id": "a", "origin": "https://a.example", "records": "cdr"}


@attrs.frozen
class Place:
    """A cursor: a window, and how many of its rows were yielded."""

    since: str
    count: int

    def at_start(self) -> "Place":
        return Place(self.since, 0)

    def __str__(self) -> str:
        return f"{self.since}/{self.count}"


@attrs.frozen
class Row:
    """A record; a name of None cannot be written."""

    identity: str
    name: str | None = ""

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.identity, "name": self.name}

    def to_json(self) -> str:
        if self.name is None:
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
        return json.dumps(self.to_dict())


class Script:
    """A stream that reads windows row by row; a step may restart the window, or fail.

    Args:
        windows: The steps of each window: a row, `again` (the window comes again, with the next list), or `fail`.
        cursor: Where to begin.
    """

    def __init__(self, windows: list[list[Row | str]], cursor: str | None) -> None:
        since, _, count = (cursor or "/0").partition("/")
        self.rejected: tuple[Any, ...] = ()
        self.rejected_count = 0
        self.window_counts = Counts()
        self.total_counts = Counts(outside=2, undated=3, odd=Counter({"price": 1}))
        self.restarted_windows: tuple[Window, ...] = ()
        self.cursor: Any = Place(since, int(count))
        self._skip = int(count)
        self._windows = [
            (WEEKS[index], steps) for index, steps in enumerate(windows) if str(WEEKS[index].first) >= since
        ]

    def counts(self, *, without_last: bool = False) -> Counts:
        return Counts()

    async def __aenter__(self) -> "Script":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def __aiter__(self) -> AsyncIterator[Row]:
        skip = self._skip
        for window, steps in self._windows:
            number = 0
            for step in steps:
                if step == "again":
                    self.restarted_windows = (*self.restarted_windows, window)
                    number = skip = 0
                elif step == "fail":
                    raise ServerFault("The service is down.")
                else:
                    assert isinstance(step, Row)
                    number += 1
                    if number > skip:
                        self.cursor = Place(str(window.first), number)
                        yield step
            skip = 0


def options(out: Path, **more: Any) -> ExportOptions:
    values: dict[str, Any] = {
        "out": out,
        "table": Table(("id", "name"), lambda row: [row.identity, row.name, ""]),
        "question": QUESTION,
        "cursor": None,
        "overwrite": False,
        "fresh": False,
        "excel": False,
        "strict": False,
        "as_json": True,
        "quiet": True,
        "again": ["again"],
    }
    return ExportOptions(**(values | more))


async def run(out: Path, windows: list[list[Row | str]], **more: Any) -> int:
    ask: Callable[[str | None], Any] = lambda cursor: Script(windows, cursor)  # noqa: E731
    return await export(options(out, **more), ask)


def rows(*names: str) -> list[Row | str]:
    return [Row(name) for name in names]


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


async def test_window_that_comes_again_is_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    windows = [rows("a", "b"), [*rows("d", "c"), "again", *rows("c", "d")], rows("e")]
    assert await run(tmp_path / "out.jsonl", windows) == 0
    assert ids(tmp_path / "out.jsonl") == ["a", "b", "c", "d", "e"]
    report = json.loads(capsys.readouterr().out)
    assert report["records"] == 5
    assert report["restarted"] == 1
    assert report["sha256"] == hashlib.sha256((tmp_path / "out.jsonl").read_bytes()).hexdigest()


async def test_window_that_comes_again_without_rows_leaves_none(tmp_path: Path) -> None:
    assert await run(tmp_path / "out.jsonl", [rows("a"), [*rows("b"), "again"], rows("c")]) == 0
    assert ids(tmp_path / "out.jsonl") == ["a", "c"]
    assert await run(tmp_path / "last.jsonl", [rows("a"), [*rows("b"), "again"]]) == 0
    assert ids(tmp_path / "last.jsonl") == ["a"]


async def test_restart_before_the_first_row_does_not_cost_the_window_before(tmp_path: Path) -> None:
    assert await run(tmp_path / "out.jsonl", [rows("a", "b"), ["again", *rows("c")]]) == 0
    assert ids(tmp_path / "out.jsonl") == ["a", "b", "c"]


async def test_continued_export_discards_the_window_that_its_earlier_process_began(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(ServerFault):
        await run(out, [rows("a", "b"), [*rows("d", "c"), "fail"]])
    assert ids(tmp_path / "out.jsonl.part") == ["a", "b", "d", "c"]
    assert await run(out, [rows("a", "b"), ["again", *rows("c", "d")], rows("e")]) == 0
    assert ids(out) == ["a", "b", "c", "d", "e"]


async def test_restart_is_remembered_by_the_state(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(ServerFault):
        await run(out, [rows("a", "b"), [*rows("d", "c"), "again", "fail"]])
    assert ids(tmp_path / "out.jsonl.part") == ["a", "b"]
    # The state now points to the start of the second window.
    assert await run(out, [["fail"], rows("c", "d")]) == 0
    assert ids(out) == ["a", "b", "c", "d"]


async def test_header_is_kept_when_the_first_window_comes_again(tmp_path: Path) -> None:
    assert await run(tmp_path / "out.csv", [[*rows("b", "a"), "again", *rows("a", "b")]]) == 0
    assert (tmp_path / "out.csv").read_text() == "id,name,extra\na,,\nb,,\n"


async def test_record_that_cannot_be_written_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.jsonl"
    assert await run(out, [[Row("a"), Row("b", None), Row("c")]]) == 6
    assert ids(out) == ["a", "c"]
    (rejected,) = [json.loads(line) for line in (tmp_path / "out.jsonl.rejected.jsonl").read_text().splitlines()]
    assert rejected["id"] == "b"
    assert rejected["window"] == "2026-01-01"
    assert "UnicodeEncodeError" in rejected["reason"]
    assert json.loads(rejected["record"]) == {"id": "b", "name": None}
    report = json.loads(capsys.readouterr().out)
    assert (report["records"], report["rejected"]) == (2, 1)
    assert report["odd"] == {"price": 1}
    assert report["undated"] == 3


async def test_strict_export_ends_at_a_record_that_cannot_be_written_and_meets_it_again(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for _ in range(2):
        assert await run(out, [[Row("a"), Row("b", None), Row("c")]], strict=True) == 6
        assert ids(tmp_path / "out.jsonl.part") == ["a"]
    assert await run(out, [[Row("a"), Row("b", None), Row("c")]]) == 6
    assert ids(out) == ["a", "c"]


async def test_rejected_records_of_a_window_that_comes_again_are_listed_once(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(ServerFault):
        await run(out, [[Row("a"), Row("b", None), "fail"]])
    assert await run(out, [["again", Row("b", None), Row("a")]]) == 6
    assert len((tmp_path / "out.jsonl.rejected.jsonl").read_text().splitlines()) == 1


def recorded(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.with_name(f"{out.name}.state").read_text())
    return found


async def test_second_export_to_one_file_is_refused(tmp_path: Path) -> None:
    file = ExportFile(tmp_path / "out.jsonl", QUESTION, b"")
    file.open()
    with pytest.raises(ConfigurationError, match="another process is writing this export"):
        await run(tmp_path / "out.jsonl", [rows("a")])
    file.close()
    assert await run(tmp_path / "out.jsonl", [rows("a")]) == 0


async def test_summary_and_screen_name_odd_fields_and_undated_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(tmp_path / "out.jsonl", [rows("a")], quiet=False) == 0
    printed = capsys.readouterr().err
    assert "price (1)" in printed
    assert "3 records have no readable date" in printed


_STEPS = st.lists(st.lists(st.sampled_from(["row", "row", "row", "again", "kill"]), max_size=8), min_size=1, max_size=4)


@settings(deadline=None, max_examples=60)
@given(_STEPS, st.integers(0, 3))
async def test_any_sequence_of_restarts_failures_and_kills_writes_each_row_once(
    tmp_path_factory: pytest.TempPathFactory, plan: list[list[str]], sizes: int
) -> None:
    """Each run reads every window in another order, says so, and fails in a later window than the run before it."""
    out = tmp_path_factory.mktemp("export") / "out.jsonl"
    part = out.with_name("out.jsonl.part")
    wanted = [[f"{week}-{number}" for number in range(1 + (week + sizes) % 4)] for week in range(len(plan))]
    for attempt, steps in enumerate(plan):
        windows: list[list[Row | str]] = [["again", *rows(*names)] for names in wanted]
        windows[attempt] = ["again", *partly(steps, wanted[attempt]), "fail"]
        with pytest.raises(ServerFault):
            await run(out, windows)
        if "kill" in steps and part.exists():
            with part.open("ab") as file:
                file.write(b"a row that no state knows\n")
        wanted = [names[::-1] for names in wanted]
    assert await run(out, [["again", *rows(*names)] for names in wanted]) == 0
    assert Counter(ids(out)) == Counter(name for names in wanted for name in names)


def partly(steps: list[str], names: list[str]) -> list[Row | str]:
    """Return the steps of a window that is read in part, perhaps several times."""
    left = iter(names)
    read: list[Row | str] = []
    for step in steps:
        if step == "again":
            left = iter(names)
            read.append(step)
        elif step == "row":
            read += [Row(name) for name in [next(left, None)] if name is not None]
    return read
