"""The benchmarks' arithmetic, server and processes; these tests measure no speed."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.server import Link, serve

from benchmarks.speed import bodies, clients, imports, race, report
from benchmarks.speed.calls import BARE, BARE_WITH_HEADER, NAIVE, OURS, READY_TOKEN, WITH_HEADER, judged
from benchmarks.speed.loopback import Server, serving
from benchmarks.speed.measure import Result, Row, against_neighbours, divided, quartiles
from benchmarks.speed.race import Lane, Slice
from benchmarks.speed.worker import Target

# Long, and not about the interpreter.
pytestmark = pytest.mark.slow


def lane(*ratios: float) -> Lane:
    return Lane([1e-4] * len(ratios), [1e-4] * len(ratios), list(ratios), list(ratios))


def test_quartiles_include_the_extremes() -> None:
    assert quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == (2.0, 3.0, 4.0)
    assert quartiles([7.0]) == (7.0, 7.0, 7.0)


def test_ratio_is_against_the_mean_of_the_neighboring_references() -> None:
    assert against_neighbours([3.0, 10.0], [1.0, 2.0, 8.0]) == [2.0, 2.0]


def test_variants_are_compared_round_by_round() -> None:
    assert divided([0.9, 1.2], [1.8, 0.6]) == [0.5, 2.0]


def test_round_is_recorded_by_variant_name() -> None:
    lanes = {name: Lane() for name in ("bare", "one", "two")}
    references = [Slice(1.0, 2.0), Slice(3.0, 2.0), Slice(1.0, 2.0)]
    race.note(lanes, "bare", ["two", "one"], references, [Slice(4.0, 8.0), Slice(1.0, 1.0)])
    assert lanes["two"].cpu_ratios == [2.0]
    assert lanes["two"].wall_ratios == [4.0]
    assert lanes["one"].cpu_ratios == [0.5]
    assert lanes["bare"].cpu == [5 / 3]
    assert lanes["bare"].cpu_ratios == []


@pytest.mark.parametrize(
    ("ratios", "limit", "higher", "kept"),
    [
        ([0.9, 1.0, 1.3], 1.0, False, True),
        ([0.9, 1.01, 1.3], 1.0, False, False),
        ([0.9, 0.96, 1.3], 0.95, True, True),
        ([0.9, 0.94, 1.3], 0.95, True, False),
        ([0.9], None, False, None),
    ],
)
def test_limit_applies_to_the_median_ratio(ratios: list[float], limit: float, higher: bool, kept: bool | None) -> None:
    assert Row("a", "b", "s", [1.0], ratios, limit, higher).kept is kept


def test_limit_applies_to_the_values_without_ratios() -> None:
    assert Row("memory", "1 GB", "MiB", [7.0, 9.0, 7.5], limit=8.0).kept is True
    assert Row("memory", "1 GB", "MiB", [7.0, 9.0, 8.5], limit=8.0).kept is False


def test_table_marks_limits_that_are_not_kept() -> None:
    good, bad = report.table([Row("a", "s", "u", [1.0], [0.9], 1.0), Row("b", "s", "u", [1.0], [1.1], 1.0)]).split(
        "\n"
    )[-2:]
    assert good.endswith("| ≤ 1.00 | yes |")
    assert bad.endswith("| ≤ 1.00 | **no** |")


def test_result_is_written_with_every_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    # As if matplotlib were not installed.
    monkeypatch.setitem(sys.modules, "benchmarks.speed.plots", None)
    row = Row("a", "s", "µs", [1.0, 2.0, 3.0], [0.5, 0.6, 0.7])
    report.write(Result("slug", "Title", "a loop", [row], ["A note."]), tmp_path)
    written = json.loads((tmp_path / "slug.json").read_text(encoding="utf-8"))
    assert written["rows"][0]["values"] == [1.0, 2.0, 3.0]
    assert written["rows"][0]["ratios"] == [0.5, 0.6, 0.7]
    assert "0.60 [0.55–0.65]" in (tmp_path / "slug.md").read_text(encoding="utf-8")
    assert not (tmp_path / "slug.svg").exists()


def test_client_is_compared_with_the_fastest_default_peer() -> None:
    lanes = {
        BARE: Lane([1e-4] * 3, [1e-4] * 3),
        NAIVE: lane(1.2, 1.2, 1.2),
        OURS: lane(0.9, 0.9, 0.9),
        READY_TOKEN: lane(1.0, 1.0, 1.0),
        "twilio": lane(1.8, 1.8, 1.8),
        "stripe (aiohttp)": lane(3.0, 3.0, 3.0),
    }
    compared = {row.against: row for row in judged(lanes, "a setting") if row.against}
    assert set(compared) == {NAIVE, READY_TOKEN, "twilio"}
    assert compared["twilio"].ratios == [0.5, 0.5, 0.5]
    assert compared[NAIVE].limit == 0.8


def test_client_that_adds_a_header_is_compared_with_a_loop_that_adds_it_too() -> None:
    lanes = {
        BARE: Lane([1e-4] * 2, [1e-4] * 2),
        OURS: lane(0.8, 0.8),
        WITH_HEADER: lane(0.9, 0.9),
        BARE_WITH_HEADER: lane(1.2, 1.2),
    }
    rows = [row for row in judged(lanes, "a setting") if row.name == WITH_HEADER]
    assert [(row.against, row.ratios) for row in rows] == [("", [0.9, 0.9]), (BARE_WITH_HEADER, [0.75, 0.75])]


def test_import_times_exclude_interpreter_startup() -> None:
    took = {"nothing": [0.5], "import aiohttp": [2.5], "import videoapi": [1.0]}
    aiohttp, ours = imports.rows(took)
    assert aiohttp.values == [2000.0]
    assert aiohttp.ratios == []
    assert ours.ratios == [0.25]
    assert ours.kept is False


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def request(server: Server, method: str, path: str, body: object = None, *, scheme: str = "http") -> Any:
    if scheme == "https":
        context = ssl.create_default_context(cafile=server.ca_file)
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            "127.0.0.1", server.ports["https"], context=context, timeout=10
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", server.ports["http"], timeout=10)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_server_echoes_the_reference(server: Server, scheme: str) -> None:
    made = request(server, "POST", "/video/v2/rooms", bodies.room(7), scheme=scheme)
    assert made["result"] == 0
    assert made["room"]["owner_ref"] == bodies.room(7)["owner_ref"]
    assert bodies.settings().items() <= made["room"]["settings"].items()


def test_server_lists_created_rooms_until_it_forgets(server: Server) -> None:
    server.forget()
    made = [request(server, "POST", "/video/v2/rooms", bodies.room(number))["room"] for number in range(130)]
    assert request(server, "GET", "/video/v2/rooms") == {"result": 0, "rooms": made}
    server.forget()
    assert request(server, "GET", "/video/v2/rooms") == {"result": 0, "rooms": []}


def test_server_reports_its_processor_time(server: Server) -> None:
    assert server.seconds() > 0


@pytest.mark.parametrize("variant", [clients.naive_auth, clients.ours, clients.ours_reusing])
async def test_all_variants_send_the_same_values(variant: Any) -> None:
    sent: list[Any] = []

    async def script(link: Link) -> None:
        seen = await link.request()
        sent.append((seen.json, len(seen.body)))
        start, middle, end = bodies.made_room()
        reference = seen.json["owner_ref"].encode()
        link.answer(200, json.loads(b'{"result":0,"room":' + start + reference + middle + b"0" * 24 + end + b"}"))
        await link.drain()

    async with serve(script) as fake:
        for client in (clients.naive, variant):
            async with client(Target(fake.origin)) as run:
                await run(1, 1)
    (one, length), (other, _) = sent
    reference = one.pop("owner_ref")
    assert len(reference) == len(other.pop("owner_ref"))
    assert one == other
    assert 950 < length < 1150


def test_variants_run_in_turn_in_separate_processes(server: Server) -> None:
    variants = {
        "naive": "benchmarks.speed.clients:naive",
        "ours": "benchmarks.speed.clients:ours",
        "created": "benchmarks.speed.batches:created",
    }
    notes: list[str] = []
    with race.workers(variants, server, "https", "asyncio", notes) as running:
        lanes = race.race(running, "naive", server, 2, lambda one: one.run(32, 4, 4))
    assert notes == []
    assert len(lanes["naive"].cpu) == 2
    for name in ("ours", "created"):
        assert len(lanes[name].cpu_ratios) == len(lanes[name].wall_ratios) == 2
        assert min(lanes[name].cpu_ratios) > 0


def test_missing_variants_are_noted_and_skipped(server: Server) -> None:
    variants = {"naive": "benchmarks.speed.clients:naive", "other": "benchmarks.speed.no_such_module:call"}
    notes: list[str] = []
    with race.workers(variants, server, "http", "asyncio", notes) as running:
        assert list(running) == ["naive"]
    assert notes == ["other did not take part on asyncio: No module named 'benchmarks.speed.no_such_module'."]
