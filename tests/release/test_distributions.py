"""The wheel and the sdist: reproducible, complete, and with a README that works on a package index."""

from __future__ import annotations

import email
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EPOCH = "1767225600"
LINK = re.compile(r"\]\(([^)\s]+)\)")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(out: Path) -> dict[str, Path]:
    for tool in ("build", "hatchling", "hatch_fancy_pypi_readme"):
        pytest.importorskip(tool)
    run("build", "--no-isolation", "--outdir", str(out), ".", SOURCE_DATE_EPOCH=EPOCH)
    return {path.suffix: path for path in out.iterdir()}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def metadata(dist: dict[str, Path]) -> Message:
    with zipfile.ZipFile(dist[".whl"]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(wheel.read(name))


def test_second_build_has_the_same_hash(dist: dict[str, Path], tmp_path: Path) -> None:
    again = build(tmp_path / "again")
    for suffix in (".whl", ".gz"):
        first, second = (hashlib.sha256(found[suffix].read_bytes()).hexdigest() for found in (dist, again))
        assert first == second, suffix


def test_wheel_holds_the_package_and_nothing_else(dist: dict[str, Path]) -> None:
    with zipfile.ZipFile(dist[".whl"]) as wheel:
        names = set(wheel.namelist())
        assert wheel.testzip() is None
    folders = {name.partition("/")[0] for name in names}
    assert folders == {"videoapi", next(name for name in folders if name.endswith(".dist-info"))}
    tracked = subprocess.run(["git", "ls-files", "videoapi"], cwd=ROOT, capture_output=True, text=True, check=False)
    expected = set(tracked.stdout.split()) if tracked.returncode == 0 else set()
    assert expected - names == set()
    for needed in ("py.typed", "sandbox/openapi.json", "blocking/__init__.pyi", "pytest_plugin.py"):
        assert f"videoapi/{needed}" in names
    assert not [name for name in names if name.endswith((".pyc", ".sqlite")) or "/tests/" in name]
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_sdist_holds_what_its_tests_and_docs_need(dist: dict[str, Path]) -> None:
    with tarfile.open(dist[".gz"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in (
        "README.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "LICENSE",
        "Makefile",
        "docs/conf.py",
        "tests/conftest.py",
    ):
        assert needed in names
    generated = ("docs/_build/", "docs/reference/api/", ".venv", "dist/")
    assert [name for name in names if name.startswith(generated)] == []


def test_readme_passes_the_check_of_the_index(dist: dict[str, Path]) -> None:
    pytest.importorskip("twine")
    run("twine", "check", "--strict", str(dist[".whl"]), str(dist[".gz"]))


def test_links_of_the_readme_are_complete_on_an_index(metadata: Message) -> None:
    text = str(metadata.get_payload())
    links = LINK.findall(text)
    assert len(links) > 10
    assert [link for link in links if not link.startswith("https://")] == []
    source = PROJECT["urls"]["Source"]
    raw = source.replace("https://github.com", "https://raw.githubusercontent.com")
    for link in links:
        path = link.removeprefix(f"{source}/blob/main/").removeprefix(f"{raw}/main/").partition("#")[0]
        assert link.startswith(("https://keepachangelog", "https://semver")) or (ROOT / path).exists(), link


def test_metadata_name_the_project(metadata: Message) -> None:
    urls = dict(text.split(", ", 1) for text in metadata.get_all("Project-URL", []))
    assert urls == PROJECT["urls"]
    assert all(url.startswith("https://") for url in urls.values())
    classifiers = metadata.get_all("Classifier", [])
    assert "Typing :: Typed" in classifiers
    assert {"3.11", "3.12", "3.13"} <= {text.rpartition(" ")[2] for text in classifiers}
    assert metadata["License-Expression"] == "Apache-2.0"


def test_sbom_names_the_dependencies(tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx_py")
    out = tmp_path / "sbom.json"
    run("cyclonedx_py", "environment", "--output-reproducible", "--output-file", str(out), sys.executable)
    names = {component["name"].lower() for component in json.loads(out.read_text(encoding="utf-8"))["components"]}
    assert {"aiohttp", "attrs", "cattrs", "msgspec"} <= names


def test_workflow_that_publishes_is_marked_as_untested() -> None:
    text = (ROOT / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8")
    assert text.startswith("# UNTESTED")
    assert "id-token: write" in text
    assert "password" not in re.sub(r"#.*", "", text)
