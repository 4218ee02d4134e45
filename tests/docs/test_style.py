"""Comments, docstrings and messages use the plain words that CONTRIBUTING asks for."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CODE = ("videoapi", "tests", "benchmarks", "examples")
BANNED = re.compile(
    r"\b(?:stands?(?!-)|stood|told|tells?|mend(?:s|ed)?|at hand|anew|whither|once more|all the same"
    r"|go(?:es)? on|went on|going on|(?:is|are) (?:no|(?-i:none))|(?:some|no|every)body|whoever|trouble|come back later"
    r"|beside|hand(?:s|ed)? out|asked for|meanwhile|behind|plainly|time-outs?|makes? .{0,12}\brooms?"
    r"|rooms? .{0,8}made"
    r"|(?:one|once|twice|outcomes?|requests?|records?|rows?|calls?|tokens?|connections?|KB|try|cost|looks)"
    r" an? (?:input|attempt|call|room|row|session|day|item|join|request|line|page|kind))\b",
    re.IGNORECASE,
)
# From Python 3.12 on, an f-string is several tokens.
TEXT = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
ALLOWED = Path(__file__).with_name("style_allowed.txt")
"""Messages that await their rewriting: a file and a line of its text, separated by a tab."""


class Hit(NamedTuple):
    path: str
    phrase: str
    line: str


def hits(path: Path) -> list[Hit]:
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    name = str(path.relative_to(ROOT))
    found: list[Hit] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in TEXT:
            for match in BANNED.finditer(token.string):
                row = token.start[0] + token.string[: match.start()].count("\n")
                found.append(Hit(name, match[0], lines[row - 1].strip()))
    return found


def files() -> list[Path]:
    paths = (path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py")))
    # This file spells the pattern out.
    return [path for path in paths if path != Path(__file__).resolve()]


def allowed() -> set[tuple[str, str]]:
    entries = ALLOWED.read_text(encoding="utf-8").splitlines()
    return {(path, line) for path, _, line in (entry.partition("\t") for entry in entries if entry)}


def test_code_uses_plain_words() -> None:
    found = [hit for path in files() for hit in hits(path)]
    assert [hit for hit in found if (hit.path, hit.line) not in allowed()] == []


def test_the_allow_list_holds_only_messages_that_are_still_there() -> None:
    found = {(hit.path, hit.line) for path in files() for hit in hits(path)}
    assert allowed() - found == set()


def test_the_allow_list_holds_no_comments_and_no_docstrings() -> None:
    entries = allowed()
    prose = {(name, line) for name, line in entries if line.startswith("#") or line in docstring_lines(ROOT / name)}
    assert prose == set()


def docstring_lines(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = (
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    )
    return {line.strip().strip('"') for text in bare for line in text.splitlines() if line.strip()}


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
