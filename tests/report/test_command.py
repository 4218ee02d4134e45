"""`videoapi report`: its files, its arguments, and what it says of exports that it cannot read."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from pathlib import Path

import pytest
from report.conftest import CALLS, Cli, figures, run_command, write_history
from support.small_disk import small_disk

from videoapi.files import PartFile
from videoapi.sandbox import Sandbox

MADE = datetime(2026, 1, 5, 10, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]


def test_page_has_the_name_of_its_period_and_is_not_overwritten(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    first = cli("report", "2026-01")
    assert first.exit_code == 0, first.output
    assert first.stdout == "usage-2026-01.html\n"
    assert f"{CALLS:,} records" in first.stderr
    page = folder / "usage-2026-01.html"
    assert page.stat().st_mode & 0o077 == 0
    page.write_text("mine")
    again = cli("report", "2026-01")
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert page.read_text() == "mine"
    assert cli("report", "2026-01", "--overwrite", "--quiet").exit_code == 0
    assert page.read_text().startswith("<!doctype html>")
    assert [path.name for path in folder.iterdir()] == ["usage-2026-01.html"]


def test_page_says_nothing_of_the_account_and_its_secrets(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    cli("report", "2026-01", "page.html", "--quiet")
    page = (folder / "page.html").read_text()
    users = {token.value for token in sandbox.ledger.tokens}
    for secret in (sandbox.app_id, sandbox.app_key, sandbox.recording_auth[1], sandbox.base_url, *users):
        assert secret not in page
    write_history(folder / "old.jsonl", 20, schema="old")
    tokens = [json.loads(line)["user"]["token"] for line in (folder / "old.jsonl").read_text().splitlines()]
    cli("report", "old.jsonl", "old.html", "--group-by", "user", "--quiet")
    page = (folder / "old.html").read_text()
    assert "u-" in page
    assert not any(token in page for token in tokens)


def test_json_alone_writes_no_page_and_needs_no_plotly(
    january: Path, cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    assert figures(cli("report", january, "--json"))["totals"]["records"] == CALLS
    assert list(folder.iterdir()) == []
    refused = cli("report", january)
    assert refused.exit_code == 5
    assert "pip install 'videoapi[report]'" in refused.stderr
    assert list(folder.iterdir()) == []


def test_json_with_a_page_gives_both(january: Path, cli: Cli, folder: Path) -> None:
    assert figures(cli("report", january, "page.html", "--json"))["period"]["first"] == "2026-01-01"
    assert (folder / "page.html").is_file()
    shown = cli("report", january, "-o", "-", "--quiet")
    assert shown.stdout.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["2026-13"], "period"),
        (["2026-02", "2026-01"], "before it begins"),
        (["2026-01", "--timezone", "Mars/Olympus"], "time zone"),
        (["2026-01", "2026-02", "2026-03"], "one PERIOD"),
        (["a.jsonl", "b.jsonl"], "one EXPORT"),
        (["a.jsonl", "--from", "b.jsonl"], "give the export once"),
        (["2026-01", "--timezone", "EST"], "give a place, such as America/New_York"),
        (["2026-01", "--timezone", "localtime"], "unknown time zone"),
        (["2026-01", "--timezone", "posix/EST"], "unknown time zone"),
        (["2026-01", "--timezone", "Right/UTC"], "unknown time zone"),
        (["0001", "9999", "a.jsonl"], "the period has 3,652,059 days, and a report has at most 36,525"),
        (["2026-01", "--archives", "a.jsonl"], "--archives needs an export"),
        (["2026-01", "missing/page.html"], "no such folder"),
        (["2026-01", "--json", "-o", "-"], "one of them"),
        ([], "give FROM and TO, --room or --conference"),
        (["nothing.jsonl"], "No such file"),
        (["calls.xlsx"], "give an export that ends in"),
        (["2026-01", "out.pdf"], "OUT ends in .html"),
        (["a.jsonl", "out.pdf"], "OUT ends in .html"),
        (["Jan-2026"], "A period is a month (2026-01), a year (2026) or a day (2026-01-31)"),
        (["Jan-2026", "page.html"], "Jan-2026: neither a period, nor an export"),
        (["calls.jsonl.part"], "calls.jsonl.part is an export that is not complete"),
        (["calls.jsonl"], "calls.jsonl.part is an export that is not complete"),
        (["a.jsonl", "--archives", "calls.jsonl"], "calls.jsonl.part is an export that is not complete"),
        (["few.csv"], "these columns are missing: 'room_disconnected_at'"),
        (["cut.jsonl.gz"], "breaks off"),
        (["plain.jsonl.gz"], "damaged"),
        (["text.parquet"], "cannot be read"),
        (["empty"], "no Parquet files"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_reason(words: list[str], why: str, cli: Cli, folder: Path) -> None:
    (folder / "few.csv").write_text("conf_num,room_id,trans_at,room_connected_at,user_minutes\n")
    for name in ("calls.xlsx", "calls.jsonl.part", "plain.jsonl.gz", "text.parquet", "a.jsonl"):
        (folder / name).write_text("{}\n")
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"conf_num": "1"}\n' * 1000)[:-12])
    (folder / "empty").mkdir()
    before = sorted(path.name for path in folder.iterdir())
    result = cli("report", *words)
    assert result.exit_code == 2, result.output
    assert why in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in folder.iterdir()) == before


def test_missing_credentials_are_named_before_anything_is_written(cli: Cli, folder: Path) -> None:
    result = cli("report", "2026-01")
    assert result.exit_code == 5
    assert "VIDEOAPI_APP_ID" in result.stderr
    assert list(folder.iterdir()) == []


def test_records_that_cannot_be_read_are_counted(cli: Cli, folder: Path) -> None:
    write_history(folder / "some.jsonl", 10)
    lines = (folder / "some.jsonl").read_bytes().splitlines(keepends=True)
    odd = lines[3].replace(b'"connect_minutes":', b'"connect_minutes":"many", "was":')
    (folder / "some.jsonl").write_bytes(
        b"\xef\xbb\xbf" + b"".join([*lines[:3], b"not json\n\n", odd, *lines[4:], b"[]\n"])
    )
    (folder / "some.jsonl.rejected.jsonl").write_text('{"index": 1}\n{"more": 7}\n')
    result = cli("report", "some.jsonl", "--json")
    assert result.exit_code == 6
    found = json.loads(result.stdout)
    assert found["totals"]["records"] == 10
    assert found["totals"]["counted_records"] == 9
    assert found["odd"]["unreadable"] == 2 + 8
    assert found["odd"]["odd_fields"] == 1
    assert "10 records could not be read" in result.stderr
    (folder / "some.jsonl.gz").write_bytes(gzip.compress((folder / "some.jsonl").read_bytes()))
    assert json.loads(cli("report", "some.jsonl.gz", "--json").stdout)["odd"]["unreadable"] == 2 + 8


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_page_overwrites_no_part_of_another_file_and_is_not_blocked_by_it(
    january: Path, cli: Cli, folder: Path, more: tuple[str, ...]
) -> None:
    part = folder / "page.html.part"
    part.write_bytes(b"half of a download")
    assert cli("report", january, "page.html", *more).exit_code == 6
    assert sorted(path.name for path in folder.iterdir()) == ["page.html", part.name]
    assert part.read_bytes() == b"half of a download"


def killed_report(folder: Path, *words: object, at: str) -> None:
    """Run a report that is killed when it calls a function of `os`."""
    program = (
        f"import os, signal; os.{at} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL); "
        "from videoapi.cli import main; main()"
    )
    command = [sys.executable, "-c", program, "report", *map(str, words)]
    killed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_report_that_was_killed_while_it_wrote_the_page_can_be_repeated(
    january: Path, cli: Cli, folder: Path, more: tuple[str, ...]
) -> None:
    killed_report(folder, january, "page.html", *more, at="fsync")
    assert not (folder / "page.html").exists()
    assert cli("report", january, "page.html", *more).exit_code == 6
    assert [path.name for path in folder.iterdir()] == ["page.html"]


def test_second_name_of_the_page_of_a_killed_report_is_removed(january: Path, cli: Cli, folder: Path) -> None:
    killed_report(folder, january, "page.html", at="unlink")
    assert len(list(folder.iterdir())) == 2
    page = (folder / "page.html").rename(folder / "moved.html").read_bytes()
    assert cli("report", january, "page.html").exit_code == 6
    assert sorted(path.name for path in folder.iterdir()) == ["moved.html", "page.html"]
    assert (folder / "moved.html").read_bytes() == page


def test_negative_count_in_a_list_hides_no_unreadable_record(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    assert cli("cdr", "export", "2026-01-01", "2026-01-31", "some.jsonl", "--quiet").exit_code == 0
    (folder / "some.jsonl.rejected.jsonl").write_text('{"index": 1}\n{"more": -1}\n')
    result = cli("report", "--from", "some.jsonl", "--json")
    assert result.exit_code == 6
    assert "2 records could not be read" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("2026-01", 0, ""),
        ("2020-02", 10, "no records, records that share an ID, or more are expected: see 2020-02.new.json"),
        ("2099-01", 2, "no report: exit code 2"),
        ("2026-01 --app-key-file none", 5, "no report: no access to the service, see above"),
        ("2026-01 some.jsonl", 6, "incomplete: see 2026-01.new.html"),
    ],
)
def test_scheduled_job_of_the_guide(sandbox: Sandbox, folder: Path, words: str, code: int, says: str) -> None:
    for program in ("bash", "jq"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    guide = (ROOT / "docs/howto/usage-report.md").read_text(encoding="utf-8")
    (last_month, job) = re.findall(r"```sh\n.*\n(month=.*\n)(new=[^`]*case [^`]*)```", guide)[0]
    (folder / "some.jsonl").write_text("")
    good = folder / f"{words[:7]}.html"
    good.write_text("of an earlier run")
    if sys.platform == "linux":
        month = subprocess.run(
            ["bash", "-c", f"{last_month}echo $month"], env={**os.environ, "TZ": "UTC"}, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert month.stdout == f"{datetime.now(UTC).replace(day=1) - timedelta(1):%Y-%m}\n"
    job = f"month={words[:7]}; " + job.replace("videoapi report", f"'{sys.executable}' -m videoapi report {words[7:]}")
    done = subprocess.run(["bash", "-c", job], cwd=folder, capture_output=True, text=True, timeout=50, check=False)
    assert (done.stdout, done.returncode) == ("", code), done.stderr
    assert done.stderr.splitlines()[-1:] == ([says] if says else [])
    assert (good.read_text(encoding="utf-8") == "of an earlier run") is (code != 0)


def test_csv_of_a_spreadsheet_is_read(cli: Cli, folder: Path) -> None:
    header = "conf_num;room_id;trans_at;room_connected_at;room_disconnected_at;user_minutes;owner_ref;more"
    times = "2026-01-05T10:00:00+00:00;2026-01-05 09:00:00;2026-01-05T10:00:00Z"
    rows = [f"'=s1;r;{times};10.5;'-x;", f"s2;r;{times};ten;a;", "s3;r"]
    (folder / "calls.csv").write_text("\n".join([header, *rows]), encoding="utf-8-sig")
    told = cli("report", "calls.csv", "--json")
    assert (
        "Values that could not be read, or times that are missing: 1. Their records are counted without them."
        in told.stderr
    )
    found = figures(told, complete=False)
    assert found["totals"]["participant_minutes"] == 10.5
    assert found["totals"]["room_minutes"] == 120
    assert [entry["key"] for entry in found["groups"]["owner_ref"]["entries"]] == ["-x", "a"]
    assert (found["odd"]["unreadable"], found["odd"]["without_minutes"]) == (1, 1)
    assert found["odd"]["unreadable_values"] == 1


def test_records_that_ended_without_a_duration_make_the_report_incomplete(cli: Cli, folder: Path) -> None:
    write_history(folder / "all.jsonl", 20)
    records = [json.loads(line) for line in (folder / "all.jsonl").read_text().splitlines()]
    whole = figures(cli("report", "all.jsonl", "--json"))["totals"]["participant_minutes"]
    odd = records[:5]
    lost = sum(record["sigserver"]["duration"] for record in odd) / 60
    del odd[0]["sigserver"]["duration"], odd[1]["sigserver"]["duration"]
    # The end of the session says that this one has ended, too.
    del odd[1]["sigserver"]["disconnect_dt"]
    odd[2]["sigserver"]["duration"] = -1
    odd[3]["sigserver"]["duration"] = 1e9
    for name in ("duration", "disconnect_dt"):
        del odd[4]["sigserver"][name], odd[4]["room"][name]
    (folder / "odd.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    told = cli("report", "odd.jsonl", "page.html", "--json", "--quiet")
    found = figures(told, complete=False)
    assert found["totals"]["participant_minutes"] == pytest.approx(whole - lost, abs=0.01)
    assert [found["odd"][name] for name in ("without_minutes", "minutes_impossible", "still_connected")] == [2, 2, 1]
    notice = (
        "The participant minutes are those of 15 of the 20 records: 2 have no duration, although they ended; 2 have "
        "a duration that is negative, or over 31 days; 1 has no duration, and no end."
    )
    assert told.stderr.startswith(f"{notice}\n")
    page = (folder / "page.html").read_text()
    assert f'<span class="warning">{notice}' in page
    assert ", of 15 of 20 records</dd>" in page


def test_record_of_a_user_who_is_still_connected_leaves_the_report_complete(cli: Cli, folder: Path) -> None:
    record = {
        "conf_num": "c",
        "trans_date": "2026-01-05T10:00:00Z",
        "sigserver": {"connect_dt": "2026-01-05T10:00:00Z"},
    }
    (folder / "some.jsonl").write_text(json.dumps(record) + "\n")
    told = cli("report", "some.jsonl", "--json", "--quiet")
    assert figures(told)["odd"]["still_connected"] == 1
    assert "participant minutes are those of" not in told.stderr


HEADER = "conf_num;room_id;trans_at;room_connected_at;room_disconnected_at;user_minutes;owner_ref\n"
ROW = "s1;r;2026-01-05T10:00:00Z;2026-01-05T09:00:00Z;2026-01-05T10:00:00Z;{};a\n"


def test_csv_with_decimal_commas_is_refused(cli: Cli, folder: Path) -> None:
    (folder / "calls.csv").write_text(HEADER + ROW.format("30") + ROW.format("10,5"))
    refused = cli("report", "calls.csv", "--json")
    assert refused.exit_code == 2
    assert "calls.csv, line 3: '10,5' in the column 'user_minutes' has a decimal comma." in refused.stderr


def test_value_that_cannot_be_read_makes_the_report_incomplete(cli: Cli, folder: Path) -> None:
    (folder / "calls.csv").write_text(
        HEADER + ROW.format("10.5").replace("2026-01-05T10:00:00Z", "05.01.2026 10:00", 1)
    )
    told = cli("report", "2020", "calls.csv", "page.html", "--json")
    found = figures(told, complete=False)
    assert (found["totals"]["records"], found["odd"]["unreadable_values"]) == (1, 1)
    page = (folder / "page.html").read_text()
    assert (
        "Values that could not be read, or times that are missing: 1. Their records are counted without them." in page
    )
    undated = "1 record has no readable date: it is in the totals, whichever day it is of."
    assert undated in page
    assert undated in told.stderr
    line = '{"conf_num": "c", "trans_date": "2026-01-05T10:00:00Z", "room": {"room_id": "r"}, '
    line += '"sigserver": {"duration": "10,5"}}\n'
    (folder / "calls.jsonl").write_text(line)
    assert figures(cli("report", "calls.jsonl", "--json"), complete=False)["odd"]["unreadable_values"] == 1


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_header_within_a_joined_csv_is_no_record(cli: Cli, folder: Path, mark: str) -> None:
    (folder / "calls.csv").write_text((mark + HEADER + ROW.format("30")) * 2)
    found = json.loads(cli("report", "calls.csv", "--json").stdout)
    assert found["totals"]["records"] == 2
    assert [entry["key"] for entry in found["groups"]["owner_ref"]["entries"]] == ["a"]
    assert found["odd"]["unreadable_values"] == 0


def test_rows_of_empty_cells_are_no_records(cli: Cli, folder: Path) -> None:
    empty = f"{';' * 6}\n \n\n; ;\n"
    (folder / "calls.csv").write_text(HEADER + empty + ROW.format("30") + empty)
    (folder / "archives.csv").write_text("_id,trans_date,recording,transcoded\n,,,\na,2026-01-05T10:00:00Z,,\n,,,\n")
    found = figures(cli("report", "calls.csv", "--archives", "archives.csv", "--json"))
    assert (found["totals"]["records"], found["recordings"]["archives"]) == (1, 1)
    assert [entry["key"] for entry in found["groups"]["owner_ref"]["entries"]] == ["a"]
    assert found["odd"]["unreadable"] == 0


def test_period_without_a_record_gives_a_page(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    told = cli("report", "2020-02", "--quiet")
    assert told.exit_code == 0
    assert told.stderr == "The service has no call records of 2020-02.\n"
    page = (folder / "usage-2020-02.html").read_text()
    assert "This period has no call records" in page
    assert "nothing unusual was found" not in page
    assert "No call records to check." in page
    (folder / "empty.jsonl").write_text("")
    told = cli("report", "empty.jsonl", "empty.html", "--json")
    assert told.stderr.endswith("The export empty.jsonl has no call records.\n")
    found = figures(told)
    assert found["period"] is None
    assert found["totals"]["records"] == 0


@pytest.mark.slow
def test_report_imports_neither_aiohttp_nor_pyarrow_for_an_export(january: Path, folder: Path) -> None:
    program = (
        "import sys\nfrom videoapi.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert ended.code == 6\n"
        "print([name for name in ('aiohttp', 'pyarrow', 'pandas', 'numpy') if name in sys.modules])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "report", str(january), "--quiet"], capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == "[]"
    assert run_command("report", "--help", cwd=folder).returncode == 0


def test_export_of_another_kind_is_refused(cli: Cli, folder: Path) -> None:
    (folder / "calls.jsonl").write_text('{"conf_num": "c", "room": {}, "user": {}}\n')
    (folder / "archives.jsonl").write_text('{"_id": "a", "conf_num": "c", "recording": []}\n')
    (folder / "some.csv").write_text("name,user_seconds\n")
    refused = cli("report", "calls.jsonl", "--archives", "calls.jsonl", "--json")
    assert refused.exit_code == 2
    assert "calls.jsonl is not an export of archives" in refused.stderr
    assert "archives.jsonl is not an export of call records" in cli("report", "archives.jsonl", "--json").stderr
    # As the reader finds them in the file, not as options of the command.
    assert "are missing: 'conf_num', 'room_connected_at'" in cli("report", "some.csv", "--json").stderr


@pytest.mark.parametrize(("name", "value", "why"), [("trans_at", "soon", "timestamp"), ("user_seconds", "5", "number")])
def test_parquet_column_of_another_type_is_named(name: str, value: str, why: str, cli: Cli, folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    times = ("trans_at", "room_connected_at", "room_disconnected_at")
    row = {"conf_num": "c", "room_id": "r", "user_seconds": 5.0, **dict.fromkeys(times, MADE), name: value}
    parquet.write_table(pyarrow.Table.from_pylist([row]), folder / "calls.parquet")
    refused = cli("report", "calls.parquet", "--json")
    assert refused.exit_code == 2
    assert f"the column '{name}' is of the type string, not a {why}" in refused.stderr


@pytest.fixture
def midmonth(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 28th of January, 23:30 in UTC, when it is the 29th in Berlin."""
    at = datetime(2026, 1, 28, 23, 30, tzinfo=UTC)
    monkeypatch.setattr("videoapi.cli.report_run.now", at.astimezone)


@pytest.mark.parametrize(
    ("words", "first"), [((), "2026-01-28"), (("--timezone", "Europe/Berlin"), "2026-01-29")], ids=["UTC", "Berlin"]
)
@pytest.mark.usefixtures("midmonth")
def test_report_of_a_period_that_has_not_ended_says_so(
    sandbox: Sandbox, cli: Cli, folder: Path, words: tuple[str, ...], first: str
) -> None:
    result = cli("report", "2026-01", "page.html", "--json", "--quiet", *words)
    assert figures(result, complete=False)["unfinished_days"] == {"first": first, "last": "2026-01-31"}
    assert f"The period has not ended: of {first} to 2026-01-31 (" in result.stderr
    day = f"{int(first[-2:])} January 2026"
    assert f"The period has not ended: of {day} to 31 January 2026 (" in (folder / "page.html").read_text()


@pytest.mark.usefixtures("midmonth")
def test_report_of_days_that_have_ended_says_nothing_of_it(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    result = cli("report", "2026-01-01", "2026-01-27", "page.html", "--json", "--quiet")
    assert json.loads(result.stdout)["unfinished_days"] is None
    assert "has not ended" not in result.stderr + (folder / "page.html").read_text()


def test_report_that_runs_over_midnight_is_of_the_day_on_which_it_began(
    sandbox: Sandbox, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records of 31 January that the service adds on 3 February, after the request, are missing."""
    times = chain([datetime(2026, 2, 3, 23, 59, 57, tzinfo=UTC)], repeat(datetime(2026, 2, 4, 0, 0, 3, tzinfo=UTC)))
    monkeypatch.setattr("videoapi.cli.report_run.now", lambda zone: next(times).astimezone(zone))
    found = figures(cli("report", "2026-01", "page.html", "--json", "--quiet"))
    assert found["open_days"] == {"first": "2026-01-31", "last": "2026-01-31"}
    assert found["as_of"] == {"first": "2026-02-03T23:59:57Z", "last": "2026-02-03T23:59:57Z"}


@pytest.mark.usefixtures("midmonth")
def test_report_of_the_future_is_refused_before_anything_is_sent(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    result = cli("report", "2026-02")
    assert result.exit_code == 2
    assert "2026-02 is in the future: today is 2026-01-28 (UTC)" in result.stderr
    assert sandbox.ledger.requests() == 0
    assert list(folder.iterdir()) == []


def test_one_record_that_cannot_be_read_is_one(january: Path, cli: Cli, folder: Path) -> None:
    lines = january.read_text().splitlines(keepends=True)
    (folder / "one.jsonl").write_text("".join([lines[0], "17\n"]))
    result = cli("report", "one.jsonl", "page.html")
    assert result.exit_code == 6
    assert result.stderr.startswith("1 record, 1 session, ")
    assert "1 record could not be read. " in result.stderr
    assert "1 record could not be read. Unreadable records are not in any figure." in (folder / "page.html").read_text()


@pytest.mark.parametrize("name", ["twice.jsonl", "twice.csv"])
def test_records_of_two_exports_that_overlap_are_reported_as_repeats(
    sandbox: Sandbox, cli: Cli, folder: Path, name: str
) -> None:
    parts = []
    for place, days in enumerate((("2026-01-05", "2026-01-08"), ("2026-01-08", "2026-01-09"))):
        assert cli("cdr", "export", *days, f"{place}-{name}", "--quiet").exit_code == 0
        parts.append((folder / f"{place}-{name}").read_text().splitlines(keepends=True))
    header = 1 if name.endswith(".csv") else 0
    (folder / name).write_text("".join([*parts[0], *parts[1][header:]]))
    once = figures(cli("report", "2026-01-08", "--json", "--quiet"))["totals"]
    whole = figures(cli("report", "2026-01-05", "2026-01-09", "--json", "--quiet"))
    assert (whole["odd"]["repeated"], whole["repeated_minutes"]) == (0, 0)
    told = cli("report", name, "page.html", "--json")
    found = figures(told, complete=False)
    assert found["odd"]["repeated"] == once["records"] > 0
    assert found["odd"]["same_id"] == 0
    assert found["repeated_minutes"] == pytest.approx(once["participant_minutes"], abs=0.01)
    for total in ("records", "participant_minutes"):
        assert found["totals"][total] == pytest.approx(whole["totals"][total] + once[total], abs=0.01)
    minutes = f"they are {once['participant_minutes']:,.1f} of the participant minutes."
    assert f"{once['records']} records repeat an earlier one, with the same values." in told.stderr
    assert minutes in told.stderr
    page = (folder / "page.html").read_text()
    assert f"{once['records']} records repeat an earlier one, with the same values." in page
    assert minutes in page


def test_records_that_share_an_id_and_differ_are_not_called_repeats(january: Path, cli: Cli, folder: Path) -> None:
    line = january.read_text().splitlines()[0]
    other = json.loads(line)
    other["sigserver"]["duration"] += 1
    (folder / "same.jsonl").write_text(f"{line}\n{json.dumps(other)}\n")
    told = cli("report", "same.jsonl", "page.html", "--json")
    odd = figures(told)["odd"]
    assert (odd["repeated"], odd["same_id"]) == (0, 1)
    assert "1 record has the ID of an earlier one, and other values." in told.stderr
    assert "1 record has the ID of an earlier one, and other values." in (folder / "page.html").read_text()


def test_figures_have_all_entries_of_a_group_and_the_page_the_largest(cli: Cli, folder: Path) -> None:
    line = '{"conf_num": "c%d", "room": {"room_id": "r%d"}, "sigserver": {"duration": 60}}\n'
    (folder / "many.jsonl").write_text("".join(line % (number, number) for number in range(600)))
    rooms = figures(cli("report", "many.jsonl", "page.html", "--json"), complete=False)["groups"]["room"]
    assert len({entry["key"] for entry in rooms["entries"]}) == 600
    assert (rooms["others"], rooms["rest"]["records"]) == (0, 0)
    assert (
        "Shown: the 20 with the most participant minutes. The 580 others together have"
        in (folder / "page.html").read_text()
    )
    few = figures(cli("report", "many.jsonl", "--json", "--top", 550), complete=False)["groups"]["room"]
    assert (len(few["entries"]), few["others"], few["rest"]["records"]) == (550, 50, 50)
    refused = cli("report", "many.jsonl", "other.html", "--top", 550)
    assert refused.exit_code == 2
    assert "--top 550: a page lists at most 500 entries per group." in refused.stderr
    assert not (folder / "other.html").exists()


def test_one_other_entry_of_a_group_is_one(january: Path, cli: Cli, folder: Path) -> None:
    rooms = figures(cli("report", january, "--json"))["totals"]["rooms"]
    assert cli("report", january, "page.html", "--top", rooms - 1).exit_code == 6
    assert "The other one has" in (folder / "page.html").read_text()


def test_full_disk_is_named_with_its_file(
    january: Path, cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    failed = cli("report", january, "page.html")
    assert failed.exit_code == 1
    assert "No space left on device: page.html\n" in failed.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_page_that_a_full_disk_cuts_does_not_block_the_same_command(
    january: Path, cli: Cli, folder: Path, more: tuple[str, ...]
) -> None:
    with small_disk(folder / "disk", "100k") as grow:
        failed = cli("report", january, "disk/page.html", *more)
        assert failed.exit_code == 1
        assert failed.stderr.splitlines()[-1] == "No space left on device: disk/page.html"
        assert list((folder / "disk").iterdir()) == []
        grow()
        assert cli("report", january, "disk/page.html", *more).exit_code == 6
        assert [path.name for path in (folder / "disk").iterdir()] == ["page.html"]


def test_page_of_that_name_created_meanwhile_blocks_no_other(
    january: Path, cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = PartFile.finish

    def finish_late(page: PartFile) -> Path:
        (folder / "page.html").write_text("mine")
        return finish(page)

    with monkeypatch.context() as patched:
        patched.setattr(PartFile, "finish", finish_late)
        assert "page.html exists. To replace it, give --overwrite" in cli("report", january, "page.html").stderr
    assert (folder / "page.html").read_text() == "mine"
    assert cli("report", january, "page.html", "--overwrite").exit_code == 6


def test_full_disk_of_temporary_files_is_named(january: Path, folder: Path) -> None:
    write_history(folder / "many.jsonl", 60_000)
    with small_disk(folder / "disk", "100k"):
        environment = {**os.environ, "SQLITE_TMPDIR": str(folder / "disk"), "TMPDIR": str(folder / "disk")}
        command = [sys.executable, "-m", "videoapi", "report", "many.jsonl", "page.html", "--quiet"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    said = "Cannot write a temporary file (database or disk is full). Set TMPDIR to a folder with more space\n"
    assert done.stderr == said
    assert not [path for path in folder.iterdir() if path.name.startswith("page")]


def test_page_is_written_without_recordings_if_the_service_refuses_the_archives(
    sandbox: Sandbox, cli: Cli, folder: Path
) -> None:
    refusal = {"result": 1203, "error": "Not allowed"}
    sandbox.fault("archives.by_period", "status", times=None, status=403, body=refusal)
    told = cli("report", "2026-01", "page.html", "--json", "--quiet")
    found = figures(told, complete=False)
    assert (found["totals"]["records"], found["recordings"]) == (CALLS, None)
    assert "The service refused the archives, and the report has no recordings: " in told.stderr
    assert found["archives_refused"] in told.stderr
    assert "The service refused the archives: " in (folder / "page.html").read_text()


@pytest.mark.parametrize("name", ["archives.jsonl", "archives.csv"])
def test_archives_that_are_there_twice_are_counted_once(
    january: Path, sandbox: Sandbox, cli: Cli, folder: Path, name: str
) -> None:
    assert cli("archives", "export", "2026-01-01", "2026-01-31", name, "--quiet").exit_code == 0
    once = figures(cli("report", january, "--archives", name, "--json"), complete=None)
    text = (folder / name).read_text()
    (folder / name).write_text(text + text)
    twice = figures(cli("report", january, "--archives", name, "--json"), complete=None)
    assert twice["recordings"]["files"] == once["recordings"]["files"]
    assert twice["recordings"]["archives"] == once["recordings"]["archives"] == twice["odd"]["archives_repeated"] > 0


@pytest.mark.parametrize("url", ["[]", "null", "7", '"x"', "NaN", "https://x.y/c"])
@pytest.mark.parametrize("name", ["archives.jsonl", "archives.csv", "archives.parquet"])
def test_link_is_counted_whatever_its_text_is(
    january: Path, sandbox: Sandbox, cli: Cli, folder: Path, name: str, url: str
) -> None:
    pytest.importorskip("pyarrow")
    found = {"_id": "A", "trans_date": "2026-01-31T10:00:00.000Z", "recording": [], "chatdata": url, "metadata": None}
    body = json.dumps({"result": "0", "archive": [found]})
    sandbox.fault("archives.by_period", 200, times=None, body=body)
    assert cli("archives", "export", "2026-01-31", "2026-01-31", name, "--quiet").exit_code == 0
    told = json.loads(cli("report", january, "--archives", name, "--json").stdout)
    assert told["recordings"]["files"] == {"recording": 0, "transcoded": 0, "chatdata": 1, "metadata": 0}


def test_archives_with_one_id_and_other_files_are_all_counted(january: Path, cli: Cli, folder: Path) -> None:
    one = {"_id": "A", "trans_date": "2026-01-05T10:00:00.000Z", "conf_num": "c", "room_id": "r"}
    first, second = {**one, "recording": [{"url": "https://x.y/a.mkv?sign=1"}]}, {**one, "chatdata": "https://x.y/c"}
    other_query = {**one, "recording": [{"url": "https://x.y/a.mkv?sign=2"}]}
    lines = [json.dumps(each) for each in (first, second, other_query, first)]
    (folder / "archives.jsonl").write_text("\n".join(lines))
    told = cli("report", january, "--archives", "archives.jsonl", "--json", "--quiet")
    found = figures(told, complete=None)
    assert (found["recordings"]["archives"], found["recordings"]["files"]["chatdata"]) == (3, 1)
    assert (found["odd"]["archives_repeated"], found["odd"]["archives_same_id"]) == (1, 2)
    assert "2 archives have the ID of an earlier one, and other values. Such archives are counted." in told.stderr


def test_records_of_too_many_days_are_refused_without_a_period(cli: Cli, folder: Path) -> None:
    (folder / "calls.csv").write_text(
        HEADER + ROW.format("10.5") + ROW.format("10.5").replace("2026-01-05T10:00:00Z", "1700-01-01T10:00:00Z", 1)
    )
    refused = cli("report", "calls.csv", "page.html")
    assert refused.exit_code == 2
    assert "a report has at most 36,525: give a shorter one than 1700-01-01 to 2026-01-05" in refused.stderr
    assert not (folder / "page.html").exists()
    assert cli("report", "2026-01", "calls.csv", "page.html").exit_code == 6


def test_signal_ends_a_report_while_it_reads_archives(cli: Cli, folder: Path) -> None:
    (folder / "calls.jsonl").touch()
    archive = '{"_id": "%d", "trans_date": "2026-01-05T10:00:00.000Z"}\n'
    (folder / "archives.jsonl").write_text("".join(archive % number for number in range(2_000)))
    loop_turns: list[int] = []
    sleep = asyncio.sleep

    async def signalled(seconds: float) -> None:
        loop_turns.append(1)
        if len(loop_turns) == 2:
            raise KeyboardInterrupt
        await sleep(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("videoapi.cli.report_run.asyncio.sleep", signalled)
        ended = cli("report", "2026-01", "calls.jsonl", "--archives", "archives.jsonl", "--json")
    assert ended.exit_code != 0
    assert len(loop_turns) == 2
