"""The span tree of calls, creates in doubt, bulk runs and streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from support.clients import ONCE, client_for
from support.server import ROOM_ID, Link, answer, repeating, room, serve
from telemetry.conftest import Recording

from videoapi import (
    AuthenticationFailed,
    CallStarted,
    ConnectionFailed,
    CreateOutcomeUnknown,
    NotFound,
    Outcome,
    ProtocolError,
    Request,
    RoomSpec,
    Send,
    SessionManager,
    VideoClient,
)
from videoapi.sandbox import Sandbox
from videoapi.telemetry import operation

GET = "GET /video/v2/rooms/{room_id}"
POST = "POST /video/v2/rooms"
LIST = "GET /video/v2/rooms"


def facts(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=7) as running:
        yield running


def client_of(sandbox: Sandbox, recording: Recording, **options: Any) -> VideoClient:
    options = {"settle": 0.3, "telemetry": recording.telemetry, **options}
    return VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, **options)


# One call


async def test_call_is_a_client_span_with_a_child_per_attempt(recording: Recording) -> None:
    answers = [answer(503), answer(503), answer(200, room())]

    async def recovering(link: Link) -> None:
        while True:
            await link.request()
            link.send(answers.pop(0))

    async with serve(recovering) as server, client_for(server.base_url, telemetry=recording.telemetry) as client:
        await client.rooms.get(ROOM_ID)
    call = recording.one("rooms.get")
    attempts = recording.children(call)
    assert [span.kind for span in (call, *attempts)] == [SpanKind.CLIENT] * 4
    assert call.parent is None
    assert call.status.status_code is StatusCode.UNSET
    assert facts(call)["videoapi.attempts"] == 3
    assert facts(call)["http.response.status_code"] == 200
    assert "error.type" not in facts(call)
    assert [span.name for span in attempts] == [GET] * 3
    assert [facts(span).get("http.request.resend_count") for span in attempts] == [None, 1, 2]
    assert [facts(span)["http.response.status_code"] for span in attempts] == [503, 503, 200]
    assert [facts(span).get("error.type") for span in attempts] == ["503", "503", None]
    assert [span.status.status_code.name for span in attempts] == ["ERROR", "ERROR", "UNSET"]


async def test_attributes_follow_the_conventions_for_http_clients(recording: Recording) -> None:
    async with serve(repeating(answer(200, room()))) as server:
        async with client_for(server.base_url, telemetry=recording.telemetry) as client:
            await client.rooms.get(ROOM_ID)
    call, attempt = recording.spans
    assert facts(attempt) == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "url.template": "/video/v2/rooms/{room_id}",
        "url.full": f"{server.base_url}/rooms/REDACTED",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "videoapi.verdict": "done",
    }
    assert facts(call) == {
        "videoapi.operation": "rooms.get",
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "url.template": "/video/v2/rooms/{room_id}",
        "url.full": f"{server.base_url}/rooms/REDACTED",
        "http.response.status_code": 200,
        "videoapi.verdict": "done",
        "videoapi.attempts": 1,
    }
    assert (call.status.status_code, attempt.status.status_code) == (StatusCode.UNSET, StatusCode.UNSET)
    assert call.start_time <= attempt.start_time <= attempt.end_time <= call.end_time
    assert call.instrumentation_scope is not None
    assert call.instrumentation_scope.name == "videoapi"


async def test_span_is_current_while_the_call_runs_and_not_after(recording: Recording) -> None:
    seen: list[str] = []

    def current() -> str:
        return getattr(trace.get_current_span(), "name", "")

    async def middleware(request: Request, send: Send) -> Outcome:
        seen.append(current())
        return await send(request)

    async def per_attempt(request: Any, handler: Any) -> Any:
        seen.append(current())
        return await handler(request)

    async with (
        serve(repeating(answer(200, room()))) as server,
        SessionManager(http_middlewares=[per_attempt]) as manager,
        client_for(
            server.base_url,
            session=manager,
            telemetry=recording.telemetry,
            middleware=middleware,
            listeners=lambda event: seen.append(current()),
        ) as client,
    ):
        await client.rooms.get(ROOM_ID)
    assert seen == ["rooms.get", "rooms.get", GET, "rooms.get", "rooms.get"]
    assert current() == ""


async def test_concurrent_calls_are_children_of_their_own_callers(recording: Recording) -> None:
    tracer = recording.tracers.get_tracer("test")

    async def visit(client: VideoClient, number: int) -> None:
        with tracer.start_as_current_span(f"visit {number}"):
            await client.rooms.get(ROOM_ID)
            await client.rooms.get(ROOM_ID)

    async with serve(repeating(answer(200, room()))) as server:
        async with client_for(server.base_url, telemetry=recording.telemetry) as client:
            await asyncio.gather(*(visit(client, number) for number in range(20)))
    for number in range(20):
        calls = recording.children(recording.one(f"visit {number}"))
        assert [span.name for span in calls] == ["rooms.get", "rooms.get"]
        assert [len(recording.children(call)) for call in calls] == [1, 1]


async def test_two_tenants_on_one_pool_report_to_their_own_providers(recording: Recording) -> None:
    other = Recording()
    async with (
        serve(repeating(answer(200, room()))) as server,
        SessionManager(max_connections=2) as manager,
        client_for(server.base_url, session=manager, telemetry=recording.telemetry) as one,
        VideoClient("other", "key", server.base_url, session=manager, telemetry=other.telemetry) as two,
    ):
        await asyncio.gather(*(client.rooms.get(ROOM_ID) for client in [one, two] * 10))
    other.close()
    for mine in (recording, other):
        assert len(mine.named("rooms.get")) == 10
        assert [len(mine.children(call)) for call in mine.named("rooms.get")] == [1] * 10
        assert len(mine.spans) == 20


async def test_error_of_the_service_is_recorded_by_class_and_code_only(recording: Recording) -> None:
    refused = answer(404, {"result": 40001, "error": "Ann Smith has no such room"})
    async with serve(repeating(refused)) as server:
        async with client_for(server.base_url, telemetry=recording.telemetry) as client:
            with pytest.raises(NotFound):
                await client.rooms.get(ROOM_ID)
    call, attempt = recording.spans
    assert call.status.status_code is StatusCode.ERROR
    assert call.status.description is None
    assert call.events == ()
    assert facts(call)["error.type"] == "NotFound"
    assert facts(call)["videoapi.result_code"] == 40001
    assert facts(call)["videoapi.verdict"] == "rejected"
    assert facts(attempt)["error.type"] == "404"
    assert "Ann" not in recording.everything()


async def test_attempt_without_a_response_names_the_kind_of_failure(recording: Recording) -> None:
    async with serve(repeating(b"")) as server:
        closed = server.base_url
    async with client_for(closed, telemetry=recording.telemetry, retry=ONCE) as client:
        with pytest.raises(ConnectionFailed):
            await client.rooms.get(ROOM_ID)
    call, attempt = recording.spans
    assert facts(attempt)["error.type"] == "connection"
    assert "http.response.status_code" not in facts(attempt)
    assert facts(call)["error.type"] == "ConnectionFailed"
    assert facts(call)["videoapi.verdict"] == "not_sent"


async def test_error_code_of_a_foreign_body_is_not_recorded(recording: Recording) -> None:
    odd = answer(400, {"result": -1, "error_code": "the room of Ann Smith", "error": "no"})
    async with serve(repeating(odd)) as server:
        async with client_for(server.base_url, telemetry=recording.telemetry) as client:
            with suppress(Exception):
                await client.rooms.get(ROOM_ID)
    assert recording.one("rooms.get").status.status_code is StatusCode.ERROR
    assert "Ann" not in recording.everything()


async def test_cancellation_ends_the_spans(recording: Recording) -> None:
    received = asyncio.Event()

    async def silent(link: Link) -> None:
        await link.request()
        received.set()
        await link.gone()

    async with serve(silent) as server, client_for(server.base_url, telemetry=recording.telemetry) as client:
        running = asyncio.create_task(client.rooms.get(ROOM_ID))
        await received.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    call, attempt = recording.spans
    assert facts(call)["videoapi.verdict"] == "cancelled"
    assert facts(call)["error.type"] == facts(attempt)["error.type"] == "CancelledError"
    assert call.status.status_code is attempt.status.status_code is StatusCode.ERROR
    assert facts(attempt)["videoapi.verdict"] == "unknown"


async def test_wait_for_a_permit_is_on_the_span(recording: Recording) -> None:
    release = asyncio.Event()

    async def held(link: Link) -> None:
        while True:
            await link.request()
            await release.wait()
            link.answer(200, room())

    async with (
        serve(held) as server,
        SessionManager(max_connections=1) as manager,
        client_for(server.base_url, session=manager, telemetry=recording.telemetry) as client,
    ):
        calls = [asyncio.create_task(client.rooms.get(ROOM_ID)) for _ in range(2)]
        await asyncio.sleep(0.1)
        release.set()
        await asyncio.gather(*calls)
    first, second = recording.named("rooms.get")
    assert "videoapi.permit.wait" not in facts(first)
    assert 0.05 < facts(second)["videoapi.permit.wait"] < 30


async def test_custom_request_shows_neither_path_nor_query(recording: Recording) -> None:
    async with serve(repeating(answer(200, {"result": 0}))) as server:
        async with client_for(server.base_url, telemetry=recording.telemetry) as client:
            await client.request("GET", "/people/ann-smith", params={"mail": "ann@example.com"}, operation="read")
            await client.request("PURGE", "/people/ann-smith", operation="delete")
    assert [span.name for span in recording.spans] == ["request", "GET", "request", "HTTP"]
    assert facts(recording.spans[1])["url.full"] == f"{server.base_url}/REDACTED"
    assert "url.template" not in facts(recording.spans[1])
    assert facts(recording.spans[3])["http.request.method"] == "_OTHER"
    assert "ann" not in recording.everything()


async def test_fast_path_is_used_with_telemetry(recording: Recording, sessions_used: list[str]) -> None:
    async with serve(repeating(answer(200, room()))) as server:
        async with client_for(server.base_url, telemetry=recording.with_traceparent()) as client:
            await client.rooms.get(ROOM_ID)
            await client.rooms.create(name="Stand-up")
    assert len(recording.named("rooms.get")) == 1
    assert sessions_used == []


async def test_unsampled_call_has_no_attempt_spans_and_still_counts() -> None:
    recording = Recording(sampler=ALWAYS_OFF)
    async with serve(repeating(answer(200, room()))) as server:
        async with client_for(server.base_url, telemetry=recording.telemetry) as client:
            await client.rooms.get(ROOM_ID)
            assert recording.points("videoapi.attempts")[0][1].value == 1
    assert recording.spans == []
    recording.close()


# Creates


async def test_create_in_doubt_is_one_operation_with_its_settle_wait(sandbox: Sandbox, recording: Recording) -> None:
    sandbox.fault("rooms.create", "drop_after", times=1)
    async with client_of(sandbox, recording, timeout=20) as client:
        await client.rooms.create(name="Stand-up")
    create = recording.one("rooms.create")
    attempt, settle = recording.children(create)
    assert (attempt.name, settle.name) == (POST, "videoapi.settle")
    assert facts(attempt)["videoapi.verdict"] == "unknown"
    assert facts(create)["videoapi.verdict"] == "done"
    assert create.status.status_code is StatusCode.UNSET
    assert 0.1 < facts(create)["videoapi.settle.wait"] < 20
    assert {span.name for span in recording.children(settle)} == {"rooms.list"}
    assert recording.points("videoapi.unknown_outcomes") == []
    assert recording.points("videoapi.settle.wait")[0][1].count == 1


async def test_create_that_stays_unknown_says_so(sandbox: Sandbox, recording: Recording) -> None:
    sandbox.fault("rooms.create", "drop_after", times=1)
    async with client_of(sandbox, recording) as client:
        with pytest.raises(CreateOutcomeUnknown):
            await client.rooms.create(name="Stand-up", on_unknown="strict")
    create = recording.one("rooms.create")
    assert facts(create)["videoapi.verdict"] == "unknown"
    assert facts(create)["error.type"] == "CreateOutcomeUnknown"
    assert [point.value for _, point in recording.points("videoapi.unknown_outcomes")] == [1]


async def test_create_that_is_cancelled_while_its_room_is_looked_for_counts_as_unknown(
    sandbox: Sandbox, recording: Recording
) -> None:
    sandbox.fault("rooms.create", "drop_after", times=1)
    looking = asyncio.Event()

    def listener(event: object) -> None:
        if isinstance(event, CallStarted) and event.route == "rooms.list":
            looking.set()

    sandbox.fault("rooms.list", "hang", times=None)
    async with client_of(sandbox, recording, timeout=20, listeners=listener) as client:
        creating = asyncio.create_task(client.rooms.create(name="Stand-up"))
        await looking.wait()
        creating.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await creating
    assert caught.value.may_have_executed  # type: ignore[attr-defined]
    assert facts(recording.one("rooms.create"))["videoapi.verdict"] == "cancelled"
    counted = [
        (attributes["videoapi.operation"], point.value)
        for attributes, point in recording.points("videoapi.unknown_outcomes")
    ]
    assert counted == [("rooms.create", 1)]


async def test_resend_is_a_second_attempt_of_the_create(sandbox: Sandbox, recording: Recording) -> None:
    async with client_of(sandbox, recording, timeout=20) as client:
        await client.rooms.create(name="Known room")
        recording.clear()
        sandbox.fault("rooms.create", "drop_before", times=1)
        await client.rooms.create(name="Stand-up", on_unknown="resend")
    create = recording.one("rooms.create")
    names = [span.name for span in recording.children(create)]
    assert names.count(POST) == 2
    assert "videoapi.settle" in names
    assert facts(create)["videoapi.attempts"] == 2
    assert facts(create)["videoapi.verdict"] == "done"


async def test_resolve_is_an_operation(sandbox: Sandbox, recording: Recording) -> None:
    async with client_of(sandbox, recording) as client:
        created = await client.rooms.create(name="Stand-up")
        await client.rooms.resolve(created.owner_ref)
    resolve = recording.one("rooms.resolve")
    assert [span.name for span in recording.children(resolve)] == ["rooms.list"]


# Bulk runs


async def test_run_is_a_span_with_totals_and_its_calls(sandbox: Sandbox, recording: Recording) -> None:
    tracer = recording.tracers.get_tracer("test")
    specs = [RoomSpec(f"Class {number}") for number in range(5)]
    async with client_of(sandbox, recording) as client:
        with tracer.start_as_current_span("import"):
            report = await client.rooms.create_many([*specs, RoomSpec("")])
    run = recording.one("rooms.create_many")
    assert recording.children(recording.one("import")) == [run]
    names = [span.name for span in recording.children(run)]
    assert names.count("rooms.create") == 5
    assert report.counts == {"created": 5, "failed": 1}
    totals = {name: value for name, value in facts(run).items() if name.startswith("videoapi.run.")}
    assert totals == {
        "videoapi.run.total": 6,
        "videoapi.run.created": 5,
        "videoapi.run.failed": 1,
        "videoapi.run.duplicates": 0,
        "videoapi.run.missing": 0,
        "videoapi.run.exhausted": True,
    }
    assert run.kind is SpanKind.INTERNAL
    assert run.status.status_code is StatusCode.UNSET


async def test_calls_of_a_large_run_are_traces_of_their_own_with_a_link(
    sandbox: Sandbox, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation, "MOST_CHILDREN", 3)
    async with client_of(sandbox, recording) as client:
        await client.rooms.create_many([RoomSpec(f"Class {number}") for number in range(8)], audit=False)
    run = recording.one("rooms.create_many")
    assert len(recording.children(run)) == 3
    linked = [span for span in recording.named("rooms.create") if span.parent is None]
    assert len(linked) == 5
    assert {link.context.span_id for span in linked for link in span.links} == {run.context.span_id}
    assert len({span.context.trace_id for span in linked} | {run.context.trace_id}) == 6
    assert all(len(recording.children(span)) == 1 for span in linked)


async def test_unknown_outcomes_of_a_run_are_counted_once_settled(sandbox: Sandbox, recording: Recording) -> None:
    sandbox.fault("rooms.create", "drop_after", times=2)
    async with client_of(sandbox, recording) as client:
        report = await client.rooms.create_many([RoomSpec(f"Class {number}") for number in range(6)])
        assert report.counts == {"created": 6}
        assert recording.points("videoapi.unknown_outcomes") == []
        sandbox.fault("rooms.create", "drop_after", times=2)
        report = await client.rooms.create_many(
            [RoomSpec(f"Group {number}") for number in range(6)], on_unknown="strict", audit=False
        )
    unknown = report.counts["unknown"]
    assert [
        (facts["videoapi.operation"], point.value) for facts, point in recording.points("videoapi.unknown_outcomes")
    ] == ([("rooms.create_many", unknown)] if unknown else [])


async def test_run_that_was_stopped_ends_with_an_error(sandbox: Sandbox, recording: Recording) -> None:
    async with VideoClient(sandbox.app_id, "wrong", sandbox.base_url, telemetry=recording.telemetry) as client:
        report = await client.rooms.delete_many([ROOM_ID] + [f"{ROOM_ID[:-2]}{number}" for number in range(10, 40)])
        assert isinstance(report.stopped, AuthenticationFailed)
    run = recording.one("rooms.delete_many")
    assert run.status.status_code is StatusCode.ERROR
    assert facts(run)["error.type"] == "AuthenticationFailed"


async def test_run_that_is_left_early_ends_its_span(sandbox: Sandbox, recording: Recording) -> None:
    async with client_of(sandbox, recording) as client:
        specs = (RoomSpec(f"Class {number}") for number in range(100))
        async with client.rooms.create_each(specs, concurrency=2, audit=False) as outcomes:
            async for _ in outcomes:
                break
    run = recording.one("rooms.create_each")
    assert facts(run)["videoapi.run.exhausted"] is False
    assert facts(run)["videoapi.run.total"] == len(recording.named("rooms.create"))
    assert run.status.status_code is StatusCode.UNSET


async def test_cancelled_run_ends_its_span(sandbox: Sandbox, recording: Recording) -> None:
    sandbox.fault("rooms.create", "delay", seconds=30)
    async with client_of(sandbox, recording) as client:
        running = asyncio.create_task(client.rooms.create_many([RoomSpec("Class")], audit=False))
        while not client.stats().calls_in_flight:
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert facts(recording.one("rooms.create_many"))["videoapi.verdict"] == "cancelled"
    assert facts(recording.one("rooms.create"))["videoapi.verdict"] == "cancelled"


# Streams


async def test_stream_is_a_span_with_totals_and_all_its_requests(recording: Recording) -> None:
    tracer = recording.tracers.get_tracer("test")
    current: set[str] = set()
    async with Sandbox(seed=1, calls=60) as sandbox, client_of(sandbox, recording) as client:
        with tracer.start_as_current_span("export"):
            today = datetime.now(UTC).date()
            stream = client.cdr.by_period(today - timedelta(days=29), today)
            async for _ in stream:
                current.add(trace.get_current_span().name)  # type: ignore[attr-defined]
    span = recording.one("cdr.by_period")
    requests = recording.children(span)
    assert {one.name for one in requests} == {"GET /video/v2/cdr/period/{from_date}/{to_date}"}
    assert facts(span)["videoapi.attempts"] == len(requests) >= 2
    assert facts(span)["videoapi.stream.records"] == stream.received > 0
    assert facts(span)["videoapi.stream.complete"] is True
    assert facts(span)["videoapi.stream.windows"] >= 2
    # Between records, the caller's own span is current.
    assert current == {"export"}


async def test_stream_that_is_left_early_ends_without_an_error(sandbox: Sandbox, recording: Recording) -> None:
    async with client_of(sandbox, recording) as client:
        for number in range(3):
            await client.rooms.create(name=f"Class {number}")
        async with client.rooms.list() as rooms:
            async for _ in rooms:
                break
    span = recording.one("rooms.list")
    assert facts(span)["videoapi.stream.complete"] is False
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in facts(span)


async def test_stream_that_fails_ends_with_its_error(recording: Recording) -> None:
    async with serve(repeating(answer(200, {"result": 0, "rooms": "none"}))) as server:
        async with client_for(server.base_url, telemetry=recording.telemetry, retry=ONCE) as client:
            with pytest.raises(ProtocolError):
                await client.rooms.list().to_list()
    span = recording.one("rooms.list")
    assert span.status.status_code is StatusCode.ERROR
    assert facts(span)["error.type"] == "ProtocolError"
    assert [child.name for child in recording.children(span)] == [LIST]
