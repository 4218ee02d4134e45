"""Blocking work on files, in a thread, that a cancelled task does not leave running behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from videoapi.errors import DownloadFailed

P = ParamSpec("P")
T = TypeVar("T")


async def run_blocking(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread, and wait for its end even when cancelled.

    The thread uses file descriptors that the caller closes next; were it still running then, it
    would write into whatever file gets the same number.

    Raises:
        DownloadFailed: The disk refused; `reason` is `disk`.
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
        trouble = DownloadFailed(f"The disk refused: {error.strerror or type(error).__name__}{where}.", reason="disk")
    raise trouble
