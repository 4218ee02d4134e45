"""Measure, print two tables, and write them to `results/`."""

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
    parser.add_argument("--creates", type=int, default=500, help="creates per run")
    parser.add_argument("--seed", type=int, default=1, help="seed of the faults")
    parser.add_argument("--peers-python", default=sys.executable, help="interpreter with the other clients installed")
    parser.add_argument("--only", choices=("policies", "peers"), help="measure only these")
    args = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    if args.only != "peers":
        rows = asyncio.run(policies.measure(args.seed, args.creates))
        text = (
            f"{args.creates} creates, {policies.CONCURRENCY} in flight, faults for 40 % of them, seed {args.seed}.\n"
            "Each cell: duplicates / rooms without an outcome / lost / executed creates reported as failed. Late "
            "execution and the lag of the list are in seconds.\n\n" + policies.table(rows)
        )
        _write("policies", text, {"seed": args.seed, "rows": [attrs.asdict(row) for row in rows]})
    if args.only != "policies":
        cells = asyncio.run(peers.measure(args.peers_python))
        installed = peers.versions(args.peers_python)
        text = (
            "One create to a server that executes it and then fails; each client's own defaults, a timeout of "
            f"{peers.TIMEOUT:g} s.\nEach cell: how often it was executed, and what the caller gets.\n\n"
            + peers.table(cells)
            + "\n\n"
            + ", ".join(f"{name} {version}" for name, version in installed.items())
            + "."
        )
        _write("peers", text, {"versions": installed, "cells": [attrs.asdict(cell) for cell in cells]})


def _write(name: str, text: str, data: object) -> None:
    print(text, end="\n\n")
    (RESULTS / f"{name}.md").write_text(text + "\n")
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
