"""Code that type checkers must accept, and errors that they must find. `make lint` checks it; it is never run."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs

from videoapi import CreateOutcomeUnknown, EffectiveSettings, Room, RoomSettings, RoomSpec, TokenSpec, VideoClient
from videoapi.webhooks import RecordingReady, SessionEnded, Transcoded, WebhookEvent, Webhooks


async def outcomes(client: VideoClient) -> None:
    report = await client.rooms.create_many([RoomSpec("Stand-up", settings=RoomSettings(participants="10"))])
    for outcome in report.made:
        if outcome.status == "created":
            room: Room = await client.rooms.get(outcome.room_id)
            await client.rooms.update(outcome.room_id, name=room.name)
            await client.rooms.users(outcome.room_id)
            await client.rooms.delete(outcome.room_id)
            await client.tokens.create(outcome.room_id, name="Ann", role="viewer", user_ref="u")
            await client.tokens.create_many([TokenSpec(outcome.room_id, "Ann", "viewer", "u")])
    for outcome in report.unknown:
        await client.rooms.resolve(outcome.reference)
    await client.rooms.delete_many(outcome.room_id for outcome in report.made)


async def references(client: VideoClient) -> Room | None:
    try:
        return await client.rooms.create(name="Stand-up")
    except CreateOutcomeUnknown as error:
        return await client.rooms.resolve(error.reference)


async def records(client: VideoClient) -> None:
    async for record in client.cdr.by_period("2026-01-01", "2026-01-31"):
        client.cdr.by_room(record.room.room_id)
        client.archives.by_conference(record.conf_num)
        client.archives.by_room_period(record.room.room_id, "2026-01-01", "2026-01-31")


async def change(client: VideoClient, room_id: str) -> None:
    read: EffectiveSettings = (await client.rooms.get(room_id)).settings
    participants: int | None = read.participants
    request: RoomSettings = read.to_request()
    await client.rooms.update(room_id, settings=attrs.evolve(request, participants=(participants or 0) + 1))
    await client.rooms.update(room_id, settings={"knock": True})


def settings() -> list[RoomSettings]:
    asked = RoomSettings(participants=10, live_recording={"auto_recording": True}, extra={"description": None})
    text: int | str | None = asked.participants
    return [
        asked,
        RoomSettings(duration=str(text), billing_code=7, role_based_recording="audio"),
        RoomSettings.scheduled_at(datetime(2030, 1, 31, tzinfo=UTC), minutes=30, participants=5, extra={"own": 1}),
        RoomSettings.one_session(30, knock=True, quality="HD"),
        RoomSettings.one_session(mode="lecture"),
    ]


def receiver() -> Webhooks:
    hooks = Webhooks(("user", "password"), on_error=lambda event, error: print(event.type, error))

    @hooks.on(SessionEnded)
    async def fetch(event: SessionEnded) -> None:
        print(event.conf_num, event.trans_date)

    @hooks.on(RecordingReady, Transcoded)
    def download(event: RecordingReady | Transcoded) -> int:
        return len(event.recording or ())

    event: WebhookEvent = hooks.parse(b"{}", None)
    print(event.extra, fetch, download)
    return hooks


def mistakes(client: VideoClient) -> None:
    RoomSettings(participant=10)  # type: ignore[call-arg]
    RoomSettings(knock="yes")  # type: ignore[arg-type]
    RoomSettings.scheduled_at("2030-01-31T10:00:00Z", participants=5)  # type: ignore[call-arg]
    RoomSettings.scheduled_at("2030-01-31T10:00:00Z", minutes=5, adhoc=True)  # type: ignore[call-arg]
    RoomSettings.one_session(30, knock=1)  # type: ignore[arg-type]
    RoomSettings().quality.lower()  # type: ignore[union-attr]
    RoomSpec("Stand-up", settings=EffectiveSettings())  # type: ignore[arg-type]
    client.cdr.by_room(5)  # type: ignore[arg-type]
