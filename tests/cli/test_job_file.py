"""The `.job` of a bulk run: damaged, torn by a kill, or with a journal that cannot be used, it costs no room twice."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

from videoapi.cli.job import OpenOptions, open_job
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
CREATE = ("rooms", "create-many", "rooms.csv", "--settle", 0.2)
OUT = "rooms.csv.outcomes.jsonl"
NOTE = f"{OUT}.job"
ABOUT = {"origin": "https://a.example", "app_id": "a" * 24, "file": "rooms.csv", "keys": "name"}


@pytest.fixture
def rooms(folder: Path) -> Path:
    """A file with two rooms."""
    path = folder / "rooms.csv"
    path.write_text("name\nA\nB\n")
    return path


def names(sandbox: Sandbox) -> list[str]:
    return sorted(room["name"] for room in sandbox.ledger.rooms.values())


DAMAGES: list[tuple[str, Callable[[bytes], bytes], int]] = [
    ("empty", lambda text: b"", 2),
    ("zero bytes", lambda text: b"\0" * len(text), 2),
    ("cut", lambda text: text[:100], 5),
    ("zero bytes at the end", lambda text: text[:100] + b"\0" * 100, 5),
    ("without an ID", lambda text: b'{"file": "rooms.csv"}', 5),
    ("another program's", lambda text: b"\x80\x81", 5),
]


@pytest.mark.parametrize(("damage", "code"), [case[1:] for case in DAMAGES], ids=[case[0] for case in DAMAGES])
def test_damaged_job_file_leads_to_no_room_twice(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path, damage: Callable[[bytes], bytes], code: int
) -> None:
    assert cli(*CREATE).exit_code == 0
    text = (folder / NOTE).read_bytes()
    (folder / NOTE).write_bytes(damage(text))
    for more in ((), ("--dry-run",)):
        refused = cli(*CREATE, *more)
        assert refused.exit_code == code, refused.output
        assert NOTE in refused.stderr
        assert "--fresh" in refused.stderr
        assert "--job-id" in refused.stderr
        assert "--out" not in refused.stderr
        other = cli(*CREATE, "--out", "other.jsonl", *more)
        assert other.exit_code == 2, other.output
        assert f"The job {OUT} has created rooms for 2 of the 2 keys in rooms.csv" in other.stderr
        assert f"{NOTE}, which says how to continue that job, is empty or damaged." in other.stderr
    assert (folder / NOTE).read_bytes() == damage(text)
    assert not list(folder.glob("other*"))
    assert names(sandbox) == ["A", "B"]


def test_job_with_a_damaged_file_continues_with_its_id_or_starts_over(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path
) -> None:
    assert cli(*CREATE).exit_code == 0
    job_id = json.loads((folder / NOTE).read_text())["job_id"]
    (folder / NOTE).write_text("{")
    assert cli(*CREATE, "--job-id", job_id).exit_code == 5
    (folder / NOTE).rename(folder / "damaged")
    assert cli(*CREATE, "--job-id", job_id).exit_code == 0
    assert names(sandbox) == ["A", "B"]
    (folder / NOTE).write_text("{")
    preview = cli(*CREATE, "--fresh", "--dry-run", "--json")
    assert (preview.exit_code, json.loads(preview.stdout)["job"]["rooms_again"]) == (0, 2)
    assert cli(*CREATE, "--fresh").exit_code == 0
    assert names(sandbox) == ["A", "A", "B", "B"]
    assert (folder / f"{OUT}.2.job").read_text() == "{"
    # The job that --fresh has replaced does not matter any more.
    assert cli(*CREATE).exit_code == 0
    assert names(sandbox) == ["A", "A", "B", "B"]


def test_damaged_job_that_may_have_rooms_refuses_a_new_one(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path
) -> None:
    assert cli(*CREATE).exit_code == 0
    (folder / NOTE).write_text("{")
    # As after a kill: what was in flight has no outcome.
    (folder / OUT).rename(folder / f"{OUT}.part")
    (folder / "more.csv").write_text("name\nC\n")
    refused = cli("rooms", "create-many", "more.csv")
    assert refused.exit_code == 2, refused.output
    assert f"The job {OUT} may have created rooms of more.csv" in refused.stderr
    assert names(sandbox) == ["A", "B"]
    (folder / f"{OUT}.part").rename(folder / OUT)
    assert cli("rooms", "create-many", "more.csv").exit_code == 0
    assert names(sandbox) == ["A", "B", "C"]


def test_continued_job_is_refused_lines_of_a_damaged_one(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    assert cli(*CREATE).exit_code == 0
    (folder / "more.csv").write_text("name\nC\n")
    assert cli("rooms", "create-many", "more.csv").exit_code == 0
    (folder / NOTE).write_text("{")
    (folder / "more.csv").write_text("name\nC\nA\n")
    refused = cli("rooms", "create-many", "more.csv")
    assert refused.exit_code == 2, refused.output
    assert f"The job {OUT} has created rooms for 1 of the 2 keys in more.csv" in refused.stderr
    assert names(sandbox) == ["A", "B", "C"]


KILLED_AT_EACH_STEP = """
import os, sys
from pathlib import Path
from videoapi.cli import job

out, about = Path("out.jsonl"), {"origin": "o", "app_id": "a", "file": "rooms.csv", "keys": "name"}
with job.open_job(out, {**about, "settle": "a longer text than later"}, quiet=True) as first:
    pass
note = Path("out.jsonl.job")
text, step, code = note.read_bytes(), 0, 9
lengths = set()
while code:
    step += 1
    note.write_bytes(text)
    child = os.fork()
    if not child:
        left = step
        def kill(frame, event, argument):
            global left
            if event.startswith("c_") and frame.f_code.co_name == "_write":
                left -= 1
                if not left:
                    os._exit(9)
        sys.setprofile(kill)
        with job.open_job(out, about, quiet=True):
            pass
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    lengths.add(note.stat().st_size)
    with job.open_job(out, about, quiet=True) as again:
        assert again.job_id == first.job_id, step
print(step, len(lengths))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it has no fork")
def test_job_continues_after_a_kill_at_any_step_of_writing_its_file(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EACH_STEP], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    steps, lengths = map(int, done.stdout.split())
    assert steps > 5
    # The earlier text and the later one.
    assert lengths == 2


@pytest.mark.parametrize(
    ("journal", "options", "words"),
    [
        ("rooms.csv", (), "rooms.csv, which is the input file"),
        ("link", (), "link, which is the input file"),
        ("hard", (), "hard, which is the input file"),
        ("o", ("--out", "o"), "o, which is the outcome file"),
        ("./o.part", ("--out", "o"), "o.part, which is the outcome file"),
        ("o.job", ("--out", "o"), "o.job, which is the .job of the outcome file"),
        ("o", ("--out", "o-wal"), "o-wal, which is the outcome file"),
        ("dangling", ("--out", "o"), "dangling, which is the outcome file"),
    ],
)
@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_journal_is_no_other_file_of_the_job(
    cli: Cli,
    sandbox: Sandbox,
    folder: Path,
    rooms: Path,
    journal: str,
    options: tuple[str, ...],
    words: str,
    dry_run: tuple[str, ...],
) -> None:
    (folder / "link").symlink_to("rooms.csv")
    (folder / "hard").hardlink_to(folder / "rooms.csv")
    (folder / "dangling").symlink_to("o.part")
    before = sorted(path.name for path in folder.iterdir())
    refused = cli(*CREATE, "--journal", journal, *options, *dry_run)
    assert refused.exit_code == 2, refused.output
    assert f"--journal would write {words}. Give another name." in refused.stderr
    assert sorted(path.name for path in folder.iterdir()) == before
    assert rooms.read_text() == "name\nA\nB\n"
    assert sandbox.ledger.requests() == 0


@pytest.mark.parametrize("typed", ["letter.txt", "nowhere/jobs.db", "other.db"])
@pytest.mark.parametrize("fresh", [(), ("--fresh",)])
def test_journal_that_cannot_be_used_is_not_bound_to_the_job(
    cli: Cli,
    sandbox: Sandbox,
    folder: Path,
    rooms: Path,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    fresh: tuple[str, ...],
) -> None:
    (folder / "letter.txt").write_text("Dear all")
    with Sandbox(seed=8).in_thread() as other, monkeypatch.context() as patched:
        for name, value in (("BASE_URL", other.base_url), ("APP_ID", other.app_id), ("APP_KEY", other.app_key)):
            patched.setenv(f"VIDEOAPI_{name}", value)
        (folder / "there").mkdir()
        (folder / "there" / "rooms.csv").write_text("name\nA\n")
        assert cli("rooms", "create-many", "there/rooms.csv", "--journal", "other.db").exit_code == 0
    before = sorted(path.name for path in folder.iterdir())
    refused = cli(*CREATE, "--journal", typed, *fresh)
    assert refused.exit_code == 5, refused.output
    assert f"The journal '{typed}' " in refused.stderr
    assert sorted(path.name for path in folder.iterdir()) == before
    assert (folder / "letter.txt").read_text() == "Dear all"
    assert cli(*CREATE, "--journal", "jobs.db").exit_code == 0
    assert cli(*CREATE).exit_code == 0
    assert names(sandbox) == ["A", "B"]


@pytest.mark.parametrize("left", ["", ".journal"])
def test_unused_job_leaves_files_of_an_unknown_one_to_be_refused(folder: Path, left: str) -> None:
    out = folder / "out.jsonl"
    (folder / f"out.jsonl{left}").write_text("of an earlier run")
    with open_job(out, ABOUT, OpenOptions(job_id="autumn"), used=lambda: False):
        out.write_text("not sent")
    with pytest.raises(click.UsageError, match="is from an earlier run"), open_job(out, ABOUT):
        pass


def test_unused_job_is_replaced_each_time(folder: Path) -> None:
    out = folder / "out.jsonl"
    seen = set()
    for _ in range(3):
        with open_job(out, ABOUT, used=lambda: False) as job:
            out.write_text("not sent")
        seen.add(job.job_id)
    assert len(seen) == 3
