"""`videoapi archives download`: every file has a name of its own, and none is skipped in place of another."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import Result
from hypothesis import example, given
from hypothesis import strategies as st

from videoapi.cli.fetch import named_files
from videoapi.downloads.filenames import name_from_id
from videoapi.models.archives import Archive
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
DAY = "2026-03-31"
DOWNLOAD = ("archives", "download", DAY, DAY, "files", "--json", "--recording-host", "127.0.0.1")


class Media(BaseHTTPRequestHandler):
    """A file server: the content of a file is its path; those below `/refused` are refused."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(403 if self.path.startswith("/refused") else 200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def origin() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Media) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        Media.asked.clear()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def archive(archive_id: str | None, *urls: str, conf_num: str | None = "c1", **more: Any) -> dict[str, Any]:
    links = {"recording": [{"url": url} for url in urls], "_id": archive_id, "conf_num": conf_num, **more}
    return {"trans_date": f"{DAY}T10:00:00.000Z", "room_id": "r1"} | {
        name: value for name, value in links.items() if value is not None
    }


def serve(sandbox: Sandbox, *archives: dict[str, Any]) -> None:
    body = {"result": "0", "archive": list(archives)}
    sandbox.fault("archives.by_period", "status", times=None, status=200, body=body)


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def conference(origin: str) -> list[dict[str, Any]]:
    return [
        archive(f"a{number}", f"{origin}/{number}/x.mkv", chatdata=f"{origin}/{number}/chatdata.json")
        for number in range(3)
    ]


def test_files_of_equal_name_in_one_conference_are_all_downloaded(
    cli: Cli, sandbox: Sandbox, folder: Path, origin: str
) -> None:
    serve(sandbox, *conference(origin))
    first = cli(*DOWNLOAD)
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["downloaded"] == len(files_in(folder / "files")) == 6
    assert {path.read_text() for path in files_in(folder / "files")} == {
        f"/{number}/{name}" for number in range(3) for name in ("x.mkv", "chatdata.json")
    }
    second = cli(*DOWNLOAD)
    assert second.exit_code == 0
    assert json.loads(second.stdout) | {"seconds": 0} == {
        "downloaded": 0,
        "there_already": 6,
        "failed": 0,
        "bytes": 0,
        "folder": "files",
        "seconds": 0,
    }


@pytest.mark.parametrize("archive_id", ["a", None])
def test_files_of_archives_that_differ_only_in_the_query_are_all_downloaded(
    cli: Cli, sandbox: Sandbox, folder: Path, origin: str, archive_id: str | None
) -> None:
    queries = [f"/x.mkv?file={number}" for number in range(8)]
    # Each is listed twice: the same link is one file.
    serve(sandbox, *(archive(archive_id, f"{origin}{query}") for query in queries * 2))
    result = cli(*DOWNLOAD)
    assert result.exit_code == 0, result.output
    assert sorted(path.read_text() for path in files_in(folder / "files")) == queries == sorted(Media.asked)
    again = json.loads(cli(*DOWNLOAD).stdout)
    assert (again["downloaded"], again["there_already"], again["failed"]) == (0, 8, 0)


def test_existing_files_are_replaced_only_with_overwrite(cli: Cli, sandbox: Sandbox, folder: Path, origin: str) -> None:
    serve(sandbox, archive("a", f"{origin}/x.mkv"))
    assert cli(*DOWNLOAD).exit_code == 0
    (path,) = files_in(folder / "files")
    path.write_bytes(b"mine")
    assert cli(*DOWNLOAD).exit_code == 0
    assert path.read_bytes() == b"mine"
    assert json.loads(cli(*DOWNLOAD, "--overwrite").stdout)["downloaded"] == 1
    assert path.read_bytes() == b"/x.mkv"


@pytest.mark.parametrize("what", ["directory", "link"])
def test_name_in_use_by_something_else_is_a_failure(
    cli: Cli, sandbox: Sandbox, folder: Path, origin: str, what: str
) -> None:
    serve(sandbox, archive("a", f"{origin}/x.mkv"))
    assert cli(*DOWNLOAD).exit_code == 0
    (path,) = files_in(folder / "files")
    path.unlink()
    path.mkdir() if what == "directory" else path.symlink_to(folder / "nowhere")
    result = cli(*DOWNLOAD)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["failed"] == 1
    assert f"is a {what}" in result.stderr
    assert "name=" not in result.stderr


@pytest.mark.parametrize(
    ("archive_id", "conf_num", "said"),
    [("a", "c1", "recording of c1: "), ("a", None, "recording of a: "), (None, None, "recording: ")],
)
def test_file_that_failed_is_named_by_its_session_or_archive(
    cli: Cli, sandbox: Sandbox, folder: Path, origin: str, archive_id: str | None, conf_num: str | None, said: str
) -> None:
    serve(sandbox, archive(archive_id, f"{origin}/refused/x.mkv", conf_num=conf_num))
    assert said in cli(*DOWNLOAD).stderr


def test_file_that_is_refused_does_not_stop_the_others(cli: Cli, sandbox: Sandbox, folder: Path, origin: str) -> None:
    serve(sandbox, archive("a", f"{origin}/refused.mkv"), archive("b", *(f"{origin}/{n}.mkv" for n in range(30))))
    result = cli(*DOWNLOAD)
    assert result.exit_code == 1, result.output
    assert len(files_in(folder / "files")) == json.loads(result.stdout)["downloaded"] == 30
    assert "HTTP 403" in result.stderr


@pytest.mark.parametrize(("files", "most"), [(1, 1), (60, 30)])
def test_refused_credentials_end_the_run(
    cli: Cli, sandbox: Sandbox, folder: Path, origin: str, files: int, most: int
) -> None:
    serve(sandbox, archive("a", *(f"{origin}/refused/{n}.mkv" for n in range(files))))
    result = cli(*DOWNLOAD)
    assert result.exit_code == 5, result.output
    assert "VIDEOAPI_RECORDING_USER" in result.stderr
    assert 1 <= len(Media.asked) <= most
    assert files_in(folder / "files") == []


_TEXT = st.text(st.characters(codec=None), min_size=1, max_size=8)
_URLS = st.builds("https://h/{}".format, st.text("ab/.?", min_size=1, max_size=4))
_ARCHIVES = st.builds(
    lambda archive_id, conf_num, urls: Archive.from_dict(archive(archive_id, *urls, conf_num=conf_num)),
    _TEXT,
    st.text("aA/+=", min_size=1, max_size=3),
    st.lists(_URLS, max_size=4, unique=True),
)


@given(st.lists(_ARCHIVES, max_size=4, unique_by=lambda one: (one.archive_id, one.conf_num)))
def test_no_two_files_have_one_name(archives: list[Archive]) -> None:
    wanted = [one for found in archives for one in named_files(found)]
    names = Counter(f"{one.folder}/{one.name}".casefold() for one in wanted)
    assert len(names) == sum(len(found.files) for found in archives)
    assert all("/" not in one.name and "/" not in one.folder and len(one.name.encode()) <= 200 for one in wanted)


@given(st.permutations(["https://h/1/x.mkv", "https://h/2/x.mkv?sig=1", "https://h/3/y.mkv"]))
def test_names_do_not_depend_on_the_order_of_the_list_or_on_signatures(urls: list[str]) -> None:
    given_names = {one.file.url: one.name for one in named_files(Archive.from_dict(archive("a", *urls)))}
    signed = [url.replace("sig=1", "sig=2") for url in sorted(urls)]
    again = {one.file.url: one.name for one in named_files(Archive.from_dict(archive("a", *signed)))}
    assert {url.partition("?")[0]: name for url, name in given_names.items()} == {
        url.partition("?")[0]: name for url, name in again.items()
    }


def test_files_that_differ_only_in_their_queries_keep_their_names() -> None:
    urls = ["https://h/get?id=1", "https://h/get?id=2"]
    names = [
        {one.file.url: one.name for one in named_files(Archive.from_dict(archive("a", *order)))}
        for order in (urls, urls[::-1])
    ]
    assert names[0] == names[1]
    # One that is listed earlier takes no name of the others.
    more = named_files(Archive.from_dict(archive("a", "https://h/get?id=0", *urls)))
    assert not {one.name for one in more if one.file.url not in urls} & {*names[0].values()}


def test_file_that_is_listed_later_does_not_take_the_name_of_another() -> None:
    before = {one.name for one in named_files(Archive.from_dict(archive("a", "https://h/2.mkv")))}
    after = {
        one.file.url: one.name
        for one in named_files(Archive.from_dict(archive("a", "https://h/1.mkv", "https://h/2.mkv")))
    }
    assert after["https://h/1.mkv"] not in before


@example(["aB", "ab", "AB"])
@example(["a/b", "b", "c/b"])
@example(["x" * 300, "x" * 301])
@given(st.lists(_TEXT, min_size=2, max_size=6, unique=True))
def test_two_ids_have_two_names(ids: list[str]) -> None:
    assert len({name_from_id(text).casefold() for text in ids}) == len(ids)


def test_plain_id_is_its_own_name() -> None:
    assert name_from_id("5f3a9c") == "5f3a9c"
