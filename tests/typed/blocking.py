"""The blocking client as type checkers must see it. `make lint` checks it; it is never run."""

from __future__ import annotations

from typing import assert_type

from videoapi import BulkOutcome, BulkReport, CallRecord, Page, Room, RoomSpec, TokenSpec
from videoapi.blocking import BulkRun, RecordStream, SessionManager, VideoClient


def calls() -> None:
    with VideoClient(timeout=10) as client:
        room = client.rooms.create(name="Stand-up")
        assert_type(room, Room)
        assert_type(client.rooms.resolve("vx"), Room | None)
        assert_type(client.with_options(timeout=1), VideoClient)
        client.request("GET", "/rooms", operation="read").body.decode()
        client.await_nothing()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        client.rooms.create(title="Stand-up")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def streams(client: VideoClient) -> None:
    records = client.cdr.by_period("2026-01-01", "2026-01-31")
    assert_type(records, RecordStream[CallRecord])
    for record in records:
        assert_type(record, CallRecord)
    with client.rooms.list() as rooms:
        for page in rooms.pages(100):
            assert_type(page, Page[Room])
    assert_type(client.rooms.list().to_list(), list[Room])
    for archive in client.archives.by_room("room"):
        for file in archive.files:
            client.archives.download(file, to="recordings/", progress=lambda received, total: print(received, total))


def bulk(client: VideoClient) -> None:
    specs = (RoomSpec(f"Room {number}") for number in range(10))
    report = client.rooms.create_many(specs, progress=lambda report: print(report.counts))
    assert_type(report, BulkReport)
    with client.rooms.create_each(specs) as run:
        assert_type(run, BulkRun[RoomSpec])
        for outcome in run:
            assert_type(outcome, BulkOutcome)
    print(run.report.counts)
    client.rooms.delete_many(client.rooms.list())
    client.tokens.create_many([TokenSpec(None, "Ann", "viewer", "u")])


def shared() -> None:
    with SessionManager(max_connections=8) as session:
        clients = [VideoClient(f"id{number}", "key", session=session) for number in range(2)]
        for client in clients:
            client.close()


async def not_async(client: VideoClient) -> None:
    async with client:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportAttributeAccessIssue]
        pass
    await client.rooms.get("room")  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
