"""Parquet on a full disk: what is complete is counted, what cannot be written is named, and nothing useless stays."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from pyarrow import parquet
from support.exported import contents
from support.small_disk import small_disk

from videoapi.arrow import spool
from videoapi.arrow.data_set import DataSet
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
PERIOD = ("2026-01-01", "2026-01-31")
BY_DAY = ("cdr", "export", *PERIOD, "data", "--partition", "day")


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("size", ["120k", "300k", "480k", "660k"])
def test_folder_on_a_full_disk_counts_its_files_and_continues(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    assert cli(*BY_DAY).exit_code == 0
    whole = contents(folder / "data")
    with small_disk(folder / "disk", size) as grow:
        monkeypatch.chdir(folder / "disk")
        stopped = cli(*BY_DAY)
        assert stopped.exit_code == 1, stopped.output
        files = len([*Path("data").glob("*.parquet")])
        said = re.search(r"(\d+) files? (?:is|are) complete in data\. To continue", stopped.stderr)
        assert (0 if said is None else int(said[1])) == files
        named = stopped.stderr.splitlines()[-1].removeprefix("No space left on device: ")
        assert Path(named).is_relative_to("data")
        assert not [*Path("data").rglob("*.tmp")]
        grow()
        assert cli(*BY_DAY).exit_code == 0
        assert contents(Path("data")) == whole
        monkeypatch.chdir(folder)


def test_files_of_a_week_count_before_the_week_is_complete(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, left = DataSet.write, [*range(9)]

    def write_nine(data_set: DataSet, *arguments: Any, **options: Any) -> Any:
        if not left:
            full()
        left.pop()
        return write(data_set, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(DataSet, "write", write_nine)
        assert "9 files are complete in data. To continue" in cli(*BY_DAY).stderr
    left.extend(range(3))
    with monkeypatch.context() as patched:
        patched.setattr(DataSet, "write", write_nine)
        assert "12 files are complete in data. To continue" in cli(*BY_DAY).stderr
    assert cli(*BY_DAY).exit_code == 0


def test_file_that_cannot_be_converted_leaves_only_what_is_continued(cli: Cli, folder: Path) -> None:
    assert cli("cdr", "export", *PERIOD, "whole.parquet").exit_code == 0
    size = sum(path.stat().st_size for path in folder.iterdir())
    with small_disk(folder / "disk", "5m") as grow:
        assert cli("cdr", "export", *PERIOD, "disk/out.parquet").exit_code == 0
        for path in (folder / "disk").iterdir():
            path.unlink()
        # The part fits, and the file next to it does not.
        spare = folder / "disk" / "spare"
        free = os.statvfs(folder / "disk")
        spare.write_bytes(bytes(free.f_bavail * free.f_frsize - part_size(cli, folder) - size // 3))
        stopped = cli("cdr", "export", *PERIOD, "disk/out.parquet")
        assert stopped.exit_code == 1, stopped.output
        assert "Cannot write disk/out.parquet: No space left on device" in stopped.stderr
        assert "600 records are saved in disk/out.parquet.part" in stopped.stderr
        there = sorted(path.name for path in (folder / "disk").iterdir())
        assert there == ["out.parquet.part", "out.parquet.state", "spare"]
        grow()
        assert cli("cdr", "export", *PERIOD, "disk/out.parquet").exit_code == 0
        assert parquet.read_metadata(folder / "disk" / "out.parquet").num_rows == 600


def part_size(cli: Cli, folder: Path) -> int:
    """Return the size of the part of the export."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(spool, "convert", full)
        assert cli("cdr", "export", *PERIOD, "sized.parquet").exit_code == 1
    return (folder / "sized.parquet.part").stat().st_size


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_converted_file_that_cannot_be_kept_is_removed(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    from videoapi.cli.export_file import ExportFile

    finish = ExportFile.finish

    def finish_on_a_full_disk(file: ExportFile) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(os, step, full)
            finish(file)

    with monkeypatch.context() as patched:
        patched.setattr(ExportFile, "finish", finish_on_a_full_disk)
        assert cli("cdr", "export", *PERIOD, "out.parquet").exit_code == 1
    assert sorted(path.name for path in folder.iterdir()) == ["out.parquet.part", "out.parquet.state"]
    assert cli("cdr", "export", *PERIOD, "out.parquet").exit_code == 0
