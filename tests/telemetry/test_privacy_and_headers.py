"""No secret and no personal data in anything that is reported; `traceparent` only if it is requested."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import attrs
import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import NoOpTracerProvider, SpanContext, TraceFlags
from support.clients import APP_ID, APP_KEY, client_for
from support.server import ROOM_ID, Link, answer, repeating, room, serve
from telemetry.conftest import Recording

from videoapi import ConfigurationError, RoomSpec, Telemetry, TokenSpec, VideoAPIError
from videoapi.telemetry import guard

CANARIES = (
    APP_ID,
    APP_KEY,
    "Authorization",
    "Basic ",
    "Zoe Canary",
    "canary-user-ref",
    "canary-token",
    "canary-query",
    "canary-header",
    "canary-reason",
    ROOM_ID,
)


async def test_nothing_reported_holds_a_secret_a_name_a_query_or_a_room_id(recording: Recording) -> None:
    """Success, rejection, garbage and a lost response, for single calls, runs and streams."""
    issued = answer(200, {"result": 0, "token": "canary-token"})
    refused = answer(400, {"result": 10002, "error": "canary-reason Zoe Canary", "request_id": "canary-reason"})
    redirect = answer(302, b"", {"Location": "https://example.com/?canary-query=Zoe Canary"})
    listed = answer(200, {"result": 0, "rooms": [{"room_id": ROOM_ID, "name": "Zoe Canary"}]})
    for script in (
        repeating(answer(200, room())),
        repeating(issued),
        repeating(refused),
        repeating(redirect),
        repeating(listed),
        lost,
    ):
        async with (
            serve(script) as server,
            client_for(server.base_url, telemetry=recording.with_traceparent(), settle=0.1, timeout=2) as client,
        ):
            calls: list[Any] = [
                client.rooms.create(name="Zoe Canary", owner_ref="canary-user-ref", on_unknown="strict"),
                client.rooms.get(ROOM_ID),
                client.rooms.update(ROOM_ID, name="Zoe Canary"),
                client.rooms.delete(ROOM_ID),
                client.tokens.create(ROOM_ID, name="Zoe Canary", role="moderator", user_ref="canary-user-ref"),
                client.request(
                    "GET",
                    f"/rooms/{ROOM_ID}",
                    params={"canary-query": "Zoe Canary"},
                    headers={"X-A": "canary-header"},
                    operation="read",
                ),
                client.rooms.list().to_list(),
                client.cdr.by_room(ROOM_ID).to_list(),
                client.rooms.create_many([RoomSpec("Zoe Canary")], on_unknown="strict", audit=False, give_up_after=0.1),
                client.tokens.create_many(
                    [TokenSpec(ROOM_ID, "Zoe Canary", "moderator", "canary-user-ref")], give_up_after=0.1
                ),
                client.rooms.delete_many([ROOM_ID], give_up_after=0.1),
            ]
            for call in calls:
                with suppress(VideoAPIError):
                    await call
    reported = recording.everything()
    assert reported.count("rooms.get") > 5
    assert [canary for canary in CANARIES if canary in reported] == []


async def lost(link: Link) -> None:
    await link.request()
    link.reset()


async def test_traceparent_is_sent_only_if_requested(recording: Recording) -> None:
    async with serve(repeating(answer(200, room()))) as server:
        async with client_for(server.base_url, telemetry=recording.telemetry) as client:
            await client.rooms.get(ROOM_ID)
        async with client_for(server.base_url, telemetry=recording.with_traceparent()) as client:
            await client.rooms.get(ROOM_ID)
    plain, traced = server.requests
    assert "traceparent" not in plain.headers
    attempt = recording.spans[-1]
    assert attempt.name == "GET /video/v2/rooms/{room_id}"
    ids = f"{attempt.context.trace_id:032x}-{attempt.context.span_id:016x}"
    assert traced.headers["traceparent"] == f"00-{ids}-{attempt.context.trace_flags:02x}"


async def test_each_attempt_carries_the_traceparent_of_its_own_span(recording: Recording) -> None:
    answers = [answer(503), answer(200, room())]

    async def recovering(link: Link) -> None:
        while True:
            await link.request()
            link.send(answers.pop(0))

    async with serve(recovering) as server:
        async with client_for(server.base_url, telemetry=recording.with_traceparent()) as client:
            await client.rooms.get(ROOM_ID)
    sent = [request.headers["traceparent"].split("-")[2] for request in server.requests]
    _, *attempts = recording.spans
    assert sent == [f"{span.context.span_id:016x}" for span in attempts]
    assert len(set(sent)) == 2


async def test_traceparent_of_the_caller_is_kept(recording: Recording) -> None:
    async with serve(repeating(answer(200, {"result": 0}))) as server:
        async with client_for(server.base_url, telemetry=recording.with_traceparent()) as client:
            await client.request("GET", "/any", headers={"Traceparent": "mine"}, operation="read")
    assert server.requests[0].headers["traceparent"] == "mine"


async def test_traceparent_of_a_remote_caller_is_passed_on_without_an_sdk() -> None:
    remote = SpanContext(trace_id=7, span_id=9, is_remote=True, trace_flags=TraceFlags(1))
    token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(remote)))
    try:
        async with serve(repeating(answer(200, room()))) as server:
            telemetry = Telemetry(tracer_provider=NoOpTracerProvider(), traceparent=True)
            async with client_for(server.base_url, telemetry=telemetry) as client:
                await client.rooms.get(ROOM_ID)
    finally:
        context.detach(token)
    assert server.requests[0].headers["traceparent"] == f"00-{7:032x}-{9:016x}-01"


# Misbehaving providers


class Broken(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("canary-reason")

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("canary-reason")


class BrokenAtEnd(Broken):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        pass


class NoTracers:
    def get_tracer(self, name: str, version: str, /) -> Any:
        raise RuntimeError("canary-reason")


class NoMeters:
    def get_meter(self, name: str, version: str, /) -> Any:
        raise RuntimeError("canary-reason")


@pytest.mark.parametrize("processor", [Broken(), BrokenAtEnd(), None])
async def test_tracer_that_raises_does_not_affect_calls(
    processor: SpanProcessor | None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_reported", set())
    if processor is None:
        telemetry = Telemetry(tracer_provider=NoTracers(), meter_provider=NoMeters())
    else:
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(processor)
        telemetry = Telemetry(tracer_provider=tracers, meter_provider=MeterProvider(shutdown_on_exit=False))
    with caplog.at_level(logging.ERROR, logger="videoapi"):
        async with serve(repeating(answer(200, room()))) as server:
            async with client_for(server.base_url, telemetry=telemetry) as client:
                for _ in range(3):
                    assert (await client.rooms.get(ROOM_ID)).room_id == ROOM_ID
                await client.rooms.create_many([RoomSpec("Class")], audit=False)
                assert client.stats().permits_in_use == 0
    assert not trace.get_current_span().get_span_context().is_valid
    logged = [record.getMessage() for record in caplog.records if record.name == "videoapi"]
    assert 0 < len(logged) <= 4
    assert all(text == "OpenTelemetry raised RuntimeError; spans or metrics are missing." for text in logged)


async def test_tracer_provider_that_raises_does_not_cost_the_metrics(recording: Recording) -> None:
    telemetry = attrs.evolve(recording.telemetry, tracer_provider=NoTracers())
    async with serve(repeating(answer(200, room()))) as server, client_for(server.base_url, telemetry=telemetry) as one:
        await one.rooms.get(ROOM_ID)
    assert [point.value for _, point in recording.points("videoapi.attempts")] == [1]


async def test_telemetry_can_be_switched_off(recording: Recording) -> None:
    async with serve(repeating(answer(200, room()))) as server:
        async with client_for(server.base_url, telemetry=False) as client:
            await client.rooms.get(ROOM_ID)
    assert recording.spans == []


def test_invalid_setting_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="telemetry must be True, False or a Telemetry, not str"):
        client_for("http://127.0.0.1:1/v2", telemetry="yes")
