"""What a report does not know is not 0, and the exit code says that the report is incomplete."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from report.conftest import Cli, OnDay, figures

from videoapi.sandbox import Sandbox

MADE = "2026-03-01T09:30:00Z"
FIGURES = ("records", "sessions", "participant_minutes", "room_minutes", "counted_minutes")
NOTHING = dict.fromkeys(FIGURES)
DASHES = '<td class=none data-value="">–</td>' * 5


def call(day: int, *, at: str = "10:00:00") -> str:
    """Return a call record of a day of January, in which the 5th is a Monday."""
    when = f"2026-01-{day:02d}T{at}.000Z"
    record = {
        "cdr_id": f"{day} {at}", "conf_num": f"{day}", "trans_date": when,
        "room": {"room_id": "r", "connect_dt": when, "disconnect_dt": when},
        "user": {"ref": "u"}, "sigserver": {"connect_dt": when, "disconnect_dt": when, "duration": 60},
    }  # fmt: skip
    return json.dumps(record) + "\n"


def write_export(path: Path, records: list[int] | str, first: int, last: int, exported: str = MADE) -> None:
    """Write an export with records, or one on some days, and the state with the days that it has."""
    path.write_text(records if isinstance(records, str) else "".join(map(call, records)))
    question = {"records": "cdr", "from": f"2026-01-{first:02d}", "to": f"2026-01-{last:02d}"}
    state = {"version": 1, "complete": True, "question": question, "first": None, "exported": exported}
    content = path.read_bytes()
    state |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "result_size": None}
    path.with_name(path.name + ".state").write_text(json.dumps(state))


def test_days_that_the_source_lacks_are_not_known_and_in_no_average(cli: Cli, folder: Path) -> None:
    write_export(folder / "some.jsonl", [5, 6, 12], 5, 13)
    result = cli("report", "2026-01-01", "2026-01-13", "some.jsonl", "page.html", "--json")
    found = figures(result, complete=False)
    assert (folder / "page.html").is_file()
    days = {day.pop("day")[-2:]: day for day in found["days"]}
    assert all(days[name] == NOTHING for name in ("01", "02", "03", "04"))
    assert [name for name, day in days.items() if day["records"] == 0] == ["07", "08", "09", "10", "11", "13"]
    # Thursday to Sunday are known once, and not twice.
    assert list(found["weekday_days"].values()) == [2, 2, 1, 1, 1, 1, 1]
    page = (folder / "page.html").read_text()
    assert page.count(DASHES) == 4
    assert f'<th scope="row">2026-01-04</th>{DASHES}' in page
    assert '<th scope="row">2026-01-07</th><td data-value="0">0</td>' in page
    why = "and have a dash (–) instead of figures: the export does not have them."
    assert page.count(f"4 of the 13 days are not known</strong>, {why}") == 2
    assert "Monday from 10:00 to 11:00</strong> (UTC) with 1.00 connections begun on average, 2 on 2 Mondays" in page
    assert re.search('Average per known day</th><td data-value="1.0">1.0</td><td data-value="0.5">0.5</td>', page)


def test_days_of_another_time_zone_that_are_known_in_part_are_marked(cli: Cli, folder: Path) -> None:
    records = call(13) + call(14, at="00:10:00") + call(16) + call(17)
    write_export(folder / "some.jsonl", records, 12, 14)
    words = ("report", "2026-01-13", "2026-01-15", "some.jsonl", "--timezone", "America/New_York")
    found = figures(cli(*words, "page.html", "--json"), complete=False)
    # The 14th in New York ends at 5:00 of the 15th in UTC, which the export does not have.
    assert found["partly_known_days"] == []
    write_export(folder / "some.jsonl", records.replace("2026-01-14T00:10", "2026-01-14T09:10"), 12, 14)
    found = figures(cli(*words, "page.html", "--json", "--overwrite"), complete=False)
    assert [(day["day"], day["records"]) for day in found["days"]] == [
        ("2026-01-13", 1), ("2026-01-14", 1), ("2026-01-15", None)
    ]  # fmt: skip
    assert found["partly_known_days"] == ["2026-01-14"]
    page = (folder / "page.html").read_text()
    assert '<th scope="row">2026-01-14 (part)</th>' in page
    assert '<th scope="row">2026-01-13</th>' in page
    assert page.count("1 day is known only in part") == 2


def test_hours_and_days_with_as_many_connections_are_counted(cli: Cli, folder: Path) -> None:
    write_export(folder / "some.jsonl", [5, 6, 7], 5, 11)
    assert cli("report", "some.jsonl", "page.html").exit_code == 0
    page = (folder / "page.html").read_text()
    assert "(2 other days have as many)" in page
    assert "(2 other hours have as many)" in page


def test_busiest_hour_is_that_of_the_largest_average_per_known_day(cli: Cli, folder: Path) -> None:
    # January 2026 has five Thursdays, and four Wednesdays.
    thursdays = "".join(call(day) for day in (1, 8, 15, 22, 29))
    wednesdays = "".join(call(day, at="11:00:00") for day in (7, 14, 21, 28))
    more = call(28, at="11:10:00") + call(29, at="10:10:00")
    write_export(folder / "some.jsonl", thursdays + wednesdays + more, 1, 31)
    assert cli("report", "2026-01", "some.jsonl", "page.html").exit_code == 0
    page = (folder / "page.html").read_text()
    assert (
        "Wednesday from 11:00 to 12:00</strong> (UTC) with 1.25 connections begun on average, 5 on 4 Wednesdays."
        in page
    )


def test_complete_report_has_no_unknown_day(cli: Cli, folder: Path) -> None:
    write_export(folder / "some.jsonl", [5, 6], 5, 11)
    found = figures(cli("report", "2026-01-05", "2026-01-11", "some.jsonl", "page.html", "--json"))
    assert [day["records"] for day in found["days"]] == [1, 1, 0, 0, 0, 0, 0]
    assert list(found["weekday_days"].values()) == [1] * 7
    page = (folder / "page.html").read_text()
    assert "days are not known" not in page
    assert "Nothing is known" not in page
    assert DASHES not in page


def test_weekday_without_a_known_day_has_no_hours(cli: Cli, folder: Path) -> None:
    # The call begins on Sunday; its record is of Monday.
    late = call(5, at="00:10:00").replace(
        '"sigserver": {"connect_dt": "2026-01-05T00:10', '"sigserver": {"connect_dt": "2026-01-04T23:50'
    )
    write_export(folder / "some.jsonl", [5], 5, 5)
    (folder / "some.jsonl").write_text(late)
    state = json.loads((folder / "some.jsonl.state").read_text()) | {"size": len(late)}
    (folder / "some.jsonl.state").write_text(json.dumps(state))
    hours = figures(cli("report", "some.jsonl", "--json"))["hours"]
    assert hours["Monday"] == [0] * 24
    assert hours["Sunday"] == [None] * 23 + [1]
    assert hours["Tuesday"] == [None] * 24


def test_period_of_which_the_source_has_no_day_is_not_known(cli: Cli, folder: Path) -> None:
    write_export(folder / "some.jsonl", [5], 5, 6)
    result = cli("report", "2026-01-12", "2026-01-13", "some.jsonl", "page.html", "--json")
    found = figures(result, complete=False)
    assert set(found["totals"].values()) == {None}
    page = (folder / "page.html").read_text()
    assert "Nothing is known of this period" in page
    assert '<dd class="value" data-value="">–</dd><dd class="hint">not known</dd>' in page
    assert f'<th scope="row">Total</th>{DASHES}' in page


@pytest.mark.parametrize("words", [(), ("2026-01-05", "2026-01-09")])
def test_days_without_a_record_are_named_if_the_export_does_not_say_its_days(
    cli: Cli, folder: Path, words: tuple[str, ...]
) -> None:
    (folder / "some.jsonl").write_text(call(5) + call(6) + call(9))
    told = cli("report", *words, "some.jsonl", "page.html", "--json", "--quiet")
    assert [day["records"] for day in figures(told, complete=None)["days"]] == [1, 1, None, None, 1]
    why = "and have a dash (–) instead of figures: the export does not say that it has them."
    assert f"2 of the 5 days are not known</strong>, {why}" in (folder / "page.html").read_text()
    assert told.stderr == (
        "The export does not say which days of call records it has: a file needs its .state. "
        "It has none of 2026-01-07 to 2026-01-08 (UTC). "
        "Check that it has all of 2026-01-05 to 2026-01-09 (UTC): other days are not in any figure.\n"
    )


@pytest.mark.parametrize("name", ["all.jsonl", "days"])
def test_export_that_was_made_before_its_period_had_ended_is_incomplete(
    sandbox: Sandbox, cli: Cli, folder: Path, on_day: OnDay, name: str
) -> None:
    partition = ("--partition", "day") if name == "days" else ()
    if partition:
        pytest.importorskip("pyarrow")
    on_day(2, 2)
    done = cli("cdr", "export", "2026-01-30", "2026-02-05", name, "--quiet", *partition)
    assert done.exit_code == 0, done.output
    on_day(6, 1)
    told = cli("report", "2026-01-30", "2026-02-05", name, "page.html", "--json", "--quiet")
    found = figures(told, complete=False)
    assert found["unfinished_days"] == {"first": "2026-02-02", "last": "2026-02-05"}
    assert [day["records"] for day in found["days"]][2:] == [0, None, None, None, None]
    assert told.stderr == (
        "The period had not ended when the export was made: of 2026-02-02 to 2026-02-05 (UTC), only the records that "
        "existed then are in the figures. Export them again from 2026-02-09 on.\n"
    )
    ended = cli("report", "2026-01-30", "2026-02-01", name, "--json", "--quiet")
    assert figures(ended)["unfinished_days"] is None


COPIES = {
    "cp": "cp -R {0} copy",
    "tar": "tar -cf a.tar {0} && mkdir copy && tar -xmf a.tar -C copy --strip-components=1",
    "zip": "python3 -m zipfile -c a.zip {0}/ && python3 -m zipfile -e a.zip out && mv out/{0} copy",
    "git": "git init -q {0} && git -C {0} add -f . && git -C {0} -c user.name=a -c user.email=a@b commit -qm a && "
    "git clone -q {0} copy && rm -rf copy/.git",
    "rsync": "rsync -r {0}/ copy",
    "without the notes": "cp -R {0} copy && rm -rf copy/_notes",
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("is_folder", [True, False])
def test_copy_of_an_export_says_when_it_was_made(
    sandbox: Sandbox, cli: Cli, folder: Path, on_day: OnDay, how: str, is_folder: bool
) -> None:
    command = COPIES[how]
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"{command.split()[0]} is not installed")
    name = "made" if is_folder else "made/all.csv"
    if is_folder:
        pytest.importorskip("pyarrow")
    (folder / "made").mkdir()
    on_day(1, 31)
    words = ("--partition", "day") if is_folder else ()
    assert cli("cdr", "export", "2026-01-01", "2026-01-31", name, "--quiet", *words).exit_code == 0
    on_day(3, 1)
    subprocess.run(["bash", "-c", command.format("made")], cwd=folder, check=True, timeout=50)
    for path in (folder / "copy").rglob("*"):
        os.utime(path, (at := datetime(2026, 3, 1, tzinfo=UTC).timestamp(), at))
    told = cli("report", "2026-01", name.replace("made", "copy"), "--json", "--quiet")
    assert figures(told, complete=False)["unfinished_days"] == {"first": "2026-01-31", "last": "2026-01-31"}
    assert told.stderr.startswith("The period had not ended when the export was made: of 2026-01-31 (UTC)")


@pytest.mark.parametrize("made", [None, 7, "2026-03-01", "yesterday", "2200-01-01T00:00:00Z"])
@pytest.mark.parametrize("is_folder", [True, False])
def test_export_that_does_not_say_when_it_was_made_is_not_called_complete(
    sandbox: Sandbox, cli: Cli, folder: Path, made: object, is_folder: bool
) -> None:
    if is_folder:
        pytest.importorskip("pyarrow")
    name, note = ("days", "days/_manifest.json") if is_folder else ("all.jsonl", "all.jsonl.state")
    words = ("--partition", "day") if is_folder else ()
    assert cli("cdr", "export", "2026-01-05", "2026-01-06", name, "--quiet", *words).exit_code == 0
    kept = json.loads((folder / note).read_text())
    for one in kept["files"] if is_folder else [kept]:
        one["exported"] = made
    (folder / note).write_text(json.dumps(kept))
    for period in ((), ("2026-01-05", "2026-01-06"), ("2026-01-05",)):
        told = cli("report", *period, name, "page.html", "--overwrite", "--json", "--quiet")
        assert figures(told, complete=None)["untimed_exports"] == ["cdr"]
        why = "The export of call records does not say when it was made"
        assert why in told.stderr
        assert "Export the period again, with --overwrite." in told.stderr
        assert why in (folder / "page.html").read_text()


def test_days_of_the_future_are_not_known(sandbox: Sandbox, cli: Cli, folder: Path, on_day: OnDay) -> None:
    on_day(2, 3)
    found = figures(cli("report", "2026-01-30", "2026-02-05", "--json", "--quiet"), complete=False)
    assert [day["records"] is None for day in found["days"]] == [False] * 4 + [True] * 3
    cli("report", "2026-01-30", "2026-02-05", "page.html", "--quiet")
    assert "instead of figures: they had not ended." in (folder / "page.html").read_text()
    assert [day for day in found["recordings"]["days"] if day["archives"] is None] == [
        {"day": f"2026-02-0{day}", "archives": None} for day in (3, 4, 5)
    ]


def test_exit_code_of_a_report_whose_records_may_come_late_is_that_of_a_complete_one(
    sandbox: Sandbox, cli: Cli, on_day: OnDay
) -> None:
    on_day(2, 1)
    found = figures(cli("report", "2026-01", "--json", "--quiet"))
    assert found["final_from"] == "2026-02-04"


def test_long_period_has_months_that_are_not_known(cli: Cli, folder: Path) -> None:
    write_export(folder / "some.jsonl", [5], 1, 31)
    assert cli("report", "2025-11", "2026-01", "some.jsonl", "page.html").exit_code == 6
    page = (folder / "page.html").read_text()
    assert f'<th scope="row">2025-12</th>{DASHES}' in page
    assert '<th scope="row">2026-01</th><td data-value="1">1</td>' in page


@pytest.mark.parametrize("scope", ["--room", "--conference"])
def test_day_that_has_not_ended_makes_a_report_without_a_period_incomplete(
    sandbox: Sandbox, cli: Cli, folder: Path, on_day: OnDay, scope: str
) -> None:
    one = {"cdr_id": "1", "conf_num": "c", "trans_date": "2026-02-03T10:00:00.000Z", "room": {"room_id": "r"}}
    body = json.dumps({"result": "0", "cdr": [one]})
    found = []
    for day in (3, 4, 10):
        on_day(2, day)
        for name in ("cdr.by_room", "cdr.by_conference"):
            sandbox.fault(name, 200, times=1, body=body)
        report = json.loads(cli("report", scope, "r" if scope == "--room" else "c", "--json", "--quiet").stdout)
        found.append((report["unfinished_days"], report["final_from"]))
        sandbox.clear_faults()
    assert found == [
        ({"first": "2026-02-03", "last": "2026-02-03"}, "2026-02-07"),
        (None, "2026-02-07"),
        (None, None),
    ]


@pytest.mark.parametrize("name", ["all.jsonl", "all.csv", "all.parquet", "days"])
@pytest.mark.parametrize("first", ["2026-01-28", "2026-02-01"], ids=["with records", "empty"])
def test_export_of_a_period_that_had_not_ended_is_incomplete_without_a_period_too(
    sandbox: Sandbox, cli: Cli, folder: Path, on_day: OnDay, name: str, first: str
) -> None:
    pytest.importorskip("pyarrow")
    on_day(2, 10)
    words = ("--partition", "day") if name == "days" else ()
    assert cli("cdr", "export", first, "2026-02-28", name, "--quiet", *words).exit_code == 0
    on_day(3, 2)
    for period in ((), (first, "2026-02-28")):
        told = cli("report", *period, name, "--json", "--quiet")
        assert figures(told, complete=False)["unfinished_days"] == {"first": "2026-02-10", "last": "2026-02-28"}
        assert "The period had not ended when the export was made: of 2026-02-10 to 2026-02-28" in told.stderr
        assert "Export them again" in told.stderr
        if period or first == "2026-01-28":
            assert "Export them again from 2026-03-04 on." in told.stderr
