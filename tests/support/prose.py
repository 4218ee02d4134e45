"""The prose of the repository, passage by passage: Markdown outside code, and comments and strings of Python."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+|~~~+).*?^(?P=indent)(?P=fence) *$", re.MULTILINE | re.DOTALL)
# An item, a row or a heading begins a passage of its own, and a blank line ends one.
BEGINS = re.compile(r"\s*(?:[-*+] |\d+\. |\||#|$)")


class Passage(NamedTuple):
    """A piece of text that is read in one go.

    Args:
        line: The number of its first line.
        text: The text, with its line breaks.
    """

    line: int
    text: str


def of_markdown(source: str) -> Iterator[Passage]:
    """Yield the paragraphs, items, rows and headings of a page, without its fenced code."""
    lines = FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), source).splitlines()
    starts = [number for number, line in enumerate(lines) if BEGINS.match(line)]
    for start, end in pairwise([0, *starts, len(lines)]):
        yield Passage(start + 1, "\n".join(lines[start:end]))


def of_python(source: str) -> Iterator[Passage]:
    """Yield the strings of a module, each joined from its parts, and its comments, each joined from its lines."""
    tree = ast.parse(source)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in parts:
                yield Passage(node.lineno, text)
            case ast.JoinedStr(values=values):
                shown = (str(part.value) if isinstance(part, ast.Constant) else "…" for part in values)
                yield Passage(node.lineno, "".join(shown))
    yield from _comments(source)


def _comments(source: str) -> Iterator[Passage]:
    block: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if block and token.start[0] != last + 1:
                yield Passage(last - len(block) + 1, "\n".join(block))
                block = []
            block.append(token.string.lstrip("# "))
            last = token.start[0]
    if block:
        yield Passage(last - len(block) + 1, "\n".join(block))


def of_file(path: Path) -> Iterator[Passage]:
    """Yield the passages of a page or a module."""
    source = path.read_text(encoding="utf-8")
    return of_markdown(source) if path.suffix == ".md" else of_python(source)
