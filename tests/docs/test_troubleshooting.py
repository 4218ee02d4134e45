"""Each message of an error has an entry on the troubleshooting page, or a reason why it needs none."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import videoapi
from videoapi import errors
from videoapi.webhooks import errors as webhook_errors

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "howto" / "troubleshooting.md"
ELSEWHERE = Path(__file__).with_name("messages_elsewhere.txt")
"""Messages without an entry: a reason in brackets, and below it the messages that it is for, one per line."""
CLASSES = {
    name
    for module in (errors, webhook_errors)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, videoapi.VideoAPIError)
}
# The sandbox is not the library's own voice, and the command has messages of its own.
NOT_OF_THE_LIBRARY = ("cli", "sandbox", "testing.py", "pytest_plugin.py")


def template(node: ast.expr) -> str | None:
    """Return a message with `…` in place of what differs; None if it is built elsewhere."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return (template(left) or "…") + (template(right) or "…")
        case ast.IfExp(body=body):
            return template(body)
    return None


JOBS = ("job.py", "earlier_jobs.py")
"""Modules of the command whose refusals have entries, too."""


def tidy(text: str) -> str:
    return re.sub("…+", "…", " ".join(text.split()))


@cache
def modules() -> tuple[ast.Module, ...]:
    paths = sorted((ROOT / "videoapi").rglob("*.py"))
    own = [path for path in paths if path.relative_to(ROOT / "videoapi").parts[0] not in NOT_OF_THE_LIBRARY]
    return tuple(ast.parse(path.read_text(encoding="utf-8")) for path in own)


@cache
def job_modules() -> tuple[ast.Module, ...]:
    return tuple(ast.parse((ROOT / "videoapi" / "cli" / name).read_text(encoding="utf-8")) for name in JOBS)


@cache
def raised() -> frozenset[str]:
    """Return the messages with which errors are constructed."""
    found = set()
    for tree in (*modules(), *job_modules()):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                text = template(node.args[0])
                if name in {*CLASSES, "UsageError"} and text and re.search(r"[a-z]{3}", text):
                    found.add(tidy(text))
    return frozenset(found)


@cache
def all_texts() -> tuple[str, ...]:
    trees = (*modules(), *job_modules())
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant | ast.JoinedStr))
    sums = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.BinOp))
    return tuple(tidy(text) for node in (*nodes, *sums) if (text := template(node)))


def entries() -> list[str]:
    rows = re.findall(r"^\| `([^`]+)` (?:\([^|]*\) )?\| ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [tidy(row) for row in rows]


def elsewhere() -> dict[str, str]:
    found: dict[str, str] = {}
    reason = ""
    for line in ELSEWHERE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            reason = line.strip("[]")
        elif line:
            found[line] = reason
    return found


def uncovered(messages: frozenset[str], known: list[str]) -> list[str]:
    # An entry may leave out the beginning or the end of a message, which differ.
    keys = [entry.strip("… ") for entry in known]
    return sorted(message for message in messages if not any(key in message for key in keys))


def test_every_message_has_an_entry_or_a_reason() -> None:
    assert len(raised()) > 100
    assert uncovered(raised() - set(elsewhere()), entries()) == []


def test_every_entry_is_a_message_of_the_library() -> None:
    texts = all_texts()
    gone = [entry for entry in entries() if not any(entry.strip("… ") in text for text in texts)]
    assert gone == []
    assert len(entries()) >= 50


def test_reasons_are_for_messages_that_exist() -> None:
    assert set(elsewhere()) - raised() == set()
    assert all(len(reason) > 20 for reason in elsewhere().values())
    both = [message for message in elsewhere() if not uncovered(frozenset([message]), entries())]
    assert both == []


def test_message_without_an_entry_is_found() -> None:
    assert uncovered(frozenset(["A new message of … s."]), entries()) == ["A new message of … s."]
