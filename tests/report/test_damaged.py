"""A value that cannot be read is counted, and makes the report incomplete, whatever the records come from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from report.conftest import Cli, OnDay, figures

from videoapi.sandbox import Sandbox

Record = dict[str, Any]
DAY = "2026-01-31"
FORMATS = ("all.jsonl", "all.csv", "all.parquet", "days")


def record(number: int) -> Record:
    """Return a record without any fault."""
    when, until = f"2026-01-31T10:0{number}:00.000Z", f"2026-01-31T10:3{number}:00.000Z"
    return {
        "cdr_id": f"{number}", "conf_num": f"c{number}", "trans_date": until,
        "room": {"room_id": "r", "connect_dt": when, "disconnect_dt": until},
        "user": {"ref": "u"}, "sigserver": {"connect_dt": when, "disconnect_dt": until, "duration": 1_800},
        "usage": {"connect_minutes": 30}, "stats_quality": {"receive": {"video": {"bitrate_good_percent": 90}}},
    }  # fmt: skip


def set_at(path: str, value: object) -> Callable[[Record], None]:
    def damage(one: Record) -> None:
        *parts, name = path.split(".")
        for part in parts:
            one = one[part]
        one[name] = value

    return damage


def all_of(*damages: Callable[[Record], None]) -> Callable[[Record], None]:
    def damage(one: Record) -> None:
        for each in damages:
            each(one)

    return damage


STILL_RUNS = set_at("room.disconnect_dt", None)
# A part that cannot be read, and the times that the ended record lacks.
OBJECTS = {
    "usage": 1, "stats_quality": 1, "stats_quality.receive": 1, "stats_quality.receive.video": 1, "sigserver": 3,
    "room": 2, "room.room_id": 1, "room.room_details": 1, "user": 1, "user.ref": 1, "conf_num": 1, "cdr_id": 1,
}  # fmt: skip
DETAILS = {"owner_ref": "o", "name": "n"}
DAMAGES: dict[str, tuple[Callable[[Record], None], str] | tuple[Callable[[Record], None], str, int]] = {
    **{
        f"{path} {value!r}": (set_at(path, value), "unreadable_values", count)
        for path, count in OBJECTS.items()
        for value in (["x"], "x", "")
        if value == ["x"] or path not in ("room.room_id", "user.ref", "conf_num", "cdr_id")
    },
    **{
        f"{path} {value!r}": (
            all_of(set_at("room.room_details", dict(DETAILS)), set_at(f"room.room_details.{path}", value)),
            "unreadable_values",
        )
        for path in DETAILS
        for value in (["a"], 1.5)
    },
    "quality 5": (set_at("stats_quality.receive.video.avg_bitrate_quality", 5), "unreadable_values"),
    "no connection, in a session that still runs": (
        all_of(set_at("sigserver", "x"), STILL_RUNS), "unreadable_values",
    ),
    "neither connection nor session": (
        all_of(set_at("sigserver", "x"), set_at("room", "x")), "unreadable_values", 2,
    ),
    "unreadable end of a session, without any other": (
        all_of(set_at("sigserver.duration", None), set_at("sigserver.disconnect_dt", None),
               set_at("room.disconnect_dt", "x")),
        "unreadable_values",
    ),
    "unreadable end of a connection, without any other": (
        all_of(set_at("sigserver.duration", None), STILL_RUNS, set_at("sigserver.disconnect_dt", "x")),
        "unreadable_values",
    ),
    "no end of a session that has a length": (
        all_of(STILL_RUNS, set_at("room.duration", 60)), "unreadable_values",
    ),
    **{
        f"{path} {value!r}": (set_at(path, value), "unreadable_values")
        for path in ("trans_date", "room.connect_dt", "room.disconnect_dt", "sigserver.connect_dt",
                     "sigserver.disconnect_dt")
        for value in ("31.01.2026 10:00", "0000-00-00 00:00:00", ["x"])
    },
    **{
        f"good percent {value!r}": (set_at("stats_quality.receive.video.bitrate_good_percent", value),
                                    "unreadable_values")
        for value in ("many", [1], 10**30)
    },
    "counted minutes": (set_at("usage.connect_minutes", "ten"), "unreadable_values"),
    "duration": (set_at("sigserver.duration", "ten"), "unreadable_values"),
    "minutes below 0": (set_at("usage.connect_minutes", -1), "counted_impossible"),
    "good share over 100": (set_at("stats_quality.receive.video.bitrate_good_percent", 101), "percent_impossible"),
    "session ends first": (set_at("room.connect_dt", "2026-01-31T20:00:00.000Z"), "session_impossible"),
    "no session": (set_at("conf_num", None), "without_session"),
    "negative duration": (set_at("sigserver.duration", -5), "minutes_impossible"),
    "no readable duration": (set_at("sigserver.duration", "ten"), "without_minutes"),
}  # fmt: skip


def reports(sandbox: Sandbox, cli: Cli, records: list[Record]) -> dict[str, Result]:
    """Return the report of records from the service, and from an export of each format."""
    pytest.importorskip("pyarrow")
    body = json.dumps({"result": "0", "cdr": records})

    def run(*words: str) -> Result:
        sandbox.clear_faults()
        # Once: the days around the period, which are read if a record has no date, do not have it.
        sandbox.fault("cdr.by_period", 200, times=1, body=body)
        return cli(*words, "--json", "--quiet")

    found = {"service": run("report", DAY)}
    for out in FORMATS:
        done = run("cdr", "export", DAY, DAY, out, *(("--partition", "day") if out == "days" else ()))
        assert done.exit_code == 0, done.output
        found[out] = cli("report", DAY, out, "--json", "--quiet")
    return found


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_counted_alike_from_every_source(sandbox: Sandbox, cli: Cli, folder: Path, name: str) -> None:
    damage, kind, *expected = DAMAGES[name]
    records = [record(number) for number in range(3)]
    damage(records[1])
    found = reports(sandbox, cli, records)
    told = {source: figures(result, complete=False) for source, result in found.items()}
    assert {source: one["odd"][kind] for source, one in told.items()} == dict.fromkeys(found, *(expected or [1]))
    for source, one in told.items():
        assert found[source].stderr, source
        assert one["totals"] == told["service"]["totals"]
        assert one["totals"]["records"] == 3


HEALTHY: dict[str, Callable[[Record], None]] = {
    "as usual": lambda one: None,
    "a user has left a session that still runs": STILL_RUNS,
    "a user is still connected": all_of(
        STILL_RUNS, set_at("sigserver.disconnect_dt", None), set_at("sigserver.duration", None)
    ),
    "a share as text": set_at("stats_quality.receive.video.bitrate_good_percent", "90.5"),
    "nothing measured": set_at("stats_quality", {"send": None, "receive": {"video": {}}}),
    "a reference that is a number": set_at("room.room_details", {"owner_ref": 7, "name": None, "more": {"user": 1}}),
    "half a character in the name of the room": set_at("room.room_details", {"name": "x\ud83d"}),
    "half a character in a user_ref": set_at("user.ref", "x\ud83d"),
    "a field that no column shows": all_of(
        set_at("new", "\ud800"),
        set_at("sigserver.new", "\ud800"),
        set_at("usage.new", json.loads("[" * 900 + "]" * 900)),
    ),
    "parts that the service left out": all_of(set_at("usage", None), set_at("stats_quality", None)),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_records_without_a_fault_are_complete_from_every_source(
    sandbox: Sandbox, cli: Cli, folder: Path, name: str
) -> None:
    records = [record(number) for number in range(3)]
    HEALTHY[name](records[1])
    for source, result in reports(sandbox, cli, records).items():
        assert (figures(result)["odd"]["unreadable_values"], result.stderr) == (0, ""), source


def test_damage_of_a_day_is_noted_with_its_file(sandbox: Sandbox, cli: Cli, folder: Path, on_day: OnDay) -> None:
    """Neither another day that is exported again loses it, nor the same one doubles it, nor stays it if repaired."""
    pytest.importorskip("pyarrow")
    records = [record(number) for number in range(3)]
    records[0]["trans_date"] = "2026-01-30T10:00:00.000Z"
    records[1]["trans_date"] = None
    records[1]["room"] |= {"disconnect_dt": ["x"]}
    set_at("usage.connect_minutes", "ten")(records[2])

    def told(*export: str) -> tuple[int, bool]:
        sandbox.clear_faults()
        sandbox.fault("cdr.by_period", 200, times=1, body=json.dumps({"result": "0", "cdr": records}))
        assert cli("cdr", "export", "--partition", "day", *export, "days", "--quiet").exit_code == 0
        found = json.loads(cli("report", "2026-01-30", DAY, "days", "--json", "--quiet").stdout)
        return found["odd"]["unreadable_values"], found["complete"]

    on_day(2, 1)
    whole = ("2026-01-26", DAY)
    assert told(*whole) == told(*whole) == (3, False)
    notes = {path.stem: json.loads(path.read_bytes()).get("odd") for path in (folder / "days/_notes").glob("*.json")}
    assert {name: odd for name, odd in notes.items() if odd} == {
        f"cdr-{DAY}": {"usage.connect_minutes": 1},
        f"cdr-undated-2026-01-26_{DAY}": {"room.disconnect_dt": 1},
    }
    records.pop(1)
    on_day(2, 20)
    assert told("2026-01-26", "2026-01-26", "--overwrite") == (3, False)
    set_at("usage.connect_minutes", 10)(records[1])
    assert told(DAY, DAY, "--overwrite") == (2, False)


@pytest.mark.parametrize("out", FORMATS)
def test_export_says_how_many_records_it_could_not_read_without_their_list(
    sandbox: Sandbox, cli: Cli, folder: Path, out: str
) -> None:
    """As in a copy of the files that the report needs: the file and its state, or the data files and their manifest."""
    pytest.importorskip("pyarrow")
    body = json.dumps({"result": "0", "cdr": [record(1), "no record"]})
    sandbox.fault("cdr.by_period", 200, times=1, body=body)
    done = cli("cdr", "export", DAY, DAY, out, "--quiet", *(("--partition", "day") if out == "days" else ()))
    assert done.exit_code == 6, done.output
    if out == "days":
        shutil.rmtree(folder / out / "_notes")
    else:
        (folder / f"{out}.rejected.jsonl").unlink()
    told = figures(cli("report", DAY, out, "--json", "--quiet"), complete=False)
    assert (told["odd"]["unreadable"], told["totals"]["records"]) == (1, 1)


def test_day_that_is_not_exported_again_still_lacks_what_could_not_be_read(
    sandbox: Sandbox, cli: Cli, folder: Path, on_day: OnDay
) -> None:
    """The records of a week are read together, and the files of days that have ended long ago stay as they are."""
    pytest.importorskip("pyarrow")
    records: list[Any] = [record(number) for number in range(2)]
    records[0]["trans_date"] = "2026-01-26T10:00:00.000Z"

    def exported(*words: str) -> int:
        sandbox.clear_faults()
        sandbox.fault("cdr.by_period", 200, times=1, body=json.dumps({"result": "0", "cdr": records}))
        return cli("cdr", "export", "2026-01-26", DAY, "days", "--partition", "day", "--quiet", *words).exit_code

    def told() -> tuple[int, int, bool]:
        found = json.loads(cli("report", "2026-01-26", DAY, "days", "--json", "--quiet").stdout)
        return found["totals"]["records"], found["odd"]["unreadable"], found["complete"]

    on_day(2, 1)
    healed, records[0] = records[0], 5
    assert (exported(), told()) == (6, (1, 1, False))
    records[0] = healed
    on_day(2, 20)
    assert (exported(), told()) == (6, (1, 1, False))
    assert (exported("--overwrite"), told()) == (0, (2, 0, True))


def exported(sandbox: Sandbox, cli: Cli, records: list[Any], out: str, *, code: int = 0) -> str:
    """Export three days that the report of the second one is not about as a whole."""
    sandbox.clear_faults()
    body = json.dumps({"result": "0", "cdr": records})
    sandbox.fault("cdr.by_period", 200, times=1, body=body)
    folder = () if "." in out else ("--partition", "day")
    done = cli("cdr", "export", "2026-01-29", DAY, out, "--quiet", *folder)
    assert done.exit_code == code, done.output
    return out


def of_other_day() -> Record:
    """Return a record of the day after the report, with a duration that cannot be read."""
    other = record(2)
    set_at("sigserver.duration", "ten")(other)
    return other


def of_day() -> Record:
    one = record(1)
    one["trans_date"] = "2026-01-30T10:00:00.000Z"
    return one


UNCERTAIN = "It is not known whether all of"


@pytest.mark.parametrize("out", FORMATS)
def test_damage_of_another_day_leaves_the_report_complete(sandbox: Sandbox, cli: Cli, folder: Path, out: str) -> None:
    """A Parquet file does not say of which day it is, and the report says that."""
    pytest.importorskip("pyarrow")
    path = exported(sandbox, cli, [of_day(), of_other_day()], out)
    for zone in ("UTC", "Europe/Berlin"):
        result = cli("report", "2026-01-30", path, "--json", "--quiet", "--timezone", zone)
        is_known = out != "all.parquet"
        told = figures(result, complete=is_known)
        assert (told["odd"]["unreadable_values"], told["odd"]["outside"]) == (0 if is_known else 1, 1)
        assert (UNCERTAIN in result.stderr) is not is_known
    whole = cli("report", "2026-01-29", DAY, path, "--json", "--quiet")
    assert figures(whole, complete=False)["odd"]["unreadable_values"] == 1
    assert "Their records are counted without them." in whole.stderr


def test_damage_of_another_day_leaves_the_live_report_complete(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    """The days in UTC of a day in Berlin have records of another one."""
    other = of_other_day()
    other["trans_date"] = "2026-01-30T23:30:00.000Z"
    for damaged, count in ((other, 0), ({**other, "trans_date": "2026-01-30T22:30:00.000Z"}, 1)):
        sandbox.clear_faults()
        body = json.dumps({"result": "0", "cdr": [of_day(), damaged]})
        sandbox.fault("cdr.by_period", 200, times=1, body=body)
        told = figures(cli("report", "2026-01-30", "--json", "--timezone", "Europe/Berlin"), complete=not count)
        assert (told["odd"]["unreadable_values"], told["totals"]["records"]) == (count, 1 + count)


@pytest.mark.parametrize("out", FORMATS)
def test_damage_of_another_room_leaves_the_report_of_a_room_complete(
    sandbox: Sandbox, cli: Cli, folder: Path, out: str
) -> None:
    pytest.importorskip("pyarrow")
    other = of_other_day()
    other["room"]["room_id"] = "s"
    path = exported(sandbox, cli, [of_day(), other], out)
    result = cli("report", "2026-01-29", DAY, path, "--room", "r", "--json", "--quiet")
    is_known = out in ("all.jsonl", "all.csv")
    assert figures(result, complete=is_known)["totals"]["records"] == 1
    assert (UNCERTAIN in result.stderr) is not is_known
    other["room"]["room_id"] = ["r"]
    path = exported(sandbox, cli, [of_day(), other], f"other-{out}")
    result = cli("report", "2026-01-29", DAY, path, "--room", "r", "--json", "--quiet")
    assert figures(result, complete=False)["totals"]["records"] == 1
    assert UNCERTAIN in result.stderr
    assert "Those that are in the figures are counted without them." in result.stderr


@pytest.mark.parametrize("out", FORMATS)
@pytest.mark.parametrize("listed", [True, False])
def test_record_that_cannot_be_read_may_be_of_another_day(
    sandbox: Sandbox, cli: Cli, folder: Path, out: str, listed: bool
) -> None:
    """Its day is not known, but the days that were requested are, if the list that names them was copied."""
    pytest.importorskip("pyarrow")
    path = exported(sandbox, cli, [of_day(), "no record"], out, code=6)
    lists = folder.rglob("*.rejected.jsonl")
    for file in list(lists):
        if listed:
            file.write_text(file.read_text().replace('"2026-01-29..2026-01-31"', '"2026-01-31..2026-01-31"'))
        else:
            file.unlink()
    result = cli("report", "2026-01-30", path, "--json", "--quiet")
    told = figures(result, complete=listed)
    assert told["odd"]["unreadable"] == (0 if listed else 1)
    assert ("It is not known whether all of them belong to this report." in result.stderr) is not listed
    whole = cli("report", "2026-01-29", DAY, path, "--json", "--quiet")
    assert figures(whole, complete=False)["odd"]["unreadable"] == 1
    assert UNCERTAIN not in whole.stderr or not listed


DAYS = ("2026-01-01", DAY)
ROW = '{{"window": "{}", "index": 0, "offset": 24, "reason": "expected an object, got text"}}\n'


@pytest.mark.parametrize("kind", ["cdr", "archives"])
@pytest.mark.parametrize("out", ["all.jsonl", "all.csv"])
def test_window_of_a_file_may_have_rejected_a_record_of_the_next_day(
    sandbox: Sandbox, cli: Cli, folder: Path, out: str, kind: str
) -> None:
    for records in ("cdr", "archives"):
        assert cli(records, "export", *DAYS, f"{records}-{out}", "--quiet").exit_code == 0
    listed = folder / f"{kind}-{out}.rejected.jsonl"
    for window, first, last, is_known in (
        ("2026-01-01..2026-01-07", "2026-01-08", "2026-01-14", False),
        ("2026-01-01..2026-01-07", "2026-01-09", "2026-01-14", True),
        ("2026-01-29..2026-01-31", "2026-01-22", "2026-01-28", True),
    ):
        listed.write_text(ROW.format(window))
        told = cli("report", first, last, f"cdr-{out}", "--archives", f"archives-{out}", "--json", "--quiet")
        found = figures(told, complete=is_known)
        assert (found["odd"]["unreadable"], found["uncertain"]) == ((0, []) if is_known else (1, ["unreadable"]))


def test_list_of_a_folder_with_long_files_is_of_windows_that_request_the_next_day(
    sandbox: Sandbox, cli: Cli, folder: Path
) -> None:
    """The last of them ends with the file: what it cannot read of the next day is not of the folder."""
    pytest.importorskip("pyarrow")
    assert cli("cdr", "export", *DAYS, "days", "--partition", "day", "--quiet").exit_code == 0
    listed = folder / "days/_notes/cdr-2026-01-05_2026-01-18.rejected.jsonl"
    for window, day, is_known in (
        ("2026-01-05..2026-01-11", "2026-01-12", False),
        ("2026-01-12..2026-01-18", "2026-01-19", True),
    ):
        listed.write_text(ROW.format(window))
        figures(cli("report", day, "days", "--json", "--quiet"), complete=is_known)


SCOPES: dict[str, tuple[Callable[[Record], None], tuple[str, str], str]] = {
    "no room": (set_at("room.room_id", None), ("--room", "r"), "without_room"),
    "no session": (set_at("conf_num", None), ("--conference", "c1"), "without_session"),
}


@pytest.mark.parametrize("name", SCOPES)
@pytest.mark.parametrize("out", FORMATS)
def test_record_without_its_room_belongs_to_a_report_only_if_its_source_has_no_other(
    sandbox: Sandbox, cli: Cli, folder: Path, out: str, name: str
) -> None:
    pytest.importorskip("pyarrow")
    damage, scope, kind = SCOPES[name]
    damaged, other = record(2), record(3)
    damage(damaged)
    set_at("conf_num", "d")(other)
    set_at("room.room_id", "s")(other)
    path = exported(sandbox, cli, [record(1), damaged, other], out)
    result = cli("report", "2026-01-29", DAY, path, *scope, "--json", "--quiet")
    told = figures(result, complete=False)
    assert (told["totals"]["records"], told["odd"]["unknown_scope"], told["odd"][kind]) == (1, 1, 0)
    assert told["uncertain"] == ["unknown_scope"]
    what = "room" if scope[0] == "--room" else "session"
    assert f"1 record has no {what} ID, and may belong to this report. Such records are not in any" in result.stderr
    # It is of another day, and does not belong to the report.
    early = cli("report", "2026-01-29", "2026-01-30", path, *scope, "--json", "--quiet")
    assert figures(early)["odd"]["unknown_scope"] == 0


@pytest.mark.parametrize("name", SCOPES)
def test_record_without_its_room_belongs_to_the_report_if_only_this_room_was_requested(
    sandbox: Sandbox, cli: Cli, folder: Path, name: str
) -> None:
    damage, scope, kind = SCOPES[name]
    damaged = record(2)
    damage(damaged)
    route = "cdr.by_room" if scope[0] == "--room" else "cdr.by_conference"
    body = json.dumps({"result": "0", "cdr": [record(1), damaged]})
    for source in ((), ("one.jsonl",)):
        sandbox.clear_faults()
        sandbox.fault(route, 200, times=1, body=body)
        if source:
            assert cli("cdr", "export", *source, *scope, "--quiet").exit_code == 0
        told = cli("report", *source, *scope, "--json", "--quiet")
        found = figures(told, complete=kind == "without_room")
        assert (found["totals"]["records"], found["odd"][kind], found["odd"]["unknown_scope"]) == (2, 1, 0)


@pytest.mark.parametrize("odd", [None, ["r"], {"id": "r"}], ids=["null", "list", "object"])
@pytest.mark.parametrize("out", FORMATS)
def test_archive_without_its_room_belongs_to_a_report_only_if_its_source_has_no_other(
    sandbox: Sandbox, cli: Cli, folder: Path, out: str, odd: object
) -> None:
    pytest.importorskip("pyarrow")
    calls = exported(sandbox, cli, [record(1)], "calls.jsonl")
    archives = [
        {"_id": f"{number}", "conf_num": "c1", "room_id": room, "trans_date": f"{DAY}T10:00:00.000Z", "recording": []}
        for number, room in enumerate(("r", odd, "s"))
    ]
    for only in ((), ("--room", "r")):
        sandbox.clear_faults()
        route = "archives.by_room_period" if only else "archives.by_period"
        sandbox.fault(route, 200, times=1, body=json.dumps({"result": "0", "archive": archives[: 2 if only else 3]}))
        partition = () if "." in out else ("--partition", "day")
        path = f"only-{out}" if only else f"every-{out}"
        assert cli("archives", "export", DAY, DAY, path, *partition, *only, "--quiet").exit_code == 0
        told = cli("report", DAY, calls, "--room", "r", "--archives", path, "--json", "--quiet")
        found = figures(told, complete=bool(only))
        counts = found["recordings"]["archives"], found["odd"]["archives_unknown_scope"]
        assert counts == ((2, 0) if only else (1, 1))
        assert found["uncertain"] == ([] if only else ["archives_unknown_scope"])
        assert ("1 archive has no room ID, and may belong to this report." in told.stderr) is not bool(only)
