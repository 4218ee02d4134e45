"""Measures, prints two tables, and writes them to `results/`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

import attrs

from benchmarks.create import peers, policies

RESULTS = Path(__file__).with_name("results")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-create", description=__doc__)
    parser.add_argument("--creates", type=int, default=500, help="creates a run")
    parser.add_argument("--seed", type=int, default=1, help="of the faults")
    parser.add_argument("--peers-python", default=sys.executable, help="the interpreter that has the others' clients")
    parser.add_argument("--only", choices=("policies", "peers"), help="measure only these")
    told = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    if told.only != "peers":
        rows = asyncio.run(policies.measure(told.seed, told.creates))
        text = (
            f"{told.creates} creates, {policies.CONCURRENCY} in flight, trouble for 40 % of them, seed {told.seed}.\n"
            "Each cell: duplicates / rooms that nobody knows of / lost / failures that were none. Seconds for late "
            "execution and lag of the list.\n\n" + policies.table(rows)
        )
        _write("policies", text, {"seed": told.seed, "rows": [attrs.asdict(row) for row in rows]})
    if told.only != "policies":
        cells = asyncio.run(peers.measure(told.peers_python))
        found = peers.versions(told.peers_python)
        text = (
            "One create to a server that executes it and then fails; each client's own defaults, a time-out of "
            f"{peers.TIMEOUT:g} s.\nEach cell: how often it was executed, and what the caller gets.\n\n"
            + peers.table(cells)
            + "\n\n"
            + ", ".join(f"{name} {version}" for name, version in found.items())
            + "."
        )
        _write("peers", text, {"versions": found, "cells": [attrs.asdict(cell) for cell in cells]})


def _write(name: str, text: str, data: object) -> None:
    print(text, end="\n\n")
    (RESULTS / f"{name}.md").write_text(text + "\n")
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
