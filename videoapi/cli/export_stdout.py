"""An export to stdout: written once, in order, and not continued."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from videoapi.cli import exit_codes
from videoapi.cli.export import LineFormat
from videoapi.cli.listing import code_of_failed, tell_unshown
from videoapi.cli.progress import display
from videoapi.cli.streams import is_terminal
from videoapi.cli.terminal import counted, for_people, print_status
from videoapi.errors import VideoAPIError
from videoapi.streaming import RecordStream


async def export_to_stdout(stream: RecordStream[Any], lines: LineFormat, *, strict: bool, quiet: bool) -> int:
    """Write all records of a stream to stdout, and return the exit code.

    Raises:
        BrokenPipeError: If the reader of stdout has left.
        OSError: If stdout is closed, or cannot be written.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "stdout")
    out = sys.stdout.buffer
    written = 0
    try:
        # A bar on the terminal would be drawn between the records.
        with display("records", quiet=quiet or is_terminal(sys.stdout)) as show:
            out.write(lines.header)
            async with stream as records:
                async for record in records:
                    out.write(lines.line_of(record))
                    written += 1
                    show(written)
    except VideoAPIError as error:
        out.flush()
        print_status(for_people(error))
        if written:
            print_status(
                f"{counted(written, 'record was', 'records were')} written. To write those after them: "
                f"--cursor {stream.cursor}"
            )
        return code_of_failed(stream, error, strict=strict)
    out.flush()
    return exit_codes.REJECTED if tell_unshown(stream) else exit_codes.DONE
