"""Running a command's coroutine to its exit code, with SIGINT, SIGTERM and SIGHUP handled."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, NoReturn

from videoapi.cli import exit_codes
from videoapi.cli.notices import notices
from videoapi.cli.terminal import for_people, print_status
from videoapi.errors import VideoAPIError

STOPPING: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What stops a command in order: Ctrl-C, the end of a service, and the end of its terminal."""


def run(work: Coroutine[Any, Any, int], *, interrupted: str = "Interrupted.") -> NoReturn:
    """Run a command, and exit with its exit code.

    SIGINT, SIGTERM and SIGHUP cancel it: the first signal stops sending and waits for requests in flight, the
    second one abandons those too.

    Args:
        work: The command.
        interrupted: What to print if a signal has ended it; empty if the command itself says so.

    Raises:
        SystemExit: Always.
        BrokenPipeError: If the reader of a listing has left.
    """
    sys.exit(asyncio.run(_guarded(work, interrupted)))


async def _guarded(work: Coroutine[Any, Any, int], interrupted: str) -> int:
    caught: list[int] = []
    task = asyncio.ensure_future(work)

    def stop(number: int) -> None:
        caught.append(number)
        task.cancel()

    with _signals(stop), notices():
        try:
            return await task
        except asyncio.CancelledError:
            if not caught:
                raise
            print_status(interrupted, quiet=not interrupted)
            return 128 + caught[0]
        except VideoAPIError as error:
            print_status(for_people(error))
            return exit_codes.of_error(error)
        except BrokenPipeError:
            raise
        except OSError as error:
            if caught and error.errno == errno.EIO:
                # The progress cannot be shown: the terminal is gone.
                return 128 + caught[0]
            print_status(f"{error.strerror or type(error).__name__}: {error.filename or ''}".rstrip(": "))
            return exit_codes.FAILED


@contextlib.contextmanager
def _signals(stop: Callable[[int], object]) -> Generator[None, None, None]:
    loop = asyncio.get_running_loop()
    # A command under `nohup` outlives its terminal.
    numbers = [number for number in STOPPING if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]
    handled = []
    for number in numbers:
        # Only the main thread may handle signals; in other threads the code that started them stops the command. Some
        # event loops, such as those of Windows, can neither add nor remove a handler.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop, number)
            handled.append(number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
