"""The time of `import videoapi`, and of a first client, in new interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from benchmarks.speed.children import ROOT
from benchmarks.speed.measure import Options, Result, Row

_LEAST: Final = 15
NOTHING: Final = "nothing"
AIOHTTP: Final = "import aiohttp"
STATEMENTS: Final = {
    NOTHING: "pass",
    AIOHTTP: "import aiohttp",
    "import videoapi": "import videoapi",
    "import videoapi, and a client": "import videoapi; videoapi.VideoClient('0' * 24, 'k' * 36)",
}
PEERS: Final = {
    "import twilio.rest": "import twilio.rest",
    "import stripe": "import stripe",
    "import livekit.api": "import livekit.api",
    "import openai": "import openai",
}
LIMITS: Final = {"import videoapi": 0.1, "import videoapi, and a client": 1.15}


def run(options: Options) -> Result:
    """Run each statement in a new interpreter, in turn, once per round (at least 15 rounds)."""
    statements = STATEMENTS | (PEERS if options.peers and not options.quick else {})
    # The first run compiles the modules; skip what cannot be imported.
    statements = {name: code for name, code in statements.items() if _seconds(code) is not None}
    print(f"imports: {', '.join(statements)}", flush=True)
    times: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(max(options.rounds, _LEAST)):
        for name, code in statements.items():
            times[name].append(_seconds(code) or 0.0)
    return Result(
        slug="import-time",
        title="Import time",
        reference="`import aiohttp` in the same round",
        rows=rows(times),
        notes=["Processor time of a fresh interpreter, less that of one which runs nothing."],
    )


def rows(times: dict[str, list[float]]) -> list[Row]:
    """Return the rows of import times, less the interpreter startup of the same round."""
    net = {
        name: [one - start for one, start in zip(seconds, times[NOTHING], strict=True)]
        for name, seconds in times.items()
        if name != NOTHING
    }
    return [
        Row(
            name,
            "fresh interpreter, net of its start",
            "ms CPU",
            [value * 1e3 for value in seconds],
            [] if name == AIOHTTP else [one / base for one, base in zip(seconds, net[AIOHTTP], strict=True)],
            LIMITS.get(name),
        )
        for name, seconds in net.items()
    ]


def _seconds(code: str) -> float | None:
    """Return the processor time of an interpreter that runs some code, in seconds; None if the code fails."""
    # Without bytecode files, our modules would be compiled in each round, but not the installed ones.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return None if process.returncode else usage.ru_utime + usage.ru_stime
