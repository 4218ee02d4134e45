"""Measures, prints the tables, and writes them to `results/` with the machine's description."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Final

from benchmarks.speed import machine, report
from benchmarks.speed.measure import Options, Result

MODULES: Final = {
    "calls": "benchmarks.speed.calls",
    "bulk": "benchmarks.speed.bulk",
    "decode": "benchmarks.speed.decode",
    "stream": "benchmarks.speed.stream",
    "memory": "benchmarks.speed.memory",
    "imports": "benchmarks.speed.imports",
    "growth": "benchmarks.speed.growth",
}
"""What can be measured, in this order; each module has `run(options)`, which returns one `Result` or several."""
RESULTS: Final = Path(__file__).with_name("results")


def main() -> None:
    told = _arguments()
    rounds = told.rounds or (4 if told.quick else Options().rounds)
    seconds = told.seconds or (0.1 if told.quick else Options().seconds)
    options = Options(
        rounds=rounds,
        seconds=seconds,
        quick=told.quick,
        full=told.full,
        peers=not told.without_peers,
        match=told.match,
    )
    told.out.mkdir(parents=True, exist_ok=True)
    described = json.dumps(machine.describe(), indent=1, ensure_ascii=False)
    (told.out / "machine.json").write_text(described + "\n", encoding="utf-8")
    for name in told.only:
        given = importlib.import_module(MODULES[name]).run(options)
        for result in [given] if isinstance(given, Result) else given:
            print(f"\n{report.text(result)}", flush=True)
            report.write(result, told.out)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", type=_names, default=list(MODULES), help=f"of {','.join(MODULES)}")
    parser.add_argument("--rounds", type=int, help="interleaved rounds")
    parser.add_argument("--seconds", type=float, help="how long a variant runs in a round")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="fewer and shorter rounds: about two minutes")
    size.add_argument("--full", action="store_true", help="also what takes very long")
    parser.add_argument("--without-peers", action="store_true", help="leave out the clients of others")
    parser.add_argument("--match", default="", help="only settings whose words hold this text")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder to write to")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in MODULES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(MODULES)}")
    return names


if __name__ == "__main__":
    main()
