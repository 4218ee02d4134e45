"""Authentication and its error responses."""

import aiohttp
import pytest


async def test_missing_credentials_return_401_application_not_found(bare):
    reply = await bare("GET", "/rooms", headers={"Authorization": ""})
    assert reply.status == 401
    assert reply.json == {"result": 10000, "error": "[Reason] Application not found", "desc": ""}


@pytest.mark.parametrize(
    "header",
    ["Bearer abc", "Basic", "Basic !!!", aiohttp.encode_basic_auth("someone", "else")],
)
async def test_wrong_credentials_execute_nothing(bare, header):
    body = {"name": "x", "owner_ref": "y"}
    reply = await bare("POST", "/rooms", body, headers={"Authorization": header})
    assert (reply.status, bare.sandbox.ledger.count("*")) == (401, 0)
    assert bare.sandbox.ledger.requests("rooms.create") == 1


async def test_wrong_key_is_rejected(bare):
    wrong = aiohttp.encode_basic_auth(bare.sandbox.app_id, bare.sandbox.app_key.swapcase())
    assert (await bare("GET", "/rooms", headers={"Authorization": wrong})).status == 401


async def test_auth_scheme_is_case_insensitive(bare):
    right = aiohttp.encode_basic_auth(bare.sandbox.app_id, bare.sandbox.app_key)
    assert (await bare("GET", "/rooms", headers={"Authorization": right.replace("Basic", "basic")})).status == 200


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("sms", {"result": "1", "details": "Authentication failed", "desc": "Authentication failed"}),
        ("empty", None),
    ],
)
async def test_auth_failure_body_follows_the_switch(serve, kind, body):
    bare = await serve(auth_failure_body=kind)
    reply = await bare("GET", "/rooms", headers={"Authorization": ""})
    assert reply.status == 401
    assert (reply.json if body else reply.body) == (body or b"")


async def test_named_error_envelope_has_a_request_id(serve):
    bare = await serve(auth_failure_body="status")
    reply = await bare("GET", "/rooms", headers={"Authorization": ""})
    assert reply.json["error_code"] == "UNAUTHORIZED"
    assert reply.json["request_id"].startswith("req_")


async def test_credentials_are_generated_by_default(serve):
    one, other = await serve(), await serve()
    assert len(one.sandbox.app_id) == 24
    assert len(one.sandbox.app_key) == 36
    assert one.sandbox.app_key != other.sandbox.app_key
