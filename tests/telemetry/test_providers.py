"""Which providers are used, and when OpenTelemetry is imported; each in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.slow

SERVE = """
import asyncio, sys
from support.server import ROOM_ID, answer, repeating, room, serve
from videoapi import ConfigurationError, VideoClient
"""


def run(program: str) -> str:
    """Run a program in a fresh interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SERVE + textwrap.dedent(program)],
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_opentelemetry_is_imported_by_the_first_client_and_not_before() -> None:
    shown = run(
        """
        import videoapi
        print("opentelemetry" in sys.modules, end=" ")
        VideoClient("id", "key", telemetry=False)
        print("opentelemetry" in sys.modules, end=" ")
        VideoClient("id", "key")
        print("opentelemetry.trace" in sys.modules, "opentelemetry.sdk" in sys.modules)
        """
    )
    assert shown == "False False True False"


def test_without_the_package_calls_work_and_a_request_for_it_names_the_extra() -> None:
    shown = run(
        """
        sys.modules["opentelemetry"] = None

        async def main():
            async with serve(repeating(answer(200, room()))) as server:
                async with VideoClient("id", "key", server.base_url) as client:
                    assert (await client.rooms.get(ROOM_ID)).room_id == ROOM_ID
                    assert client._pipeline.recorder is None
            try:
                VideoClient("id", "key", telemetry=True)
            except ConfigurationError as error:
                print(error)

        asyncio.run(main())
        """
    )
    assert shown == "telemetry= needs OpenTelemetry's API: pip install 'videoapi[otel]'."


def test_without_an_sdk_nothing_is_recorded_until_one_is_installed() -> None:
    shown = run(
        """
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()

        async def main():
            async with serve(repeating(answer(200, room()))) as server:
                async with VideoClient("id", "key", server.base_url) as client:
                    await client.rooms.get(ROOM_ID)
                    assert not client._pipeline.recorder.active()
                    tracers = TracerProvider()
                    tracers.add_span_processor(SimpleSpanProcessor(exporter))
                    trace.set_tracer_provider(tracers)
                    metrics.set_meter_provider(MeterProvider([reader]))
                    await asyncio.sleep(0.2)
                    await client.rooms.get(ROOM_ID)
                    print(*(span.name for span in exporter.get_finished_spans()), sep=", ")
                    data = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
                    print(*sorted(metric.name for metric in data), sep=", ")

        asyncio.run(main())
        """
    )
    assert shown.splitlines() == [
        "GET /video/v2/rooms/{room_id}, rooms.get",
        "http.client.request.duration, videoapi.attempts, videoapi.calls.in_flight, videoapi.operation.duration, "
        "videoapi.permit.wait, videoapi.retry_budget.left",
    ]


def test_disabled_sdk_leaves_the_client_inactive() -> None:
    shown = run(
        """
        import os
        os.environ["OTEL_SDK_DISABLED"] = "true"
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider

        trace.set_tracer_provider(TracerProvider())
        print(VideoClient("id", "key")._pipeline.recorder.active())
        """
    )
    assert shown == "False"
