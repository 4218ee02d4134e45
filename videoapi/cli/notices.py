"""What the library logs while a command runs, as messages of the command: warnings, and waits of a second or more."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from videoapi.cli.terminal import for_people, print_status
from videoapi.events import log

FOR_PROGRAMS: Final = frozenset({"_extension", "_adopt"})
"""The functions whose warnings an operator can do nothing about: a blocked event loop, a pause in another process."""
# The error of the call says `log_unknown`, too.
_NOT_SHOWN: Final = FOR_PROGRAMS | {"log_unknown"}
_SHORTEST_WAIT: Final = 1.0


class NoticeHandler(logging.Handler):
    """A handler that prints on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.funcName in _NOT_SHOWN:
            return
        if _waits(record) or (record.levelno >= logging.WARNING and record.funcName != "paused"):
            print_status(for_people(record.getMessage()))


def _waits(record: logging.LogRecord) -> bool:
    """Return whether a record announces a wait of a second or more: its only fractional number has the seconds."""
    facts = record.args if isinstance(record.args, tuple) else ()
    # The pause of the account has a message of its own.
    repeated = record.funcName == "retrying" and "HTTP 429" in record.getMessage()
    announces = record.funcName == "paused" or (record.levelno == logging.INFO and not repeated)
    return announces and any(isinstance(fact, float) and fact >= _SHORTEST_WAIT for fact in facts)


@contextmanager
def notices() -> Generator[None, None, None]:
    """Print what the library logs in the block."""
    with handled_by(NoticeHandler()):
        yield


@contextmanager
def handled_by(handler: logging.Handler) -> Generator[None, None, None]:
    """Give what the library logs in the block to one handler, and not to that of a block around it."""
    outer = [other for other in log.handlers if isinstance(other, NoticeHandler)]
    level = log.level
    for other in outer:
        log.removeHandler(other)
    log.addHandler(handler)
    log.setLevel(min(log.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
        for other in outer:
            log.addHandler(other)
