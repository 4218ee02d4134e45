"""Blocking file operations in a thread that never outlives a cancelled task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from videoapi.errors import DownloadFailed

P = ParamSpec("P")
T = TypeVar("T")


async def run_blocking(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread, and wait for it to end even if cancelled.

    The caller closes the file descriptors afterwards; a thread still running would then write to
    whatever file reuses the number.

    Raises:
        DownloadFailed: If a file operation fails; `reason` is `disk`.
    """
    job = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not job.done():
        try:
            await asyncio.wait([job])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not job.cancelled():
            job.exception()
        raise cancelled
    try:
        return job.result()
    except OSError as error:
        where = f" ({error.filename})" if error.filename is not None else ""
        failure = DownloadFailed(f"The disk refused: {error.strerror or type(error).__name__}{where}.", reason="disk")
    raise failure
