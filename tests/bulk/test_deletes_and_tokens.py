"""Bulk deletes and bulk tokens use the same engine as bulk creates."""

from collections.abc import Iterator

from videoapi import NotFound, RoomSpec, TokenDenied, TokenSpec, VideoClient
from videoapi.sandbox import Sandbox


async def some_rooms(client: VideoClient, count: int) -> list[str]:
    report = await client.rooms.create_many(RoomSpec(f"Room {number}") for number in range(count))
    return [outcome.room_id or "" for outcome in report.made]


async def test_delete_many_uses_the_room_id_as_key(client: VideoClient, sandbox: Sandbox) -> None:
    rooms = await some_rooms(client, 20)

    report = await client.rooms.delete_many(rooms)

    assert report.counts == {"deleted": 20}
    assert [outcome.key for outcome in report.made] == rooms
    assert sandbox.ledger.rooms == {}


async def test_delete_many_fails_missing_duplicate_and_invalid_rooms(client: VideoClient) -> None:
    (room,) = await some_rooms(client, 1)

    report = await client.rooms.delete_many([room, room, "0" * 24, "no/id"])

    assert report.counts == {"deleted": 1, "failed": 3}
    assert [type(outcome.error).__name__ for outcome in report.failures] == [
        "ValidationError",
        "NotFound",
        "ValidationError",
    ]
    assert isinstance(report.failures[1].error, NotFound)


async def test_delete_whose_response_is_lost_is_sent_again(client: VideoClient, sandbox: Sandbox) -> None:
    rooms = await some_rooms(client, 5)
    sandbox.fault("rooms.delete", "drop_after", times=2)

    async with client.rooms.delete_each(rooms, concurrency=1) as outcomes:
        statuses = [outcome.status async for outcome in outcomes]

    assert statuses == ["deleted"] * 5
    assert sandbox.ledger.rooms == {}


async def test_delete_many_takes_the_rooms_of_a_list(client: VideoClient, sandbox: Sandbox) -> None:
    rooms = await some_rooms(client, 12)

    report = await client.rooms.delete_many(client.rooms.list())

    assert report.counts == {"deleted": 12}
    assert {outcome.room_id for outcome in report.made} == set(rooms)
    assert sandbox.ledger.rooms == {}


async def test_token_text_is_not_in_the_repr_of_outcomes(client: VideoClient) -> None:
    (room,) = await some_rooms(client, 1)
    wanted = (TokenSpec(room, f"User {number}", "participant", f"u-{number}", key=number) for number in range(9))

    report = await client.tokens.create_many(wanted, concurrency=3)

    assert report.counts == {"created": 9}
    texts = {outcome.token.value for outcome in report.made}
    assert len(texts) == 9
    assert not any(text in repr(report.made) for text in texts)
    assert [outcome.key for outcome in report.made] == list(range(9))


async def test_token_is_issued_again_when_the_response_is_lost(client: VideoClient, sandbox: Sandbox) -> None:
    (room,) = await some_rooms(client, 1)
    sandbox.fault("tokens.create", "drop_after", times=1)

    report = await client.tokens.create_many([TokenSpec(room, "Ann", "participant", "u-1")])

    assert report.counts == {"created": 1}
    assert sandbox.ledger.requests("tokens.create") == 2


async def test_full_room_fails_only_its_token(client: VideoClient, sandbox: Sandbox) -> None:
    rooms = await some_rooms(client, 2)
    sandbox.fault("tokens.create", "status", status=403, code=10114, times=1)

    def wanted() -> Iterator[TokenSpec]:
        for room in rooms:
            yield TokenSpec(room, "Ann", "participant", "u-1")

    async with client.tokens.create_each(wanted(), concurrency=1) as outcomes:
        seen = [outcome async for outcome in outcomes]

    assert [outcome.status for outcome in seen] == ["failed", "created"]
    assert isinstance(seen[0].error, TokenDenied)
    assert seen[0].error.reason == "full"
