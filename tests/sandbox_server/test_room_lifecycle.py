"""Permanent, scheduled and ad-hoc rooms, with a clock that the tests advance."""

SCHEDULED = {"scheduled": True, "scheduled_time": "2026-03-10 14:00:00", "duration": 60}


async def test_permanent_room_ignores_its_duration(bare, clock):
    room_id = await bare.room(settings={"duration": "60"})
    bare.sandbox.leave(await bare.enter(room_id))
    clock.move(days=400)
    assert (await bare.token(room_id)).code == 0


async def test_scheduled_room_opens_fifteen_minutes_early(bare, clock):
    room_id = await bare.room(settings=SCHEDULED)
    clock.move(minutes=104)
    early = await bare.token(room_id)
    assert (early.status, early.code) == (403, 10113)
    clock.move(minutes=1)
    assert (await bare.token(room_id)).code == 0


async def test_scheduled_room_allows_sessions_until_its_end(bare, clock):
    room_id = await bare.room(settings=SCHEDULED)
    clock.move(minutes=120)
    bare.sandbox.leave(await bare.enter(room_id))
    clock.move(minutes=60)
    assert (await bare.token(room_id)).code == 0
    clock.move(seconds=1)
    assert (await bare.token(room_id)).code == 10112


async def test_running_session_may_continue_past_the_end(bare, clock):
    room_id = await bare.room(settings=SCHEDULED)
    clock.move(minutes=170)
    inside = await bare.enter(room_id)
    clock.move(minutes=60)
    assert (await bare.token(room_id)).code == 0
    bare.sandbox.leave(inside)
    assert (await bare.token(room_id)).code == 10112


async def test_adhoc_room_without_duration_is_deleted_after_one_session(bare, clock):
    room_id = await bare.room(settings={"adhoc": True})
    clock.move(days=9)
    bare.sandbox.leave(await bare.enter(room_id))
    assert (await bare.token(room_id)).code == 10111
    clock.move(minutes=1)
    assert (await bare.token(room_id)).code == 40001
    assert (await bare("GET", f"/rooms/{room_id}")).code == 40001
    assert room_id not in bare.sandbox.ledger.rooms


async def test_adhoc_room_with_duration_allows_sessions_until_its_end(bare, clock):
    room_id = await bare.room(settings={"adhoc": True, "duration": "30"})
    clock.move(days=9)
    bare.sandbox.leave(await bare.enter(room_id))
    clock.move(minutes=29)
    inside = await bare.enter(room_id)
    clock.move(minutes=10)
    assert (await bare("GET", f"/rooms/{room_id}")).code == 0
    bare.sandbox.leave(inside)
    assert (await bare("GET", f"/rooms/{room_id}")).code == 40001


async def test_single_adhoc_rule_ignores_the_duration(serve, clock):
    bare = await serve(clock=clock, adhoc_rule="single")
    room_id = await bare.room(settings={"adhoc": True, "duration": "30"})
    bare.sandbox.leave(await bare.enter(room_id))
    assert (await bare.token(room_id)).code == 10111
    clock.move(minutes=1)
    rooms = (await bare("GET", "/rooms")).json["rooms"]
    assert rooms == []


async def test_duration_without_limit_never_ends_a_room(bare, clock):
    forever = 10**14
    room_id = await bare.room(settings={"adhoc": True, "duration": forever})
    token = await bare.enter(room_id)
    bare.sandbox.leave(token)
    assert (await bare("GET", f"/rooms/{room_id}")).status == 200
    assert (await bare("GET", "/rooms")).status == 200
    scheduled = await bare.room(
        settings={"scheduled": True, "scheduled_time": "9999-12-31 23:59:59", "duration": str(forever)}
    )
    assert (await bare.token(scheduled)).code == 10113
    clock.move(days=3000)
    assert (await bare.token(room_id)).code == 0
