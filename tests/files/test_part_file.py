"""A file that appears whole: only when complete, only once, and never in place of something else."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.small_disk import small_disk

from videoapi.files import FileTaken, PartFile, lock
from videoapi.files import locks as locks_module


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def opened(folder: Path, *, overwrite: bool = False) -> PartFile:
    file = PartFile(folder, "out", overwrite=overwrite)
    file.open()
    return file


def test_file_has_its_name_only_when_it_is_finished(tmp_path: Path) -> None:
    file = opened(tmp_path)
    file.write(b"one ")
    file.write(b"two")
    assert names(tmp_path) == ["out.part"]
    assert file.finish() == tmp_path / "out"
    file.close()
    assert (tmp_path / "out").read_bytes() == b"one two"
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["out"]


def test_part_is_continued_and_truncated(tmp_path: Path) -> None:
    file = opened(tmp_path)
    file.write(b"0123456789")
    file.close()
    file = opened(tmp_path)
    assert file.size == 10
    assert b"".join(file.read(2, 5)) == b"234"
    assert b"".join(file.read(8, 50)) == b"89"
    file.truncate(4)
    file.write(b"x")
    file.finish()
    file.close()
    assert (tmp_path / "out").read_bytes() == b"0123x"


def test_empty_part_is_removed(tmp_path: Path) -> None:
    opened(tmp_path).close()
    assert names(tmp_path) == []


def temporary(folder: Path, *, overwrite: bool = False) -> PartFile:
    file = PartFile(folder, "out", overwrite=overwrite, is_temporary=True)
    file.open()
    return file


def test_temporary_part_is_hidden_and_leaves_the_part_of_another_file(tmp_path: Path) -> None:
    (tmp_path / "out.part").write_bytes(b"mine")
    file = temporary(tmp_path)
    file.write(b"whole")
    (hidden,) = [name for name in names(tmp_path) if name != "out.part"]
    assert hidden.startswith(".out.")
    file.finish()
    file.close()
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == {"out": b"whole", "out.part": b"mine"}


def test_temporary_parts_of_one_file_are_independent(tmp_path: Path) -> None:
    files = [temporary(tmp_path, overwrite=True) for _ in range(2)]
    for number, file in enumerate(files):
        file.write(b"%d" % number)
    for file in reversed(files):
        file.finish()
        file.close()
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == {"out": b"0"}


def test_abandoned_temporary_parts_of_the_same_file_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".out.0123456789abcdef.tmp").write_bytes(b"abandoned")
    (tmp_path / ".out.0123456789abcdee.tmp").symlink_to(".out.tmp")
    kept = [".out.0123456789abcdee.tmp", ".out.tmp", ".outer.0123456789abcdef.tmp", "out.0123456789abcdef.tmp"]
    for name in kept[1:]:
        (tmp_path / name).write_bytes(b"mine")
    temporary(tmp_path).close()
    assert names(tmp_path) == sorted(kept)


def test_temporary_part_survives_a_process_that_takes_it_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def lock_late(file: int) -> bool:
        tried.append(file)
        if len(tried) == 1:
            # The other process has the lock, and removes the file.
            (path,) = tmp_path.iterdir()
            path.unlink()
        return len(tried) > 1 and lock(file)

    monkeypatch.setattr("videoapi.files.part_file.lock", lock_late)
    file = temporary(tmp_path)
    file.write(b"whole")
    file.finish()
    file.close()
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("is_temporary", [False, True])
def test_error_names_the_path_of_the_file(tmp_path: Path, is_temporary: bool) -> None:
    with small_disk(tmp_path / "disk", "1m,nr_inodes=1"):
        file = PartFile(tmp_path / "disk", "out", overwrite=False, is_temporary=is_temporary)
        with pytest.raises(OSError, match="No space left") as caught:
            file.open()
        assert caught.value.filename == f"{tmp_path}/disk/out{'' if is_temporary else '.part'}"
        with pytest.raises(OSError, match="No space left") as caught:
            file.write_beside(".state", b"{}")
        assert caught.value.filename == f"{tmp_path}/disk/out.state"
        file.close()


def test_second_writer_is_refused_while_the_first_has_the_part(tmp_path: Path) -> None:
    file = opened(tmp_path)
    with pytest.raises(FileTaken) as caught:
        opened(tmp_path)
    assert caught.value.reason == "busy"
    file.close()
    opened(tmp_path).close()


MAKE: dict[str, tuple[Callable[[Path], object], str]] = {
    "file": (lambda path: path.write_bytes(b"precious"), "exists"),
    "directory": (lambda path: path.mkdir(), "directory"),
    "link": (lambda path: path.symlink_to("elsewhere"), "link"),
    "pipe": (os.mkfifo, "link"),
}


@pytest.mark.parametrize("what", MAKE)
@pytest.mark.parametrize("late", [False, True])
def test_reason_says_what_has_the_final_name(tmp_path: Path, what: str, late: bool) -> None:
    make, reason = MAKE[what]
    file = PartFile(tmp_path, "out", overwrite=False)
    if late:
        file.open()
        file.write(b"new")
    make(tmp_path / "out")
    before = (tmp_path / "out").lstat()
    with pytest.raises(FileTaken) as caught:
        file.finish() if late else file.open()
    file.close()
    assert (caught.value.reason, caught.value.late) == (reason, late)
    assert os.path.samestat((tmp_path / "out").lstat(), before)
    assert names(tmp_path) == (["out", "out.part"] if late else ["out"])


def test_file_finished_while_another_process_opens_it_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = opened(tmp_path)
    one.write(b"complete")
    check = PartFile._must_be_free
    finished: list[Path] = []

    def late(self: PartFile, **options: bool) -> None:
        check(self, **options)
        if not finished:
            finished.append(one.finish())
            one.close()

    two = PartFile(tmp_path, "out", overwrite=False)
    monkeypatch.setattr(PartFile, "_must_be_free", late)
    with pytest.raises(FileTaken) as caught:
        two.open()
    two.close()
    assert caught.value.reason == "exists"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_part_that_another_process_began_anew_does_not_get_the_final_name(tmp_path: Path, overwrite: bool) -> None:
    one = opened(tmp_path, overwrite=overwrite)
    one.write(b"complete")
    (tmp_path / "out.part").unlink()
    two = opened(tmp_path, overwrite=overwrite)
    two.write(b"begun")
    with pytest.raises(OSError, match="removed while it was written"):
        one.finish()
    one.close()
    assert names(tmp_path) == ["out.part"]
    two.write(b" and complete")
    two.finish()
    two.close()
    assert (tmp_path / "out").read_bytes() == b"begun and complete"


def test_part_that_was_finished_but_kept_its_temporary_name_is_not_continued(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"complete")
    os.link(tmp_path / "out", tmp_path / "out.part")
    with pytest.raises(FileTaken):
        opened(tmp_path)
    assert names(tmp_path) == ["out"]
    os.link(tmp_path / "out", tmp_path / "out.part")
    file = opened(tmp_path, overwrite=True)
    assert file.size == 0
    file.write(b"new")
    assert (tmp_path / "out").read_bytes() == b"complete"
    file.finish()
    file.close()
    assert (tmp_path / "out").read_bytes() == b"new"


def test_file_next_to_the_part_has_the_old_or_the_new_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(tmp_path)
    file.write(b"x")
    file.write_beside(".state", b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        file.write_beside(".state", b"new")
    assert file.read_beside(".state", 10) == b"old"
    assert names(tmp_path) == ["out.part", "out.state"]
    monkeypatch.undo()
    file.write_beside(".state", b"new")
    assert file.read_beside(".state", 2) == b"ne"
    file.remove_beside(".state")
    assert file.read_beside(".state", 10) is None
    file.close()


def test_link_next_to_the_part_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "out.state").symlink_to("victim")
    (tmp_path / "out.state.new").symlink_to("victim")
    file = opened(tmp_path)
    assert file.read_beside(".state", 100) is None
    file.write_beside(".state", b"new")
    file.close()
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert (tmp_path / "out.state").read_bytes() == b"new"


def test_system_without_locks_has_one_writer_at_a_time_by_agreement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks_module, "fcntl", None)
    with (tmp_path / "one").open("wb") as file:
        assert lock(file.fileno())


def test_library_and_commands_can_be_imported_on_windows() -> None:
    """Windows has no `fcntl`, and lacks these flags of `os`."""
    script = """
import os, sys
sys.modules["fcntl"] = None
for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_DIRECTORY"):
    delattr(os, name)
import videoapi.files, videoapi.downloads, videoapi.resources.archives
import videoapi.cli.export, videoapi.cli.job, videoapi.cli.outcomes, videoapi.cli.fetch
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_part_is_free_after_a_process_was_forked_while_it_was_written(tmp_path: Path) -> None:
    file = opened(tmp_path)
    file.write(b"one")
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    try:
        with pytest.raises(FileTaken, match="busy"):
            opened(tmp_path)
        file.close()
        opened(tmp_path).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
@pytest.mark.parametrize("written", [b"", b"one"])
def test_forked_process_that_closes_a_part_neither_releases_nor_removes_it(tmp_path: Path, written: bytes) -> None:
    file = opened(tmp_path)
    file.write(written)
    child = os.fork()
    if not child:
        file.close()
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(FileTaken, match="busy"):
        opened(tmp_path)
    assert file.finish() == tmp_path / "out"
    file.close()
