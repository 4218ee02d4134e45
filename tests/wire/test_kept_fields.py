"""What the service sends beyond the known fields is kept, and sent back with changed settings."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
from support.server import ROOM_ID, answer, repeating, serve

from videoapi import EffectiveSettings, RoomSettings, TokenSpec, ValidationError, VideoClient
from videoapi.sandbox import Sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[VideoClient]:
    async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as client:
        yield client


NO_TOKENS = [json.dumps({"result": 0, "token": text}) for text in ("", None, [], {})]


class TestToken:
    async def test_fields_next_to_the_text_are_kept(self) -> None:
        body = {"result": 0, "token": "text", "expires": 900, "desc": "x"}
        async with serve(repeating(answer(200, body))) as server:
            async with VideoClient("id", "key", server.base_url) as client:
                token = await client.tokens.create(ROOM_ID, name="Ann", role="viewer", user_ref="u")
                report = await client.tokens.create_many([TokenSpec(ROOM_ID, "Ann", "viewer", "u")])

        assert token.value == "text"
        assert token.extra == {"expires": 900, "desc": "x"}
        assert token.to_dict()["expires"] == 900
        assert report.made[0].token == token
        assert report.made[0].token.extra == token.extra

    @pytest.mark.parametrize("body", [*NO_TOKENS, '{"result":0,"token":"a","token":"b"}'])
    async def test_response_without_a_text_or_with_two_is_not_a_token(self, body: str) -> None:
        async with serve(repeating(answer(200, body.encode()))) as server:
            async with VideoClient("id", "key", server.base_url) as client:
                report = await client.tokens.create_many([TokenSpec(ROOM_ID, "Ann", "viewer", "u")], timeout=1)

        assert report.counts["created"] == 0


KINDS = {
    "permanent": RoomSettings(participants=5),
    "one session": RoomSettings.one_session(30, participants=5, live_recording={"auto_recording": True}),
    "scheduled": RoomSettings.scheduled_at("2099-01-31T10:00:00Z", minutes=45, participants=5),
    "lecture": RoomSettings(mode="lecture"),
}


class TestSettings:
    @pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
    async def test_settings_can_be_read_changed_and_updated(
        self, client: VideoClient, sandbox: Sandbox, settings: RoomSettings
    ) -> None:
        room = await client.rooms.create(name="A", settings=settings)

        await client.rooms.update(
            room.room_id, settings=attrs.evolve(room.settings.to_request(), participants=12, knock=True)
        )

        after = (await client.rooms.get(room.room_id)).settings
        assert (after.participants, after.knock) == (12, True)
        expected = attrs.evolve(room.settings, participants=12, knock=True)
        assert isinstance(after, EffectiveSettings)
        assert after == expected

    @pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
    async def test_room_is_created_with_the_settings_of_another(
        self, client: VideoClient, settings: RoomSettings
    ) -> None:
        room = await client.rooms.create(name="A", settings=settings)
        copied = await client.rooms.create(name="B", settings=room.settings.to_request())

        assert copied.settings == room.settings

    async def test_unchanged_kind_alone_is_not_sent(self, client: VideoClient, sandbox: Sandbox) -> None:
        room = await client.rooms.create(name="A", settings=KINDS["lecture"])

        await client.rooms.update(room.room_id, settings={"mode": "lecture", "adhoc": False})

        assert sandbox.ledger.requests("rooms.update") == 0

    @pytest.mark.parametrize("change", [{"mode": "lecture"}, {"adhoc": True}, {"scheduled": True}])
    async def test_changed_kind_is_rejected_before_anything_is_changed(
        self, client: VideoClient, sandbox: Sandbox, change: dict[str, Any]
    ) -> None:
        room = await client.rooms.create(name="A")

        with pytest.raises(ValidationError, match="cannot be changed") as caught:
            await client.rooms.update(room.room_id, name="B", settings=change)

        assert caught.value.field == f"settings.{next(iter(change))}"
        assert sandbox.ledger.requests("rooms.update") == 0

    async def test_update_without_kind_reads_nothing(self, client: VideoClient, sandbox: Sandbox) -> None:
        room = await client.rooms.create(name="A")

        await client.rooms.update(room.room_id, settings=RoomSettings(knock=True))

        assert sandbox.ledger.requests("rooms.get") == 0

    async def test_null_is_sent(self) -> None:
        async with serve(repeating(answer(200, {"result": 0}))) as server:
            async with VideoClient("id", "key", server.base_url) as client:
                await client.rooms.update(
                    ROOM_ID, settings=RoomSettings(knock=True, quality=None, extra={"description": None})
                )

        assert server.requests[0].json == {"settings": {"knock": True, "description": None}}

    async def test_white_label_settings_are_sent_after_a_change(self) -> None:
        room = {"room_id": ROOM_ID, "settings": {"knock": False, "own": {"a": 1}}}
        async with serve(repeating(answer(200, {"result": 0, "room": room}))) as server:
            async with VideoClient("id", "key", server.base_url) as client:
                read = await client.rooms.get(ROOM_ID)
                await client.rooms.update(ROOM_ID, settings=attrs.evolve(read.settings, knock=True).to_request())

        assert server.requests[-1].json == {"settings": {"knock": True, "own": {"a": 1}}}


class TestMissingIds:
    async def test_missing_id_is_rejected_before_sending(self) -> None:
        async with VideoClient("id", "key", "https://127.0.0.1:1/v1") as client:
            for call in (
                lambda: client.rooms.get(None),
                lambda: client.rooms.update(None, name="A"),
                lambda: client.rooms.delete(None),
                lambda: client.rooms.users(None),
                lambda: client.tokens.create(None, name="Ann", role="viewer", user_ref="u"),
                lambda: client.cdr.by_room(None).to_list(),
                lambda: client.archives.by_conference(None).to_list(),
                lambda: client.rooms.resolve(None),
            ):
                with pytest.raises(ValidationError) as caught:
                    await call()
                assert caught.value.field in ("room_id", "conf_num", "reference")
                assert not caught.value.may_have_executed
