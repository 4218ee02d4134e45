"""Code, pages, help texts and messages use the plain words that CONTRIBUTING asks contributors to use."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from support.prose import Passage, of_file, of_markdown, of_python

from tests.docs.test_troubleshooting import raised
from videoapi.cli.app import videoapi as command
from videoapi.cli.messages import translate

ROOT = Path(__file__).resolve().parents[2]
CODE = ("videoapi", "tests", "benchmarks", "examples")
# What the service is known to do, and what was tested, in the words of their sources.
NOT_READ = ("docs/contract.md", "docs/reference/fault-matrix.md")
BANNED = re.compile(
    r"\b(?:stands?(?!-)|stood|told|tells?|mend(?:s|ed)?|at hand|anew|whither|once more|all the same"
    r"|go(?:es)? on|went on|going on|(?:is|are) (?:no|(?-i:none))|(?:some|no|every)body|whoever|trouble|come back later"
    r"|beside|hand(?:s|ed)? out|asked for|meanwhile|behind|plainly|time-outs?|makes? .{0,12}\brooms?"
    r"|rooms? .{0,8}made"
    r"|(?:one|once|twice|outcomes?|requests?|records?|rows?|calls?|tokens?|connections?|KB|try|cost|looks)"
    r" an? (?:input|attempt|call|room|row|session|day|item|join|request|line|page|kind))\b",
    re.IGNORECASE,
)
ALLOWED: dict[tuple[str, str], str] = {}
"""Where such a phrase is right: a file and the phrase as it is found there, with the reason."""


class Hit(NamedTuple):
    path: str
    phrase: str
    text: str


def hits(path: str, passages: Iterable[Passage]) -> Iterator[Hit]:
    for passage in passages:
        # A phrase may be broken between two lines.
        text = " ".join(passage.text.split())
        for match in BANNED.finditer(text):
            yield Hit(f"{path}:{passage.line}", match[0], text[max(0, match.start() - 60) : match.end() + 60])


def pages() -> list[Path]:
    top = [*ROOT.glob("*.md"), ROOT / "benchmarks" / "README.md"]
    written = [path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts]
    # The pages of the API are made from docstrings, which are read in the modules.
    return sorted(path for path in [*top, *written] if str(path.relative_to(ROOT)) not in NOT_READ)


def modules() -> list[Path]:
    paths = (path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py")))
    # This file spells the pattern out.
    return [path for path in paths if path != Path(__file__).resolve()]


def found(paths: Iterable[Path]) -> list[Hit]:
    return [hit for path in paths for hit in hits(str(path.relative_to(ROOT)), of_file(path))]


def not_allowed(found: Iterable[Hit]) -> list[Hit]:
    return [hit for hit in found if (hit.path.partition(":")[0], hit.phrase) not in ALLOWED]


def commands(group: click.Command, parent: click.Context | None, name: str) -> Iterator[click.Context]:
    """Yield the context of a command and of all commands below it, on a terminal of 80 columns."""
    context = click.Context(group, parent=parent, info_name=name, terminal_width=80, max_content_width=80)
    yield context
    if isinstance(group, click.Group):
        for below in group.list_commands(context):
            found = group.get_command(context, below)
            assert found is not None
            yield from commands(found, context, below)


COMMANDS = list(commands(command, None, "videoapi"))
each_command = pytest.mark.parametrize("context", COMMANDS, ids=[context.command_path for context in COMMANDS])


def test_code_uses_plain_words() -> None:
    assert not_allowed(found(modules())) == []


def test_pages_use_plain_words() -> None:
    assert {"README.md", "CHANGELOG.md", "SECURITY.md", "tutorial.md", "bulk.md"} <= {path.name for path in pages()}
    assert not_allowed(found(pages())) == []


@each_command
def test_help_uses_plain_words_as_it_is_shown(context: click.Context) -> None:
    help_text = context.get_help()
    assert help_text.startswith(f"Usage: {context.command_path}")
    assert list(hits("help", [Passage(1, help_text)])) == []


@each_command
def test_messages_of_the_library_use_plain_words_as_a_command_shows_them(context: click.Context) -> None:
    with context:
        shown = [Passage(1, translate(message)) for message in sorted(raised())]
    assert list(hits("message", shown)) == []


def test_phrase_is_found_in_prose_across_lines_but_not_in_code() -> None:
    page = "# Page\n\n- It goes\n  on.\n\n```sh\nstands\n```\n\n| told | x |\n"
    assert [(hit.path, hit.phrase) for hit in hits("p", of_markdown(page))] == [("p:3", "goes on"), ("p:10", "told")]
    module = 'x = 1  # it stood\ny = f"{x} once " "more"\n'
    assert {hit.phrase for hit in hits("m", of_python(module))} == {"once more", "stood"}


def test_allow_list_holds_only_phrases_that_are_still_there() -> None:
    there = {(hit.path.partition(":")[0], hit.phrase) for hit in found([*modules(), *pages()])}
    assert set(ALLOWED) - there == set()
    assert all(ALLOWED.values())


def test_each_type_name_is_defined_once() -> None:
    homes: defaultdict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "videoapi").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                homes[node.name].add(str(path))
        for statement in tree.body:
            if (name := alias_name(statement)) is not None:
                homes[name].add(str(path))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def alias_name(statement: ast.stmt) -> str | None:
    """Return the name of a type alias: assigned at module level and spelled like a class."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            pass
        case _:
            return None
    # One letter names a type variable, and capitals a constant.
    is_type = len(name.strip("_")) > 1 and name.strip("_")[0].isupper() and not name.isupper()
    return name if is_type else None
