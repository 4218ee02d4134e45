"""A listing: the records of a stream on stdout as they arrive, as a table or as JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from videoapi.cli import exit_codes
from videoapi.cli.redaction import shown_fields
from videoapi.cli.tables import TableWriter
from videoapi.cli.terminal import counted, for_people, print_json_line, print_status
from videoapi.errors import ProtocolError, VideoAPIError
from videoapi.models.base import Model
from videoapi.streaming import RecordStream

R = TypeVar("R", bound=Model)


async def print_listing(
    stream: RecordStream[R],
    header: Sequence[str],
    row_of: Callable[[R], Sequence[object]],
    *,
    as_json: bool,
    show_secrets: bool,
    what: str = "records",
) -> int:
    """Print all records of a stream, and return the exit code.

    Args:
        stream: The records.
        header: The names of the columns.
        row_of: Returns the cells of a record.
        as_json: Whether to print each record as a line of JSON instead of a table.
        show_secrets: Whether JSON has the secrets of the records.
        what: What the records are.

    Raises:
        BrokenPipeError: If the reader of stdout has left.
        VideoAPIError: If the stream fails. What it has yielded is printed.
    """
    async with stream as records:
        if as_json:
            async for record in records:
                print_json_line(shown_fields(record, show_secrets=show_secrets))
        else:
            with TableWriter(*header) as table:
                async for record in records:
                    table.add(*row_of(record))
            if not stream.received:
                print_status(f"No {what}.")
    return exit_codes.REJECTED if tell_unshown(stream) else exit_codes.DONE


def end_failed(stream: RecordStream[Any], error: VideoAPIError, *, strict: bool, what: str = "records") -> int:
    """Print why a listing ended early and, if it has rows, how to list the rest; return its exit code.

    Args:
        stream: The records.
        error: What ended it.
        strict: Whether a record that cannot be read ends it.
        what: What the records are.
    """
    print_status(for_people(error))
    counts = stream.counts()
    if counts.received > counts.rejected:
        print_status(f"To list only the {what} after these, repeat the command with --cursor {stream.cursor}")
    return code_of_failed(stream, error, strict=strict)


def code_of_failed(stream: RecordStream[Any], error: VideoAPIError, *, strict: bool) -> int:
    """Return the exit code of a stream that an error has ended; a record that cannot be read ends a strict one."""
    if strict and stream.rejected_count and isinstance(error, ProtocolError):
        return exit_codes.REJECTED
    return exit_codes.of_error(error)


def tell_unshown(stream: RecordStream[Any]) -> bool:
    """Print how a stream that went to stdout differs from the records of the service; return whether it does."""
    rejected, restarted = stream.rejected_count, len(stream.restarted_windows)
    if rejected:
        print_status(f"Records that could not be read and were left out: {rejected:,}.")
    if restarted:
        print_status(
            f"Records changed while they were read, so {counted(restarted, 'week is', 'weeks are')} listed twice. "
            "In an export to a file, each record appears once."
        )
    return bool(rejected or restarted)
