"""The standard streams: characters that they cannot encode, and a reader that has left."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterable
from typing import TextIO


def replace_unencodable() -> None:
    """Let both output streams write a replacement for each character that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def abandon(streams: Iterable[TextIO | None]) -> None:
    """Discard what is written to streams from now on, and what they still buffer, as nothing reads it any more."""
    for stream in streams:
        try:
            descriptor = None if stream is None else stream.fileno()
        except (OSError, ValueError):
            # Not a file of the system, such as the stream of a test.
            continue
        if descriptor is not None:
            # Without it, the interpreter fails once again when it flushes the stream at its exit.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)


def write_or_abandon(text: str, stream: TextIO | None) -> None:
    """Write a line that may go unread: if the reader has left, it is discarded.

    Raises:
        OSError: If the line cannot be written for another reason, such as a full disk.
    """
    with contextlib.suppress(BrokenPipeError):
        write(text, stream)


def tell(text: str) -> None:
    """Write a message to stderr if that is possible. What the command does never depends on it."""
    # sys.stderr is looked up each time, because the progress bar replaces it.
    with contextlib.suppress(OSError):
        write(text, sys.stderr)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal; one that was closed before the command started is not."""
    return stream is not None and stream.isatty()


def write(text: str, stream: TextIO | None) -> None:
    """Write a line at once; nowhere if the stream was closed before the command started.

    Raises:
        BrokenPipeError: If the reader of the stream has left.
        OSError: If the line cannot be written for another reason; it names the stream.
    """
    if stream is None:
        return
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except OSError as error:
        abandon([stream])
        raise OSError(error.errno, error.strerror, "stderr" if stream is sys.stderr else "stdout") from None
