"""A single create whose response was lost: looked up, sent again only with proof, resolved later."""

import asyncio
from typing import Any

import pytest

from videoapi import (
    ConfigurationError,
    CreateOutcomeUnknown,
    RateLimited,
    RetryPolicy,
    Room,
    RoomSettings,
    RoomSpec,
    ValidationError,
    VideoAPIError,
    VideoClient,
    new_reference,
)
from videoapi.creation import self_check
from videoapi.creation.references import with_location
from videoapi.sandbox import Sandbox
from videoapi.sandbox.ledger import SELF_CHECK_NAME


def executed(sandbox: Sandbox, reference: str | None) -> int:
    return sum(entry.reference == reference for entry in sandbox.ledger.created)


def posts(sandbox: Sandbox) -> int:
    return sandbox.ledger.requests("rooms.create")


@pytest.mark.parametrize("kind", ["drop_after", "reset_after", "status_after"])
async def test_create_finds_the_room_when_the_response_is_lost(
    client: VideoClient, sandbox: Sandbox, kind: str
) -> None:
    sandbox.fault("rooms.create", kind, times=1, **({"status": 502} if kind == "status_after" else {}))

    room = await client.with_options(timeout=8).rooms.create(name="Board", owner_ref="team-1")

    assert room.room_id in sandbox.ledger.rooms
    assert room.name == "Board"
    assert posts(sandbox) == 1


async def test_create_stays_unknown_and_is_not_resent_when_not_found(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "drop_before", times=1)

    with pytest.raises(CreateOutcomeUnknown) as caught:
        await client.with_options(timeout=2).rooms.create(name="Board")

    assert caught.value.may_have_executed
    assert posts(sandbox) == 1
    assert sandbox.ledger.requests("rooms.list") >= 1


async def test_strict_does_not_look_up_the_room(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "drop_after", times=1)

    with pytest.raises(CreateOutcomeUnknown):
        await client.rooms.create(name="Board", on_unknown="strict")

    assert sandbox.ledger.requests() == 1


@pytest.mark.parametrize(
    ("fault", "then", "on_unknown", "logged"),
    [
        ("hang", "", "look", 1),
        ("drop_after", "rooms.list", "look", 1),
        ("drop_before", "rooms.list", "resend", 1),
        ("drop_before", "rooms.create", "resend", 1),
        ("throttle", "", "look", 0),
    ],
    ids=["in flight", "in its look-up", "while it is settled", "as it creates a self-check room", "throttled"],
)
async def test_cancelled_create_is_logged_if_it_may_have_been_executed(
    client: VideoClient,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    then: str,
    on_unknown: Any,
    logged: int,
) -> None:
    sandbox.fault("rooms.create", fault, times=1, **({"retry_after": 10} if fault == "throttle" else {}))
    if then:
        sandbox.fault(then, "hang")
    reference = new_reference()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await client.rooms.create(name="Board", reference=reference, on_unknown=on_unknown)

    texts = [record.getMessage() for record in caplog.records if "unknown outcome" in record.getMessage()]
    assert texts == [f"rooms.create ended with an unknown outcome, reference {reference}"] * logged


@pytest.mark.parametrize(("operation", "logged"), [("create", 1), ("update", 0)])
async def test_cancelled_create_of_an_own_route_is_logged(
    client: VideoClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, operation: Any, logged: int
) -> None:
    sandbox.fault("rooms.create", "hang", times=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await client.request("POST", "/rooms", json={"name": "Board"}, operation=operation)
    assert sum("POST /rooms ended with an unknown outcome" in text for text in caplog.messages) == logged


@pytest.mark.parametrize("owner_ref", [None, "team-1"])
async def test_resend_sends_again_when_the_room_is_proven_absent(
    client: VideoClient, sandbox: Sandbox, owner_ref: str | None
) -> None:
    sandbox.fault("rooms.create", "drop_before", times=1)

    room = await client.rooms.create(name="Board", owner_ref=owner_ref, on_unknown="resend")

    assert set(sandbox.ledger.rooms) == {room.room_id}, "the self-check room is deleted again"
    assert sandbox.ledger.duplicates() == {}


async def test_resend_does_not_create_a_second_room(client: VideoClient, sandbox: Sandbox) -> None:
    await client.rooms.create(name="control")
    sandbox.fault("rooms.create", "drop_after", times=1)

    room = await client.rooms.create(name="Board", on_unknown="resend")

    assert executed(sandbox, room.owner_ref) == 1


async def test_ledger_tells_self_check_rooms_from_those_of_the_caller(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "drop_before", times=1)
    room = await client.rooms.create(name="Board", on_unknown="resend")
    assert [entry.room_id for entry in sandbox.ledger.created if not entry.self_check] == [room.room_id]
    assert len(sandbox.ledger.created) == 2
    assert SELF_CHECK_NAME == self_check.NAME


async def test_create_fails_definitively_when_absent_after_three_sends(client: VideoClient, sandbox: Sandbox) -> None:
    await client.rooms.create(name="control")
    sandbox.fault("rooms.create", "drop_before", times=3)

    with pytest.raises(VideoAPIError) as caught:
        await client.rooms.create(name="Board", on_unknown="resend")

    assert not isinstance(caught.value, CreateOutcomeUnknown)
    assert not caught.value.may_have_executed
    assert "looked for" in str(caught.value)
    assert posts(sandbox) == 4
    assert len(sandbox.ledger.rooms) == 1


async def test_list_without_references_does_not_prove_absence(sandbox: Sandbox, client: VideoClient) -> None:
    sandbox.set(list_omits="owner_ref")
    sandbox.fault("rooms.create", "drop_before", times=1)

    with pytest.raises(CreateOutcomeUnknown):
        await client.rooms.create(name="Board", on_unknown="resend")

    assert sandbox.ledger.duplicates() == {}
    assert [room["name"] for room in sandbox.ledger.rooms.values()] == []


async def test_throttled_create_does_not_scan_the_list(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "throttle", times=None, retry_after=0)

    with pytest.raises(RateLimited):
        await client.with_options(timeout=1.5).rooms.create(name="Board")

    assert sandbox.ledger.requests("rooms.list") == 0


async def test_concurrent_creates_share_scans(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "drop_after", times=20)

    fast = client.with_options(timeout=8)
    rooms = await asyncio.gather(*(fast.rooms.create(name=f"Room {number}") for number in range(20)))

    assert len({room.room_id for room in rooms}) == 20
    assert sandbox.ledger.requests("rooms.list") <= 4


@pytest.mark.parametrize("on_unknown", ["raise", "", None])
async def test_invalid_on_unknown_is_rejected(client: VideoClient, on_unknown: str) -> None:
    with pytest.raises(ConfigurationError, match="on_unknown"):
        await client.rooms.create(name="Board", on_unknown=on_unknown)  # type: ignore[arg-type]


class TestResolve:
    async def lost(self, client: VideoClient, owner_ref: str | None = None) -> str:
        with pytest.raises(CreateOutcomeUnknown) as caught:
            await client.rooms.create(name="Board", owner_ref=owner_ref, on_unknown="strict")
        assert caught.value.reference is not None
        return caught.value.reference

    async def test_resolve_returns_the_room(self, client: VideoClient, sandbox: Sandbox) -> None:
        sandbox.fault("rooms.create", "drop_after", times=1)
        room = await client.rooms.resolve(await self.lost(client))

        assert room is not None
        assert room.room_id in sandbox.ledger.rooms

    async def test_resolve_returns_none_when_the_room_is_proven_absent(
        self, client: VideoClient, sandbox: Sandbox
    ) -> None:
        await client.rooms.create(name="control")
        sandbox.fault("rooms.create", "drop_before", times=1)

        assert await client.rooms.resolve(await self.lost(client)) is None
        assert posts(sandbox) == 2

    @pytest.mark.parametrize("fault", [503, "drop_before", "cut"])
    async def test_list_that_cannot_be_read_is_read_again_as_often_as_any(
        self, client: VideoClient, sandbox: Sandbox, fault: str | int
    ) -> None:
        await client.rooms.create(name="control")
        sandbox.fault("rooms.create", "drop_before")
        reference = await self.lost(client)
        sandbox.fault("rooms.list", fault, times=None)
        before = sandbox.ledger.requests("rooms.list")
        with pytest.raises(CreateOutcomeUnknown, match="could not be read"):
            await client.rooms.resolve(reference)
        # Once at first, and once after the settle time.
        assert sandbox.ledger.requests("rooms.list") - before == 2 * RetryPolicy().attempts

    @pytest.mark.parametrize(
        ("limits", "fault", "seconds"),
        [({"timeout": 0.3}, "delay", {"seconds": 0.8}), ({"retry": RetryPolicy(attempts=1)}, "drop_before", {})],
    )
    async def test_limits_of_one_caller_do_not_end_the_reading_of_another(
        self, client: VideoClient, sandbox: Sandbox, limits: dict[str, Any], fault: str, seconds: dict[str, float]
    ) -> None:
        room = await client.rooms.create(name="Board", reference=(reference := new_reference()))
        sandbox.fault("rooms.list", "delay", seconds=0.5, times=1)
        running = asyncio.create_task(client.rooms.resolve(reference))
        while not sandbox.ledger.requests("rooms.list"):
            await asyncio.sleep(0.01)
        sandbox.fault("rooms.list", fault, times=1 if fault == "drop_before" else None, **seconds)

        limited, other = await asyncio.gather(
            client.with_options(**limits).rooms.resolve(reference),
            client.rooms.resolve(reference),
            return_exceptions=True,
        )

        assert isinstance(limited, CreateOutcomeUnknown)
        assert isinstance(other, Room)
        assert other.room_id == room.room_id
        await running

    async def test_failed_reading_is_shared_by_callers_of_the_same_limits(
        self, client: VideoClient, sandbox: Sandbox
    ) -> None:
        await client.rooms.create(name="Board", reference=(reference := new_reference()))
        once = client.with_options(retry=RetryPolicy(attempts=1))
        sandbox.fault("rooms.list", "delay", seconds=0.5, times=1)
        running = asyncio.create_task(client.rooms.resolve(reference))
        while not sandbox.ledger.requests("rooms.list"):
            await asyncio.sleep(0.01)
        sandbox.fault("rooms.list", "drop_before", times=None)

        errors = await asyncio.gather(*(once.rooms.resolve(reference) for _ in range(20)), return_exceptions=True)

        assert {type(error) for error in errors} == {CreateOutcomeUnknown}
        await running
        assert sandbox.ledger.requests("rooms.list") == 2

    async def test_resolve_raises_and_creates_nothing_without_a_known_room(
        self, client: VideoClient, sandbox: Sandbox
    ) -> None:
        sandbox.fault("rooms.create", "drop_before", times=1)
        reference = await self.lost(client)

        with pytest.raises(CreateOutcomeUnknown, match="control=") as caught:
            await client.rooms.resolve(reference)

        assert caught.value.reference == reference
        assert posts(sandbox) == 1
        assert sandbox.ledger.rooms == {}

    @pytest.mark.parametrize("owner_ref", [None, "team-1"])
    async def test_another_process_resolves_with_control(
        self, client: VideoClient, sandbox: Sandbox, owner_ref: str | None
    ) -> None:
        control = await client.rooms.create(name="control", owner_ref=owner_ref)
        sandbox.fault("rooms.create", "drop_before", times=1)
        reference = await self.lost(client, owner_ref)

        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=0.3) as other:
            assert await other.rooms.resolve(reference, control=control.room_id) is None
            assert posts(sandbox) == 2

    async def test_known_room_with_another_location_proves_nothing(self, client: VideoClient, sandbox: Sandbox) -> None:
        control = await client.rooms.create(name="control")
        sandbox.fault("rooms.create", "drop_before", times=1)
        reference = await self.lost(client, "team-1")

        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=0.2) as other:
            with pytest.raises(CreateOutcomeUnknown):
                await other.rooms.resolve(reference, control=control)

    async def test_list_that_lacks_a_known_room_proves_nothing(self, client: VideoClient, sandbox: Sandbox) -> None:
        for number in range(3):
            await client.rooms.create(name=f"control {number}")
        sandbox.fault("rooms.create", "drop_before", times=1)
        reference = await self.lost(client)
        sandbox.set(list_cap=1)

        with pytest.raises(CreateOutcomeUnknown, match="does not show room"):
            await client.rooms.resolve(reference)

    async def test_known_room_deleted_elsewhere_does_not_block_resolve(
        self, client: VideoClient, sandbox: Sandbox
    ) -> None:
        await client.rooms.create(name="control")
        gone = await client.rooms.create(name="gone")
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as other:
            await other.rooms.delete(gone.room_id)
        sandbox.fault("rooms.create", "drop_before", times=1)

        assert await client.rooms.resolve(await self.lost(client)) is None

    async def test_resolve_does_not_rely_on_the_self_check_room_of_a_run(
        self, client: VideoClient, sandbox: Sandbox
    ) -> None:
        """It is deleted at the end of the run, before the settle time of this call has passed."""
        await client.rooms.create(name="known", owner_ref="mine")
        run = asyncio.create_task(client.rooms.create_many([RoomSpec("a", owner_ref="a", key="a")], job_id="job"))
        while posts(sandbox) < 2:
            await asyncio.sleep(0.01)
        reads = sandbox.ledger.requests("rooms.list")
        with pytest.raises(CreateOutcomeUnknown, match="no room is known that a complete list must show"):
            await client.rooms.resolve(new_reference())
        assert not run.done()
        assert sandbox.ledger.requests("rooms.list") - reads == 1
        assert (await run).counts["created"] == 1

    async def test_known_rooms_that_are_deleted_during_the_wait_are_named_as_the_reason(
        self, client: VideoClient, sandbox: Sandbox
    ) -> None:
        known = [await client.rooms.create(name="a"), await client.rooms.create(name="b", owner_ref="b")]
        resolving = asyncio.create_task(client.rooms.resolve(new_reference()))
        while not sandbox.ledger.requests("rooms.list"):
            await asyncio.sleep(0.01)
        for room in known:
            await client.rooms.delete(room.room_id)
        with pytest.raises(CreateOutcomeUnknown, match="were deleted during the wait"):
            await resolving

    @pytest.mark.parametrize("owner_ref", [None, "mine"])
    async def test_unsuitable_control_is_named_as_the_reason(
        self, client: VideoClient, sandbox: Sandbox, owner_ref: str | None
    ) -> None:
        other = None if owner_ref else "mine"
        sandbox.fault("rooms.create", "drop_before", times=1)
        reference = await self.lost(client, owner_ref)
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=0.3) as third:
            control = await third.rooms.create(name="control", owner_ref=other)
        with pytest.raises(CreateOutcomeUnknown) as caught:
            await client.rooms.resolve(reference, control=control.room_id)
        assert f"room {control.room_id}, which control= names, has its reference in" in str(caught.value)
        assert f"created {'with' if owner_ref else 'without'} an owner_ref of its own" in str(caught.value)

    async def test_one_session_control_is_named_as_the_reason(self, client: VideoClient, sandbox: Sandbox) -> None:
        room = await client.rooms.create(name="once", settings=RoomSettings.one_session(60))
        with pytest.raises(CreateOutcomeUnknown, match="is for one session, and disappears by itself"):
            await client.rooms.resolve(new_reference(), control=room)

    async def test_control_that_does_not_exist_is_named_as_the_reason(self, client: VideoClient) -> None:
        control = await client.rooms.create(name="control")
        await client.rooms.delete(control.room_id)
        missing = f"room {control.room_id}, which control= names, does not exist"
        with pytest.raises(CreateOutcomeUnknown, match=missing):
            await client.rooms.resolve(new_reference(), control=control.room_id)

    async def test_control_that_is_no_room_is_refused_before_anything_is_sent(
        self, client: VideoClient, sandbox: Sandbox
    ) -> None:
        with pytest.raises(ValidationError, match="control must be a room or its ID"):
            await client.rooms.resolve(new_reference(), control="")
        assert sandbox.ledger.requests() == 0

    @pytest.mark.parametrize("in_data", [False, True])
    async def test_control_with_an_owner_ref_of_its_own_serves_every_reference(
        self, client: VideoClient, sandbox: Sandbox, in_data: bool
    ) -> None:
        control = await client.rooms.create(name="control", owner_ref="mine")
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=0.2) as other:
            reference = with_location(new_reference(), in_data=in_data)
            assert await other.rooms.resolve(reference, control=control.room_id) is None

    async def test_timeout_ends_a_resolve_that_would_wait_for_proof(self, sandbox: Sandbox) -> None:
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=600) as client:
            await client.rooms.create(name="known")
            sandbox.fault("rooms.create", "drop_before", times=1)
            reference = await self.lost(client)
            with pytest.raises(CreateOutcomeUnknown, match=r"not 5 s \(timeout\)\. Ask again in 60\d s\.") as caught:
                await client.rooms.resolve(reference, timeout=5)
            assert caught.value.reference == reference
            sandbox.fault("rooms.list", "hang", times=1)
            with pytest.raises(CreateOutcomeUnknown, match=r"none was found within 0\.2 s \(timeout\)"):
                await client.rooms.resolve(reference, timeout=0.2)
            # The list was read; what does not respond is another request.
            sandbox.fault("rooms.get", "hang", times=1)
            with pytest.raises(CreateOutcomeUnknown, match=r"none was found within 0\.2 s \(timeout\)"):
                await client.rooms.resolve(reference, control="a" * 24, timeout=0.2)

    async def test_timeout_that_is_long_enough_changes_nothing(self, client: VideoClient, sandbox: Sandbox) -> None:
        await client.rooms.create(name="known")
        sandbox.fault("rooms.create", "drop_before", times=1)
        assert await client.rooms.resolve(await self.lost(client), timeout=20) is None

    @pytest.mark.parametrize("reference", ["", "team-42", "vx", None])
    async def test_invalid_reference_is_rejected(self, client: VideoClient, reference: str) -> None:
        with pytest.raises(ValidationError) as caught:
            await client.rooms.resolve(reference)
        assert caught.value.field == "reference"


def nested(levels: int) -> dict[str, Any]:
    return {} if levels == 1 else {"a": nested(levels - 1)}


async def test_data_that_could_not_be_read_again_is_refused(sandbox: Sandbox, client: VideoClient) -> None:
    deepest = nested(63)
    room = await client.rooms.create(name="deep", data=deepest)
    assert (await client.rooms.get(room.room_id)).data == deepest
    assert [listed.data async for listed in client.rooms.list()] == [deepest]
    itself: dict[str, Any] = {}
    itself["itself"] = itself
    for data in (nested(64), itself):
        with pytest.raises(ValidationError, match="too deeply"):
            await client.rooms.create(name="deeper", data=data)
        with pytest.raises(ValidationError, match="too deeply"):
            await client.rooms.update(room.room_id, data=data)
    with pytest.raises(ValidationError, match="too deeply"):
        await client.rooms.create(name="deeper", settings=RoomSettings(live_recording=itself))
    assert [room.name async for room in client.rooms.list()] == ["deep"]
