"""The console's actions: faults, simulated conferences, clearing, and actions of other modules."""

import asyncio

import aiohttp
import attrs
import pytest

from videoapi.sandbox import KINDS, Ledger, Sandbox
from videoapi.sandbox.console import Action, Field


async def test_injected_fault_is_met_by_the_next_request(desk):
    status, answer = await desk.act("fault", route="rooms.list", kind="status", times=1, status=503)
    assert (status, answer) == (
        200,
        {"message": "status on rooms.list: responds with an HTTP status without executing"},
    )
    assert (await desk.call("GET", "/rooms"))["result"] == 503
    assert (await desk.call("GET", "/rooms"))["result"] == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_fault_can_be_injected(desk, kind):
    events = await desk.events()
    assert (await desk.act("fault", route="cdr.*", kind=kind, times=None, share=50))[0] == 200
    await events.until(lambda events: events.state["faults"]["rows"])
    (shown,) = events.state["faults"]["rows"]
    assert (shown["kind"], shown["left"], shown["share"]) == (kind, None, 0.5)


async def test_fields_that_a_kind_does_not_use_are_not_shown(desk):
    events = await desk.events()
    for kind in ("late_status", "drop_after", "delay"):
        await desk.act("fault", route="cdr.*", kind=kind, times=1, status=503, seconds=2)
    await events.until(lambda events: len(events.state["faults"]["rows"]) == 3)
    shown = {row["kind"]: (row["status"], row["seconds"]) for row in events.state["faults"]["rows"]}
    assert shown == {"late_status": (503, 2), "drop_after": (None, None), "delay": (None, 2)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "explode"}, "Fault: 'explode' is not one of status"),
        ({"route": "rooms.explode"}, "Route: 'rooms.explode' is not one of"),
        ({"route": None}, "Route: a value is missing"),
        ({"times": 0}, "Times: 0 is not an integer from 1"),
        ({"times": 1_000_001}, "Times: 1000001 is not an integer from 1 to 1000000"),
        ({"times": 1.5}, "Times: 1.5 is not an integer"),
        ({"times": True}, "Times: True is not an integer"),
        ({"times": "1"}, "Times: '1' is not an integer"),
        ({"status": 99}, "HTTP status: 99 is not an integer from 200 to 599"),
        ({"share": 101}, "Share in percent: 101 is not a number from 0 to 100"),
        ({"seconds": 3601}, "Seconds: 3601 is not a number from 0 to 3600"),
        ({"kind": "refuse", "seconds": 61}, "refuse lasts at most 60 s here"),
        ({"body": "x"}, "unknown fields: body"),
    ],
)
async def test_invalid_fault_is_refused_with_its_reason(desk, values, message):
    status, answer = await desk.act("fault", **{"route": "*", "kind": "status", "times": 1, **values})
    assert status == 400
    assert message in answer["error"]
    assert desk.sandbox._faults.active() == {}


async def test_refused_connections_are_shown_though_no_fault_is_left(desk):
    events = await desk.events()
    assert events.state["faults"]["refusing"] is False
    assert (await desk.act("fault", route="*", kind="refuse", times=1, seconds=60))[0] == 200
    await events.until(lambda events: events.state["faults"]["refusing"])
    assert events.state["faults"]["rows"] == []


async def test_one_fault_or_all_faults_are_cancelled(desk):
    events = await desk.events()
    for route in ("rooms.list", "rooms.get", "rooms.users"):
        await desk.act("fault", route=route, kind="status", times=None)
    await events.until(lambda events: len(events.state["faults"]["rows"]) == 3)
    number = events.state["faults"]["rows"][1]["number"]
    assert (await desk.act("cancel-fault", number=number))[0] == 200
    status, answer = await desk.act("cancel-fault", number=number)
    assert status == 400
    assert "is over or was cancelled" in answer["error"]
    await events.until(lambda events: len(events.state["faults"]["rows"]) == 2)
    assert {row["routes"] for row in events.state["faults"]["rows"]} == {"rooms.list", "rooms.users"}
    assert (await desk.act("cancel-faults"))[0] == 200
    await events.until(lambda events: not events.state["faults"]["rows"])
    assert (await desk.call("GET", "/rooms"))["result"] == 0


async def test_simulated_conference_runs_and_leaves_records(desk):
    room_id = await desk.room()
    assert (await desk.act("start-session", room_id=room_id, users=3, recorded=True))[0] == 200
    assert (await desk.call("GET", f"/rooms/{room_id}/users"))["total"] == 3
    status, answer = await desk.act("start-session", room_id=room_id, users=1)
    assert status == 400
    assert "already running" in answer["error"]
    assert (await desk.act("end-session", room_id=room_id))[0] == 200
    assert len((await desk.call("GET", f"/cdr/room/{room_id}"))["cdr"]) == 3
    assert len((await desk.call("GET", f"/archive/room/{room_id}"))["archive"]) == 1
    assert desk.sandbox.ledger.tokens == ()
    assert (await desk.act("end-session", room_id=room_id))[0] == 400


@pytest.mark.parametrize("strict", [True, False])
async def test_conference_without_a_room_gets_a_new_one(open_desk, strict):
    desk = await open_desk(strict=strict)
    assert (await desk.act("start-session", room_id=None, users=2))[0] == 200
    assert (await desk.act("conference", room_id=None, users=2, minutes=5, recorded=False))[0] == 200
    assert len(desk.sandbox.ledger.rooms) == 2
    assert desk.sandbox.ledger.duplicates() == {}


async def test_unknown_room_is_refused(desk):
    for action in ("start-session", "end-session"):
        values = {"users": 1} if action == "start-session" else {}
        assert (await desk.act(action, room_id="missing", **values))[0] == 400
    assert (await desk.act("explode"))[0] == 404


async def test_clearing_forgets_everything_but_generated_rooms_and_history(open_desk):
    desk = await open_desk(rooms=2, calls=10)
    events = await desk.events()
    room_id = await desk.room()
    generated = (await desk.call("GET", "/rooms"))["rooms"][0]["room_id"]
    await desk.call("DELETE", f"/rooms/{generated}")
    body = {"name": "Ann", "user_ref": "u", "role": "moderator"}
    token = (await desk.call("POST", f"/rooms/{room_id}/tokens", body))["token"]
    desk.sandbox.join(token)
    desk.sandbox.conference(room_id, recorded=True)
    desk.sandbox.fault("rooms.create", "late", seconds=60)
    with pytest.raises(aiohttp.ClientError):
        await desk.room()
    desk.sandbox.fault("*", "hang", times=None, after=1000)
    assert desk.sandbox.late == 1
    await events.until(lambda events: events.answered(5) and events.state["sessions"]["rows"])

    assert (await desk.act("clear"))[0] == 200
    await events.until(lambda events: events.state["log"]["forgotten"] == 5 and not events.state["sessions"]["rows"])
    ledger = desk.sandbox.ledger
    assert (ledger.entries, ledger.rooms, ledger.requests(), desk.sandbox.late) == ((), {}, 0, 0)
    assert len((await desk.call("GET", "/rooms"))["rooms"]) == 2
    assert len((await desk.call("GET", "/cdr/period/2000-01-01/2100-01-01"))["cdr"]) == 10
    assert events.state["faults"]["rows"] == []
    assert events.state["ledger"]["duplicates"] == 0
    assert await desk.room() != room_id
    await events.until(lambda events: events.answered(8))


async def test_cleared_state_file_is_empty(tmp_path):
    path = tmp_path / "state"
    async with Sandbox(state=path) as sandbox:
        login = {"Authorization": aiohttp.encode_basic_auth(sandbox.app_id, sandbox.app_key)}
        async with aiohttp.ClientSession(headers=login) as session:
            body = {"name": "n", "owner_ref": "o"}
            await (await session.post(f"{sandbox.base_url}/rooms", json=body)).read()
            sandbox.clear()
            assert Ledger.read(path).created == ()
            await (await session.post(f"{sandbox.base_url}/rooms", json=body)).read()
        assert [entry.seq for entry in Ledger.read(path).created] == [1]
        assert len(Ledger.read(path).rooms) == 1


async def test_action_of_another_module_is_offered_and_checked(desk):
    ran = []

    async def send(url: str, times: int) -> str:
        await asyncio.sleep(0)
        ran.append((url, times))
        return "sent"

    fields = (Field("url", "URL", required=True), Field("times", "Times", "number", default=1, whole=True))
    desk.sandbox._console.actions.add(Action("webhook", "Send a webhook", "Send", send, fields))
    events = await desk.events()
    offered = {action["name"]: action for action in events.hello["actions"]}
    assert offered["webhook"]["fields"][0]["label"] == "URL"
    assert await desk.act("webhook", url="http://127.0.0.1:1/", times=2) == (200, {"message": "sent"})
    assert (await desk.act("webhook", times=2))[0] == 400
    assert ran == [("http://127.0.0.1:1/", 2)]


async def test_action_that_fails_is_logged_and_reported(desk, caplog):
    def fail() -> str:
        raise ZeroDivisionError

    desk.sandbox._console.actions.add(Action("fail", "Fail", "Fail", fail))
    status, answer = await desk.act("fail")
    assert status == 500
    assert "logged" in answer["error"]
    assert "ZeroDivisionError" in caplog.text


def test_described_action_is_plain_data():
    field = Field("kind", "Kind", "choice", choices={"a": "first"})
    described = Action("name", "Title", "Go", lambda: "", (field,)).described()
    assert list(described["fields"]) == [attrs.asdict(field)]
    assert "run" not in described
