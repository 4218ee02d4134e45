"""The check of what processes share an account with: Redis, the rate, and the number of processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from videoapi.cli.doctor.examination import Examination
from videoapi.cli.doctor.report import Check
from videoapi.cli.terminal import for_people
from videoapi.config import hidden
from videoapi.errors import ConfigurationError
from videoapi.pipeline.rate_limit import parse_rate

_NAMES: Final = ("VIDEOAPI_REDIS", "VIDEOAPI_PROCESSES", "VIDEOAPI_RATE")
_PATIENCE: Final = 2.0
_MOST_PROCESSES: Final = 10_000


async def sharing(examination: Examination) -> Check:
    """Check the form of the variables, and whether Redis answers."""
    rate, processes = (examination.environment.get(name) for name in ("VIDEOAPI_RATE", "VIDEOAPI_PROCESSES"))
    if not any(examination.environment.get(name) for name in _NAMES):
        text = "because neither VIDEOAPI_REDIS nor VIDEOAPI_RATE is set"
        return Check(name="sharing", status="skipped", text=text)
    problems = [*_rate_problems(rate), *_processes_problems(processes)]
    answer, trouble = await _redis(examination)
    problems += [trouble] if trouble else []
    if problems:
        remedy = (
            "Workers and --workers need these variables. Correct them, or start Redis; other commands do not use them."
        )
        return Check(name="sharing", status="warn", text="; ".join(problems), remedy=remedy)
    shown = [answer] if answer else []
    shown += [f"rate {rate}"] if rate else []
    shown += [f"{processes} processes"] if processes else []
    return Check(name="sharing", status="ok", text=", ".join(shown))


def _rate_problems(rate: str | None) -> Iterator[str]:
    try:
        if rate:
            parse_rate(rate)
    except ConfigurationError:
        yield "VIDEOAPI_RATE must be a rate such as 200/s"


def _processes_problems(processes: str | None) -> Iterator[str]:
    if processes and not (processes.isascii() and processes.isdecimal() and 1 <= int(processes[:9]) <= _MOST_PROCESSES):
        yield f"VIDEOAPI_PROCESSES must be a number from 1 to {_MOST_PROCESSES:,}"


async def _redis(examination: Examination) -> tuple[str, str]:
    """Return that Redis answers, or what is wrong; both are empty if no URL is set."""
    from videoapi.redis.connection import RedisConnections, RedisFailed

    url = hidden(examination.environment.get("VIDEOAPI_REDIS"))
    if not url:
        return "", ""
    limit = min(_PATIENCE, examination.patience)
    try:
        connections = RedisConnections(url, timeout=limit, purpose="VIDEOAPI_REDIS")
    except ConfigurationError as error:
        return "", for_people(error).rstrip(".")
    now = asyncio.get_running_loop().time
    began = now()
    try:
        # A command that users with ACL rules need in any case.
        await connections.run(lambda redis: redis.time())
    except RedisFailed as error:
        return "", f"Redis at {connections.where}: {str(error).rstrip('.')}"
    finally:
        await connections.aclose()
    return f"Redis at {connections.where} answers in {(now() - began) * 1000:.1f} ms", ""
