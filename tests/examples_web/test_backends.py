"""Each web backend of examples/ as a process of its own, used by a browser, against a sandbox.

The process must end on SIGTERM, write no traceback and keep the secrets to itself: see `conftest.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from support.programs import ENDED, WEBHOOK_AUTH, Backend, environment, free_port

from videoapi.sandbox import Sandbox

UVICORN = ("-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}")
BACKENDS = {
    "fastapi_backend.py": (*UVICORN, "fastapi_backend:app"),
    "django_backend.py": (*UVICORN, "django_backend:application"),
    "aiohttp_backend.py": ("-m", "aiohttp_backend"),
    "flask_backend.py": ("-m", "flask_backend"),
}
UNKNOWN = "0" * 24

pytestmark = pytest.mark.slow


@pytest.fixture(params=BACKENDS.values(), ids=BACKENDS)
def browser(request: pytest.FixtureRequest, serve: Callable[..., Backend]) -> httpx.Client:
    return serve(*request.param).browser


def join(browser: httpx.Client, room_id: str, name: str = "Ann") -> httpx.Response:
    return browser.post(f"/meetings/{room_id}/join", params={"name": name})


def test_backend_serves_rooms_and_tokens_and_maps_errors(browser: httpx.Client, sandbox: Sandbox) -> None:
    room_id = browser.post("/meetings").raise_for_status().json()["room_id"]
    assert list(sandbox.ledger.rooms) == [room_id]
    with ThreadPoolExecutor(4) as users:
        tokens = [reply.json()["token"] for reply in users.map(lambda n: join(browser, room_id, f"User {n}"), range(8))]
    assert len({sandbox.join(token) for token in tokens}) == 1
    # One client with one pool, not one per request.
    assert sandbox.ledger.connections <= 4

    refusals = {"unknown": join(browser, UNKNOWN), "nameless": join(browser, room_id, "")}
    sandbox.fault("tokens.create", "status", status=403, code=10114)
    refusals["full"] = join(browser, room_id)
    sandbox.fault("tokens.create", "status", status=409, code=10030)
    refusals["conflict"] = join(browser, room_id)
    sandbox.fault("tokens.create", "expired")
    refusals["expired"] = join(browser, room_id)
    sandbox.fault("rooms.create", "drop_after")
    lost_list = sandbox.fault("rooms.list", 503, times=None)
    refusals["lost"] = browser.post("/meetings")
    lost_list.cancel()
    assert join(browser, room_id).status_code == 200
    # Last, because it pauses the account.
    sandbox.fault("rooms.create", "throttle", times=None, retry_after=30)
    refusals["throttled"] = browser.post("/meetings")

    assert {name: (reply.status_code, reply.json()["error"]) for name, reply in refusals.items()} == {
        "unknown": (404, "NotFound"),
        "nameless": (422, "ValidationError"),
        "full": (409, "TokenDenied"),
        "conflict": (409, "Conflict"),
        "expired": (502, "AuthenticationFailed"),
        "lost": (504, "CreateOutcomeUnknown"),
        "throttled": (503, "RateLimited"),
    }
    assert refusals["full"].json()["reason"] == "full"
    assert refusals["lost"].json()["reference"] == sandbox.ledger.created[1].reference
    assert 20 <= int(refusals["throttled"].headers["Retry-After"]) <= 30


def test_backend_refuses_what_a_browser_must_not_send(browser: httpx.Client, sandbox: Sandbox) -> None:
    # A link or a prefetch must not create a room.
    assert browser.get("/meetings").status_code == 405
    assert browser.get(f"/meetings/{UNKNOWN}/join", params={"name": "Ann"}).status_code == 405
    assert browser.post(f"/meetings/{UNKNOWN}/join").status_code in (400, 422)
    assert sandbox.ledger.requests() == 0


def test_fastapi_backend_receives_webhooks_and_reads_the_records(
    sandbox: Sandbox, serve: Callable[..., Backend]
) -> None:
    backend = serve(*BACKENDS["fastapi_backend.py"])
    room_id = backend.browser.post("/meetings").json()["room_id"]
    conf_num = sandbox.conference(room_id, users=3)
    event = {"type": "roomdrop", "trans_date": "1769853600", "app_id": sandbox.app_id, "room_id": room_id}
    body = json.dumps({**event, "conf_num": conf_num})
    # The content type is not that of JSON.
    sent = [backend.browser.post("/hooks/", content=body, auth=auth) for auth in (None, WEBHOOK_AUTH, WEBHOOK_AUTH)]
    assert [reply.status_code for reply in sent] == [401, 200, 200]
    # What was accepted is handled before the process ends, and a repeated delivery once.
    assert backend.program.stop() in ENDED
    assert backend.program.output.count(f"{conf_num} has ended: 3 users") == 1


def test_django_backend_names_the_missing_variable_and_does_not_start(sandbox: Sandbox, tmp_path: Path) -> None:
    command = [sys.executable, *(part.format(port=free_port()) for part in BACKENDS["django_backend.py"])]
    variables = {name: value for name, value in environment(sandbox).items() if name != "VIDEOAPI_APP_ID"}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "No credentials: give app_id= or VIDEOAPI_APP_ID" in done.stderr
    assert "unsupported" not in done.stderr
