"""A job on a Dask cluster whose workers are in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import cloudpickle
import pytest
from support.jobs import created
from support.redis_server import RedisServer

from videoapi import RoomSpec, VideoClient
from videoapi.sandbox import Sandbox

distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


def worker() -> VideoClient:
    return VideoClient(settle=0.3, attempt_timeout=1.0)


@pytest.fixture
async def sandbox(monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer) -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        for name, value in (("APP_ID", running.app_id), ("APP_KEY", running.app_key), ("BASE_URL", running.base_url)):
            monkeypatch.setenv(f"VIDEOAPI_{name}", value)
        monkeypatch.setenv("VIDEOAPI_REDIS", redis_server.url)
        yield running


@pytest.fixture
async def cluster() -> AsyncIterator[Any]:
    local = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0", asynchronous=True
    )
    async with local, distributed.Client(local, asynchronous=True) as client:
        yield client


async def test_a_job_is_created_and_no_credential_is_in_the_graph(
    sandbox: Sandbox, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from videoapi.dask.rooms import create_rooms_on_dask

    sent: list[bytes] = []
    submit = cluster.submit

    def recording(*arguments: Any, **options: Any) -> Any:
        sent.append(cloudpickle.dumps((arguments, options)))
        return submit(*arguments, **options)

    monkeypatch.setattr(cluster, "submit", recording)
    specs = [RoomSpec(f"Room {number}", key=number) for number in range(17)]
    async with worker() as client:
        report = await create_rooms_on_dask(
            client, cluster, specs, worker=worker, new=True, job_id="job", shard_size=5, lease_ttl=3.0, timeout=60.0
        )
    assert report.counts == {"created": 17}
    assert [outcome.key for outcome in report.made] == list(range(17))
    assert report.audited is not None
    assert len(await created(sandbox)) == 17
    assert sent
    assert any(b"Room 3" in graph for graph in sent)
    assert all(sandbox.app_key.encode() not in graph for graph in sent)


async def test_a_shard_whose_lease_another_worker_has_is_submitted_again(
    sandbox: Sandbox, cluster: Any, redis_server: RedisServer
) -> None:
    from videoapi import RedisLeases
    from videoapi.dask.rooms import create_rooms_on_dask

    specs = [RoomSpec(f"Room {number}", key=number) for number in range(3)]
    async with worker() as client, RedisLeases(redis_server.url, "job", ttl=3.0) as leases:
        await leases.begin(new=True)
        async with leases.hold("1/1"):
            job = asyncio.create_task(
                create_rooms_on_dask(
                    client, cluster, specs, worker=worker, job_id="job", shard_size=3, lease_ttl=3.0, timeout=60.0
                )
            )
            await asyncio.sleep(1.5)
            assert not sandbox.ledger.created
        report = await job
    assert report.counts == {"created": 3}
    assert len(await created(sandbox)) == 3
