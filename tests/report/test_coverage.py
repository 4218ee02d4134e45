"""A report from an export says which days the export lacks, or may lack."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from report.conftest import Cli, OnDay, figures

from videoapi.sandbox import Sandbox

FIRST, LAST = "2026-01-05", "2026-01-09"
SHIFTED = ("--timezone", "Asia/Kolkata")
NO_DAY = [{"records": "cdr", "first": "2026-01-04", "last": "2026-01-04"}]


def export(cli: Cli, name: str, *words: str, days: tuple[str, ...] = (FIRST, LAST)) -> None:
    done = cli("cdr", "export", *days, name, "--quiet", *words)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", ["all.jsonl", "all.csv", "all.parquet", "all.jsonl.gz"])
@pytest.mark.parametrize("period", [(FIRST, LAST), ()], ids=["period", "all"])
def test_days_that_a_file_lacks_in_another_time_zone_are_named(
    sandbox: Sandbox, cli: Cli, folder: Path, name: str, period: tuple[str, ...]
) -> None:
    plain = name.removesuffix(".gz")
    export(cli, plain)
    if plain != name:
        (folder / name).write_bytes(gzip.compress((folder / plain).read_bytes()))
        (folder / plain).unlink()
    lacking = cli("report", *period, name, "page.html", "--json", *SHIFTED)
    assert NO_DAY[0] in figures(lacking, complete=False)["missing_days"]
    assert "The export has no call records of 2026-01-04" in lacking.stderr
    assert "no call records of 4 January 2026" in (folder / "page.html").read_text()
    in_utc = cli("report", *period, name, "--json")
    assert (figures(in_utc)["missing_days"], figures(in_utc)["unstated_days"]) == ([], [])
    assert "export" not in in_utc.stderr


def test_export_of_one_more_day_has_the_records_of_the_service(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    export(cli, "more.csv", days=("2026-01-04", LAST))
    of_file = cli("report", FIRST, LAST, "more.csv", "--json", *SHIFTED)
    live = figures(cli("report", FIRST, LAST, "--json", *SHIFTED))
    assert figures(of_file)["missing_days"] == []
    assert "The export" not in of_file.stderr
    assert figures(of_file)["days"] == live["days"]


def changed(state: Path, out: Path) -> None:
    out.write_bytes(out.read_bytes() + b"\n")


def edited(state: Path, out: Path) -> None:
    content = out.read_bytes()
    out.write_bytes(content.replace(b'"duration":1', b'"duration":9'))
    assert out.stat().st_size == len(content)
    assert out.read_bytes() != content


def lost(state: Path, out: Path) -> None:
    state.unlink()


def damaged(state: Path, out: Path) -> None:
    state.write_text("[1]")


def of_archives(state: Path, out: Path) -> None:
    state.write_text(state.read_text().replace('"cdr"', '"archives"'))


@pytest.mark.parametrize("spoil", [changed, edited, lost, damaged, of_archives])
def test_file_that_does_not_say_its_days_is_named(
    sandbox: Sandbox, cli: Cli, folder: Path, spoil: Callable[[Path, Path], None]
) -> None:
    export(cli, "all.jsonl")
    spoil(folder / "all.jsonl.state", folder / "all.jsonl")
    for words in ((FIRST, LAST), SHIFTED, ()):
        told = cli("report", "all.jsonl", "page.html", "--overwrite", "--json", *words)
        assert figures(told, complete=None)["unstated_days"] == ["cdr"]
        why = (
            "The export of call records has changed since it was made, and no longer says which days it has."
            if spoil in (changed, edited)
            else "The export does not say which days of call records it has: a file needs its .state."
        )
        assert f"{why} Check that it has all of " in told.stderr
        assert why in (folder / "page.html").read_text()


@pytest.mark.parametrize("name", ["all.csv", "all.parquet", "all.csv.gz"])
def test_changed_file_of_the_same_size_is_named(sandbox: Sandbox, cli: Cli, folder: Path, name: str) -> None:
    plain = folder / name.removesuffix(".gz")
    export(cli, plain.name)
    content = bytearray(plain.read_bytes())
    # A digit of the last row of a CSV file; a byte of the footer of Parquet files that says who wrote it.
    place = content.rindex(b"0") if plain.suffix == ".csv" else content.rindex(b"parquet-cpp")
    content[place] += 1
    plain.write_bytes(content)
    if name != plain.name:
        (folder / name).write_bytes(gzip.compress(plain.read_bytes()))
    told = cli("report", FIRST, LAST, name, "--json")
    assert figures(told, complete=None)["unstated_days"] == ["cdr"]
    assert "The export of call records has changed since it was made" in told.stderr


@pytest.mark.parametrize("with_manifest", [True, False])
def test_rewritten_file_of_a_folder_is_refused(sandbox: Sandbox, cli: Cli, folder: Path, with_manifest: bool) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export(cli, "days", "--partition", "day")
    if not with_manifest:
        (folder / "days" / "_manifest.json").unlink()
    assert cli("report", FIRST, LAST, "days", "--json").exit_code == 0
    path = folder / "days" / f"cdr-{LAST}.parquet"
    parquet.write_table(parquet.read_table(path, partitioning=None), path, compression="gzip")
    refused = cli("report", FIRST, LAST, "days", "--json")
    assert refused.exit_code == 2, refused.output
    assert f"cdr-{LAST}.parquet has changed since it was exported." in refused.stderr
    path.unlink()
    export(cli, "days", "--partition", "day")
    assert cli("report", FIRST, LAST, "days", "--json").exit_code == 0


def test_tail_of_an_export_does_not_say_its_days(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    sandbox.fault("cdr.by_period", "suspended", times=None, after=1)
    assert cli("cdr", "export", "2026-01-01", "2026-01-31", "all.jsonl").exit_code == 5
    sandbox.clear_faults()
    cursor = (folder / "all.jsonl.state").read_text().split('"cursor": "')[1].split('"')[0]
    export(cli, "tail.jsonl", "--cursor", cursor, days=("2026-01-01", "2026-01-31"))
    found = figures(cli("report", "2026-01", "tail.jsonl", "--json"), complete=None)
    assert (found["missing_days"], found["unstated_days"]) == ([], ["cdr"])


def test_file_of_a_room_or_a_session_has_all_days_and_says_its_scope(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    room, session = sandbox.history.room_ids()[0], sandbox.history.conf_nums()[0]
    export(cli, "room.csv", "--room", room, days=())
    export(cli, "session.csv", "--conference", session, days=())
    for name, scope in (("room.csv", f"room {room}"), ("session.csv", f"session {session}")):
        found = figures(cli("report", "2026-01", name, "--json", *SHIFTED))
        assert (found["missing_days"], found["unstated_days"], found["scope"]) == ([], [], scope)


def test_recordings_are_those_of_the_room_of_the_call_records(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    room = sandbox.history.room_ids()[0]
    export(cli, "room.csv", "--room", room, days=())
    assert cli("archives", "export", "2026-01-01", "2026-01-31", "archives.csv", "--quiet").exit_code == 0
    live = figures(cli("report", "2026-01", "--room", room, "--json"))["recordings"]
    found = figures(cli("report", "2026-01", "room.csv", "--archives", "archives.csv", "--json"))["recordings"]
    assert found == live


def standing(page: Path) -> str:
    """Return the line of a page that says whether it is complete; empty if it has none."""
    found = re.search(r'<p id="standing">(.*?)</p>', page.read_text())
    return "" if found is None else found[1]


def late(result: Any, *, complete: bool | None = True) -> tuple[Any, Any]:
    found = figures(result, complete=complete)
    return found["open_days"], found["final_from"]


def test_report_soon_after_its_period_says_that_records_may_come_late(
    sandbox: Sandbox, cli: Cli, folder: Path, on_day: OnDay
) -> None:
    on_day(2, 3)
    told = cli("report", "2026-01", "page.html", "--json", "--quiet")
    assert late(told) == ({"first": "2026-01-31", "last": "2026-01-31"}, "2026-02-04")
    assert told.stderr == (
        "The period ended on 2026-01-31, and the service may still add records. Make the report again from "
        "2026-02-04 on.\n"
    )
    assert "Make the report again from 4 February 2026 on." in (folder / "page.html").read_text()
    assert standing(folder / "page.html") == (
        "Not final: all days of January 2026, but the service may still add records. Read on 3 February 2026 12:00 UTC."
    )
    on_day(2, 4)
    told = cli("report", "2026-01", "page.html", "--json", "--quiet", "--overwrite")
    assert (late(told), told.stderr) == ((None, None), "")
    assert json.loads(told.stdout)["as_of"] == {"first": "2026-02-04T12:00:00Z", "last": "2026-02-04T12:00:00Z"}
    assert standing(folder / "page.html") == "Complete: all days of January 2026. Read on 4 February 2026 12:00 UTC."


def test_report_of_a_period_that_has_not_ended_says_when_it_will_be_final(
    sandbox: Sandbox, cli: Cli, folder: Path, on_day: OnDay
) -> None:
    on_day(1, 28)
    told = cli("report", "2026-01", "page.html", "--json", "--quiet")
    assert standing(folder / "page.html") == (
        "Incomplete: the notices below say why. Read on 28 January 2026 12:00 UTC."
    )
    assert late(told, complete=False) == ({"first": "2026-01-25", "last": "2026-01-31"}, "2026-02-04")
    assert told.stderr.startswith("The period has not ended: of 2026-01-28 to 2026-01-31 (UTC)")
    assert told.stderr.endswith("Make the report again from 2026-02-04 on.\n")


@pytest.mark.parametrize("name", ["all.csv", "all"])
def test_export_that_was_made_too_early_is_named_as_such_later(
    sandbox: Sandbox, cli: Cli, folder: Path, on_day: OnDay, name: str
) -> None:
    if name == "all":
        pytest.importorskip("pyarrow")
    partition = ("--partition", "day") if name == "all" else ()
    on_day(1, 10)
    export(cli, name, *partition, days=("2026-01-01", "2026-01-09"))
    on_day(6, 1)
    for words in (("2026-01-01", "2026-01-09"), ()):
        told = cli("report", *words, name, "--json", "--quiet")
        assert late(told) == ({"first": "2026-01-07", "last": "2026-01-09"}, "2026-01-13")
        assert "The service may have added records of 2026-01-07 to 2026-01-09 (UTC) since" in told.stderr
        assert json.loads(told.stdout)["as_of"] == dict.fromkeys(("first", "last"), "2026-01-10T12:00:00Z")
    cli("report", "2026-01-01", "2026-01-09", name, "page.html")
    assert standing(folder / "page.html") == (
        "Not final: all days of 1 January 2026 to 9 January 2026, but the service may have added records since the "
        "export was made. Exported on 10 January 2026 12:00 UTC."
    )
    settled = cli("report", "2026-01-01", "2026-01-06", name, "early.html", "--json", "--quiet")
    assert (late(settled), settled.stderr) == ((None, None), "")
    assert standing(folder / "early.html") == (
        "Complete: all days of 1 January 2026 to 6 January 2026. Exported on 10 January 2026 12:00 UTC."
    )
    export(cli, name, *(partition or ("--overwrite",)), days=("2026-01-01", "2026-01-09"))
    again = cli("report", "2026-01-01", "2026-01-09", name, "--json", "--quiet")
    assert (late(again), again.stderr) == ((None, None), "")
    first = "2026-01-10T12:00:00Z" if name == "all" else "2026-06-01T12:00:00Z"
    assert json.loads(again.stdout)["as_of"] == {"first": first, "last": "2026-06-01T12:00:00Z"}
    cli("report", "2026-01-01", "2026-01-09", name, "again.html")
    when = (
        "Exported from 10 January 2026 12:00 UTC to 1 June 2026 12:00 UTC."
        if name == "all"
        else "Exported on 1 June 2026 12:00 UTC."
    )
    assert standing(folder / "again.html") == f"Complete: all days of 1 January 2026 to 9 January 2026. {when}"


@pytest.mark.parametrize("name", ["all.csv", "all.jsonl"])
def test_page_of_an_export_that_does_not_say_its_days_does_not_say_that_it_is_complete(
    sandbox: Sandbox, cli: Cli, folder: Path, on_day: OnDay, name: str
) -> None:
    on_day(6, 1)
    export(cli, name, days=("2026-01-01", "2026-01-31"))
    (folder / f"{name}.state").unlink()
    told = cli("report", "2026-01", name, "page.html", "--json", "--quiet")
    found = json.loads(told.stdout)
    assert (found["complete"], found["as_of"]) == (None, None)
    assert standing(folder / "page.html") == ""


def test_export_that_does_not_say_its_day_may_be_of_today(
    sandbox: Sandbox, cli: Cli, folder: Path, on_day: OnDay
) -> None:
    on_day(2, 1)
    export(cli, "all.csv", days=("2026-01-01", "2026-01-31"))
    (folder / "all.csv.state").unlink()
    assert late(cli("report", "2026-01", "all.csv", "--json"), complete=None) == (
        {"first": "2026-01-29", "last": "2026-01-31"},
        f"{date(2026, 2, 4)}",
    )


def test_folder_of_an_interrupted_export_is_named_without_a_period(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    export(cli, "days", "--partition", "day")
    whole = cli("report", "days", "whole.html", "--json")
    assert figures(whole)["partial_exports"] == []
    assert "no manifest" not in whole.stderr
    (folder / "days" / "_manifest.json").unlink()
    partial = cli("report", "days", "partial.html", "--json")
    assert figures(partial, complete=False)["partial_exports"] == ["cdr"]
    assert "The export of call records has no manifest" in partial.stderr
    assert "The export of call records has no manifest" in (folder / "partial.html").read_text()
    # As after `export_window`, which writes none: the files have all days of this period.
    asked = cli("report", FIRST, LAST, "days", "--json")
    assert figures(asked)["partial_exports"] == []
    assert "no manifest" not in asked.stderr
    # Its note is still there.
    (folder / "days" / "cdr-2026-01-07.parquet").unlink()
    lacking = figures(cli("report", FIRST, LAST, "days", "--json"), complete=False)
    assert lacking["missing_days"] == [{"records": "cdr", "first": "2026-01-07", "last": "2026-01-07"}]


def test_file_without_its_note_is_missing_and_in_no_figure(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    export(cli, "days", "--partition", "day")
    whole = figures(cli("report", FIRST, LAST, "days", "--json"))
    # As after a kill between the two.
    (folder / "days" / "_manifest.json").unlink()
    (folder / "days" / "_notes" / f"cdr-{LAST}.json").unlink()
    found = figures(cli("report", FIRST, LAST, "days", "--json"), complete=False)
    assert found["missing_days"] == [{"records": "cdr", "first": LAST, "last": LAST}]
    assert found["totals"]["records"] == whole["totals"]["records"] - whole["days"][-1]["records"]


@pytest.mark.parametrize("has_manifest", [True, False])
def test_file_below_a_folder_is_not_taken_for_the_one_of_the_same_name(
    sandbox: Sandbox, cli: Cli, folder: Path, has_manifest: bool
) -> None:
    pytest.importorskip("pyarrow")
    export(cli, "days", "--partition", "day")
    whole = figures(cli("report", FIRST, LAST, "days", "--json"))
    (folder / "days" / "backup").mkdir()
    for path in sorted((folder / "days").glob("*.parquet")):
        shutil.copy(path, folder / "days" / "backup" / path.name)
    if has_manifest:
        refused = cli("report", FIRST, LAST, "days", "--json")
        assert refused.exit_code == 2, refused.output
        assert "backup" in refused.stderr
        assert "is not in _manifest.json" in refused.stderr
    else:
        (folder / "days" / "_manifest.json").unlink()
        told = json.loads(cli("report", FIRST, LAST, "days", "--json").stdout)
        assert told["totals"] == whole["totals"]


def archives_of(cli: Cli, name: str, *words: str) -> None:
    done = cli("archives", "export", FIRST, LAST, name, "--quiet", *words)
    assert done.exit_code == 0, done.output


def test_export_of_one_room_is_refused_for_another_or_for_all(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    one, other = sandbox.history.room_ids()[:2]
    session = sandbox.history.conf_nums()[0]
    export(cli, "all.jsonl")
    export(cli, "one.jsonl", "--room", one)
    export(cli, "session.jsonl", "--conference", session, days=())
    archives_of(cli, "archives.jsonl", "--room", other)
    for words, why in (
        (("one.jsonl", "--room", other), f"one.jsonl has only room {one}, and the report is of room {other}."),
        (("session.jsonl", "--conference", "none"), f"session.jsonl has only session {session}, and the report is of"),
        (("all.jsonl", "--archives", "archives.jsonl"), "and the report is of more than one room. Give --room"),
        (("one.jsonl", "--archives", "archives.jsonl"), f"archives.jsonl has only room {other}"),
    ):
        refused = cli("report", "2026-01", *words, "--json")
        assert refused.exit_code == 2, refused.output
        assert why in refused.stderr
    assert cli("report", FIRST, LAST, "all.jsonl", "--archives", "archives.jsonl", "--room", other).exit_code == 0


def test_exports_of_two_accounts_are_refused(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    export(cli, "calls.jsonl")
    archives_of(cli, "archives.jsonl")
    state = folder / "archives.jsonl.state"
    state.write_text(state.read_text().replace(sandbox.app_id, "b" * 24))
    refused = cli("report", FIRST, LAST, "calls.jsonl", "--archives", "archives.jsonl", "--json")
    assert refused.exit_code == 2, refused.output
    assert (
        f"exports of two accounts: {sandbox.app_id} at {sandbox.base_url.removesuffix('/video/v2')}" in refused.stderr
    )


def test_export_without_a_period_has_no_days_after_it_was_made(
    sandbox: Sandbox, cli: Cli, folder: Path, on_day: OnDay
) -> None:
    room = sandbox.history.room_ids()[0]
    on_day(1, 20)
    export(cli, "room.jsonl", "--room", room, days=())
    on_day(2, 20)
    told = figures(cli("report", "2026-01", "room.jsonl", "--json"), complete=False)
    assert told["missing_days"] == [{"records": "cdr", "first": "2026-01-21", "last": "2026-01-31"}]
    assert told["open_days"] == {"first": "2026-01-17", "last": "2026-01-20"}
    again = cli("cdr", "export", "--room", room, "room.jsonl")
    assert "room.jsonl was exported on 2026-01-20, and has" in again.stderr
    assert again.exit_code == 2
    state = folder / "room.jsonl.state"
    state.write_text(state.read_text().replace('"2026-01-20T12:00:00Z"', "null"))
    assert figures(cli("report", "2026-01", "room.jsonl", "--json"), complete=None)["unstated_days"] == ["cdr"]
