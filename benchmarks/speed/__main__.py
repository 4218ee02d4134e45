"""Measure, print the tables, and write them to `results/` with a description of the machine."""

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
    "blocking": "benchmarks.speed.blocking",
    "bulk": "benchmarks.speed.bulk",
    "decode": "benchmarks.speed.decode",
    "stream": "benchmarks.speed.stream",
    "arrow": "benchmarks.speed.arrow",
    "memory": "benchmarks.speed.memory",
    "imports": "benchmarks.speed.imports",
    "growth": "benchmarks.speed.growth",
}
"""The benchmarks, in this order; each module has `run(options)`, which returns one or more `Result`s."""
RESULTS: Final = Path(__file__).with_name("results")


def main() -> None:
    arguments = _arguments()
    rounds = arguments.rounds or (4 if arguments.quick else Options().rounds)
    seconds = arguments.seconds or (0.1 if arguments.quick else Options().seconds)
    options = Options(
        rounds=rounds,
        seconds=seconds,
        quick=arguments.quick,
        full=arguments.full,
        peers=not arguments.without_peers,
        match=arguments.match,
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    described = json.dumps(machine.describe(), indent=1, ensure_ascii=False)
    (arguments.out / "machine.json").write_text(described + "\n", encoding="utf-8")
    for name in arguments.only:
        returned = importlib.import_module(MODULES[name]).run(options)
        for result in [returned] if isinstance(returned, Result) else returned:
            print(f"\n{report.text(result)}", flush=True)
            report.write(result, arguments.out)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", type=_names, default=list(MODULES), help=f"from {','.join(MODULES)}")
    parser.add_argument("--rounds", type=int, help="number of interleaved rounds")
    parser.add_argument("--seconds", type=float, help="duration of a variant per round")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="fewer and shorter rounds: about two minutes")
    size.add_argument("--full", action="store_true", help="include the longest benchmarks")
    parser.add_argument("--without-peers", action="store_true", help="skip other vendors' clients")
    parser.add_argument("--match", default="", help="run only settings that contain this text")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder to write to")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in MODULES:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(MODULES)}")
    return names


if __name__ == "__main__":
    main()
