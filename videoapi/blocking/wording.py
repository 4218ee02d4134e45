"""The names and texts of the async client as the blocking client has them."""

from __future__ import annotations

import re
from typing import Final

NAMES: Final[dict[str, str]] = {
    "aclose": "close",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
}
"""The names that differ in the blocking client."""

_SENTENCES: Final = (
    ("Thousands of tasks of one event loop can share a client.", "Any number of threads can share a client."),
    ("clients of several projects can share, in one event loop", "clients of several projects can share"),
    (
        "or call `close()`, which close the connections immediately; after a bare `break` they are closed a few event "
        "loop iterations later",
        "or call `close()`; a `break` closes the connections, too",
    ),
    ("or an awaitable of it and is called for each attempt", "and is called for each attempt, in a worker thread"),
    ("with an event for each attempt and each call", "in the event loop, with an event for each attempt and each call"),
    (": its imports block the event loop for about 0.1 s", ": its imports take about 0.1 s"),
    ("If another task is waiting for a record; cancel that task instead", "If another thread is waiting for a record"),
    (
        "Called by `progress=` or by the iterator of the inputs, it only stops the run, which waits for both",
        "Called by `progress=` or by the iterator of the inputs, it only stops the run, once they return",
    ),
)


def blocking_text(text: str | None) -> str | None:
    """Return a docstring of the async client for the blocking client."""
    if text is None:
        return None
    text = re.sub(r"\basync (with|for)\b", r"\1", text).replace("aclose()", "close()")
    text = re.sub(r"\bawait (?=[a-z_]+\.)", "", text)
    for one, other in _SENTENCES:
        text = _anywhere(one).sub(lambda found, other=other: _as_broken(found[0], other), text)  # type: ignore[misc]
    return text


def _anywhere(sentence: str) -> re.Pattern[str]:
    """Return a pattern that finds a sentence wherever its lines break."""
    return re.compile(r"\s+".join(re.escape(word) for word in sentence.split()))


def _as_broken(found: str, other: str) -> str:
    """Return the other text, broken into lines where the found one is, as far as possible."""
    indent = re.search(r"\n[ ]*", found)
    if indent is None:
        return other
    first = found.index("\n")
    head = other.rfind(" ", 0, max(first, 1) + 1)
    return other if head < 0 else f"{other[:head]}{indent[0]}{other[head + 1 :]}"
