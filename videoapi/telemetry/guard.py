"""Keeps errors of OpenTelemetry, its SDK and its exporters away from calls."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Final, ParamSpec

log: Final = logging.getLogger("videoapi")
P = ParamSpec("P")
_reported: Final[set[tuple[str, str]]] = set()


def harmless(function: Callable[P, None]) -> Callable[P, None]:
    """Decorate what reports to OpenTelemetry: an error is logged, once per place and class, and goes no further."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except (Exception, asyncio.CancelledError) as error:
            # Nothing here awaits, so a cancellation is its own error. Only its class: the text may hold anything.
            place = (function.__qualname__, type(error).__name__)
            if place not in _reported:
                _reported.add(place)
                log.error("OpenTelemetry raised %s; spans or metrics are missing.", type(error).__name__)

    return guarded
