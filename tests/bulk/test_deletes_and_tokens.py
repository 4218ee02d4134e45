"""Many deletes and many tokens run on the same engine."""

from collections.abc import Iterator

from videoapi import NotFound, RoomSpec, TokenDenied, TokenSpec, VideoClient
from videoapi.sandbox import Sandbox


async def some_rooms(client: VideoClient, count: int) -> list[str]:
    report = await client.rooms.create_many(RoomSpec(f"Room {number}") for number in range(count))
    return [outcome.room_id or "" for outcome in report.made]


async def test_rooms_are_deleted_and_the_key_of_an_outcome_is_the_room_id(
    client: VideoClient, sandbox: Sandbox
) -> None:
    rooms = await some_rooms(client, 20)

    report = await client.rooms.delete_many(rooms)

    assert report.counts == {"deleted": 20}
    assert [outcome.key for outcome in report.made] == rooms
    assert sandbox.ledger.rooms == {}


async def test_a_room_that_is_not_there_fails_and_a_repeated_one_too(client: VideoClient) -> None:
    (room,) = await some_rooms(client, 1)

    report = await client.rooms.delete_many([room, room, "0" * 24, "no/id"])

    assert report.counts == {"deleted": 1, "failed": 3}
    assert [type(outcome.error).__name__ for outcome in report.failures] == [
        "ValidationError",
        "NotFound",
        "ValidationError",
    ]
    assert isinstance(report.failures[1].error, NotFound)


async def test_a_delete_that_may_be_done_is_unknown_and_never_sent_again(client: VideoClient, sandbox: Sandbox) -> None:
    rooms = await some_rooms(client, 5)
    sandbox.fault("rooms.delete", "drop_after", times=2)

    async with client.rooms.delete_each(rooms, concurrency=1) as outcomes:
        statuses = [outcome.status async for outcome in outcomes]

    assert statuses == ["unknown", "unknown", "deleted", "deleted", "deleted"]
    assert sandbox.ledger.requests("rooms.delete") == 5


async def test_tokens_come_with_their_text_only_on_request(client: VideoClient) -> None:
    (room,) = await some_rooms(client, 1)
    wanted = (TokenSpec(room, f"User {number}", "participant", f"u-{number}", key=number) for number in range(9))

    report = await client.tokens.create_many(wanted, concurrency=3)

    assert report.counts == {"created": 9}
    texts = {outcome.token.value for outcome in report.made}
    assert len(texts) == 9
    assert not any(text in repr(report.made) for text in texts)
    assert [outcome.key for outcome in report.made] == list(range(9))


async def test_a_lost_token_is_issued_anew_once(client: VideoClient, sandbox: Sandbox) -> None:
    (room,) = await some_rooms(client, 1)
    sandbox.fault("tokens.create", "drop_after", times=1)

    report = await client.tokens.create_many([TokenSpec(room, "Ann", "participant", "u-1")])

    assert report.counts == {"created": 1}
    assert sandbox.ledger.requests("tokens.create") == 2


async def test_a_full_room_is_that_tokens_failure(client: VideoClient, sandbox: Sandbox) -> None:
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
