"""A value that cannot be read is counted, and makes the report incomplete, whatever the records come from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from report.conftest import Cli, figures

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


DAMAGES = {
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
    damage, kind = DAMAGES[name]
    records = [record(number) for number in range(3)]
    damage(records[1])
    found = reports(sandbox, cli, records)
    told = {source: figures(result, complete=False) for source, result in found.items()}
    assert {source: one["odd"][kind] for source, one in told.items()} == dict.fromkeys(found, 1)
    for source, one in told.items():
        assert found[source].stderr, source
        assert one["totals"] == told["service"]["totals"]
        assert one["totals"]["records"] == 3


def test_records_without_a_fault_are_complete_from_every_source(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    for source, result in reports(sandbox, cli, [record(number) for number in range(3)]).items():
        assert (figures(result)["odd"]["unreadable_values"], result.stderr) == (0, ""), source
