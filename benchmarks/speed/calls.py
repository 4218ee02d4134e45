"""One create, compared with a handwritten loop and other vendors' clients."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Final

from benchmarks.speed import race
from benchmarks.speed.loopback import Server, serving
from benchmarks.speed.measure import Options, Result, Row, divided

BARE: Final = "bare aiohttp loop"
BARE_WITH_HEADER: Final = "bare, one header added"
NAIVE: Final = "naive aiohttp loop"
OURS: Final = "videoapi"
WITH_HEADER: Final = "videoapi, one header added"
READY_TOKEN: Final = "livekit-api, ready-made token"
_HERE: Final = "benchmarks.speed."
LOOPS: Final = {
    BARE: _HERE + "clients:bare",
    "bare again (control)": _HERE + "clients:bare",
    BARE_WITH_HEADER: _HERE + "clients:bare_with_header",
    NAIVE: _HERE + "clients:naive",
    "naive, auth= per request": _HERE + "clients:naive_auth",
    OURS: _HERE + "clients:ours",
    "videoapi, settings made once": _HERE + "clients:ours_reusing",
    WITH_HEADER: _HERE + "clients:ours_with_header",
}
PEERS: Final = {
    READY_TOKEN: _HERE + "peers:livekit_token",
    "livekit-api": _HERE + "peers:livekit",
    "twilio": _HERE + "peers:twilio",
    "stripe (aiohttp)": _HERE + "peers:stripe",
    "openai (aiohttp)": _HERE + "peers:openai_aiohttp",
    "openai": _HERE + "peers:openai",
    "httpx2": _HERE + "peers:httpx2",
}
LIMITS: Final = {OURS: 1.0, "videoapi, settings made once": 1.0, WITH_HEADER: 1.0}


def run(options: Options) -> Result:
    """Measure a single create in every setting."""
    rows: list[Row] = []
    notes: list[str] = []
    with serving() as server:
        for scheme in server.ports:
            for loop in ("asyncio", "uvloop"):
                rows += _raced(options, server, scheme, loop, notes)
        notes.append(_capacity(server))
    return Result(
        slug="single-create",
        title="One create: processor time a call",
        reference="a bare, pre-tuned aiohttp loop in the same setting",
        rows=rows,
        notes=notes,
    )


def _raced(options: Options, server: Server, scheme: str, loop: str, notes: list[str]) -> list[Row]:
    rows: list[Row] = []
    names = {at_once: f"{at_once} at a time, {loop}, {'TLS' if scheme == 'https' else 'plain'}" for at_once in (64, 1)}
    selected = {at_once: name for at_once, name in names.items() if options.match in name}
    if not selected:
        return rows
    with race.workers(_variants(options, scheme), server, scheme, loop, notes) as running:
        for at_once, setting in selected.items() if running else ():
            print(f"one create, {setting}", flush=True)
            participants = {name: one for name, one in running.items() if at_once == 64 or _also_alone(name, options)}
            lanes = _race(participants, server, at_once, options)
            rows += judged(lanes, setting)
            notes.append(f"{setting}: {_load(running[BARE], server, at_once)}")
    return rows


def _race(running: Mapping[str, race.Worker], server: Server, at_once: int, options: Options) -> dict[str, race.Lane]:
    for one in running.values():
        one.warm_up(at_once)
    return race.race(running, BARE, server, options.rounds, lambda one: one.run_for(options.seconds, at_once))


def _variants(options: Options, scheme: str) -> dict[str, str]:
    return LOOPS | PEERS if options.peers and scheme == "http" else LOOPS


def _also_alone(name: str, options: Options) -> bool:
    return name in LOOPS or not options.quick


def judged(lanes: Mapping[str, race.Lane], setting: str) -> Iterator[Row]:
    """Yield a row per variant, and one per further comparison that has a limit."""
    for name, lane in lanes.items():
        yield Row(name, setting, "µs CPU/call", _micro(lane.cpu), lane.cpu_ratios, LIMITS.get(name))
    comparisons = (
        (OURS, NAIVE, 0.8),
        (OURS, _best_peer(lanes), 0.5),
        (OURS, READY_TOKEN, 1.0),
        (WITH_HEADER, BARE_WITH_HEADER, 1.0),
    )
    for name, other, limit in comparisons:
        if {name, other} <= lanes.keys():
            ratios = divided(lanes[name].cpu_ratios, lanes[other].cpu_ratios)
            yield Row(name, setting, "µs CPU/call", _micro(lanes[name].cpu), ratios, limit, against=other)


def _best_peer(lanes: Mapping[str, race.Lane]) -> str:
    """Return the name of the fastest other client in its usual setup, which includes signing a token."""
    rivals = [name for name in PEERS if name in lanes and name != READY_TOKEN]
    return min(rivals, key=lambda name: statistics.median(lanes[name].cpu_ratios), default="")


def _micro(seconds: list[float]) -> list[float]:
    return [value * 1e6 for value in seconds]


def _load(bare: race.Worker, server: Server, at_once: int) -> str:
    """Return a note on the server's load under the bare loop."""
    calls = 3_000
    used = server.seconds()
    took = bare.run(calls, at_once, 0).wall * calls
    share = (server.seconds() - used) / took
    return f"the bare loop makes {calls / took:,.0f} calls/s, and the server's core is busy {share:.0%} of that time."


def _capacity(server: Server) -> str:
    """Return a note on the server's capacity, measured with a minimal client."""
    calls = 30_000
    with race.worker(_HERE + "capacity:raw", server, "http", "uvloop" if find_spec("uvloop") else "asyncio") as raw:
        used = server.seconds()
        rate = 1 / raw.run(calls, 64, 0).wall
        used = server.seconds() - used
    return (
        f"The server takes {rate:,.0f} creates/s from a client written on `asyncio.Protocol` alone (64 connections, "
        f"plain), and uses {used / calls * 1e6:.0f} µs of its core for each."
    )
