"""The values and attributes of metrics."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from support.clients import client_for
from support.server import OTHER_ID, ROOM_ID, Link, answer, repeating, room, serve
from telemetry.conftest import Recording

from videoapi import NotFound, SessionManager, VideoClient
from videoapi.sandbox import Sandbox

ALLOWED = {
    "error.type",
    "http.request.method",
    "http.response.status_code",
    "network.protocol.version",
    "server.address",
    "server.port",
    "url.template",
    "videoapi.operation",
    "videoapi.verdict",
}
METRICS = (
    "http.client.request.duration",
    "videoapi.attempts",
    "videoapi.calls.in_flight",
    "videoapi.operation.duration",
    "videoapi.permit.wait",
    "videoapi.retry_budget.left",
    "videoapi.settle.wait",
    "videoapi.unknown_outcomes",
)


async def test_attempts_and_operations_are_counted_by_what_they_prove(recording: Recording) -> None:
    answers = [answer(503), answer(200, room()), answer(404, {"result": 40001}), answer(200, room())]

    async def recovering(link: Link) -> None:
        while True:
            await link.request()
            link.send(answers.pop(0))

    async with serve(recovering) as server, client_for(server.base_url, telemetry=recording.telemetry) as client:
        await client.rooms.get(ROOM_ID)
        with suppress(NotFound):
            await client.rooms.get(ROOM_ID)
        await client.rooms.create(name="Stand-up")
        attempts = {
            (facts["videoapi.operation"], facts["videoapi.verdict"]): point.value
            for facts, point in recording.points("videoapi.attempts")
        }
        operations = {
            (facts["videoapi.operation"], facts["videoapi.verdict"], facts.get("error.type")): point.count
            for facts, point in recording.points("videoapi.operation.duration")
        }
        requests = {
            (facts["http.request.method"], facts["http.response.status_code"], facts.get("error.type")): point.count
            for facts, point in recording.points("http.client.request.duration")
        }
    assert attempts == {
        ("rooms.get", "unknown"): 1,
        ("rooms.get", "done"): 1,
        ("rooms.get", "rejected"): 1,
        ("rooms.create", "done"): 1,
    }
    assert operations == {
        ("rooms.get", "done", None): 1,
        ("rooms.get", "rejected", "NotFound"): 1,
        ("rooms.create", "done", None): 1,
    }
    assert requests == {
        ("GET", 503, "503"): 1,
        ("GET", 200, None): 1,
        ("GET", 404, "404"): 1,
        ("POST", 200, None): 1,
    }


async def test_request_duration_has_the_buckets_of_the_conventions(recording: Recording) -> None:
    async with serve(repeating(answer(200, room()))) as server:
        async with client_for(server.base_url, telemetry=recording.telemetry) as client:
            await client.rooms.get(ROOM_ID)
    ((_, point),) = recording.points("http.client.request.duration")
    assert point.explicit_bounds == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


async def test_calls_in_flight_and_budget_are_observed_while_the_client_is_open(recording: Recording) -> None:
    received, release = asyncio.Event(), asyncio.Event()

    async def held(link: Link) -> None:
        while True:
            await link.request()
            received.set()
            await release.wait()
            link.answer(200, room())

    async with serve(held) as server:
        async with client_for(server.base_url, telemetry=recording.telemetry) as client:
            running = asyncio.create_task(client.rooms.get(ROOM_ID))
            await received.wait()
            assert [point.value for _, point in recording.points("videoapi.calls.in_flight")] == [1]
            release.set()
            await running
            assert [point.value for _, point in recording.points("videoapi.calls.in_flight")] == [0]
            assert [point.value for _, point in recording.points("videoapi.retry_budget.left")] == [500]
        assert recording.points("videoapi.retry_budget.left") == []


async def test_budget_is_that_of_the_account_with_the_least(recording: Recording) -> None:
    answers = [answer(200, room()), answer(503), answer(503), answer(503)]

    async def failing(link: Link) -> None:
        while True:
            await link.request()
            link.send(answers.pop(0))

    async with (
        serve(failing) as server,
        SessionManager() as manager,
        client_for(server.base_url, session=manager, telemetry=recording.telemetry) as one,
        VideoClient("other", "key", server.base_url, session=manager, telemetry=recording.telemetry) as two,
    ):
        await one.rooms.get(ROOM_ID)
        with suppress(Exception):
            await two.with_options(timeout=20).rooms.get(ROOM_ID)
        ((facts, point),) = recording.points("videoapi.retry_budget.left")
        assert point.value == min(one.stats().retry_budget_left, two.stats().retry_budget_left) == 480
        assert facts == {"server.address": "127.0.0.1", "server.port": server.port}


async def test_attributes_are_few_and_name_no_room(recording: Recording) -> None:
    async with Sandbox(seed=7, calls=20) as sandbox:
        sandbox.fault("rooms.create", "drop_after")
        async with VideoClient(
            sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=0.3, telemetry=recording.telemetry
        ) as client:
            created = await client.rooms.create(name="Ann")
            for room_id in (created.room_id, ROOM_ID, OTHER_ID):
                with suppress(NotFound):
                    await client.rooms.get(room_id)
            await client.cdr.by_room(created.room_id).to_list()
            await client.rooms.delete_many([created.room_id])
            points = {name: recording.points(name) for name in METRICS}
    found = {name for measured in points.values() for facts, _ in measured for name in facts}
    assert found == ALLOWED
    for name in METRICS[:-1]:
        assert points[name], name
    assert created.room_id not in recording.everything()
