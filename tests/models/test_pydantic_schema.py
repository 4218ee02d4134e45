"""Models as FastAPI parameters and return values."""

import subprocess
import sys
from typing import Annotated

import pytest
from fastapi import Body, FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel, TypeAdapter, ValidationError

from videoapi.models.archives import Archive
from videoapi.models.cdr import CallRecord
from videoapi.models.dialin import DialIn
from videoapi.models.rooms import EffectiveSettings, Room, RoomSettings, Sip
from videoapi.models.tokens import Participant, Token

app = FastAPI()


@app.get("/room")
async def get_room() -> Room:
    return Room.from_dict({"room_id": "a", "settings": {"participants": "2", "own": 1}, "new": True})


@app.get("/rooms")
async def get_rooms() -> list[Room]:
    return [await get_room()]


@app.get("/token")
async def get_token() -> Token:
    return Token(value="text", room_id="a")


@app.post("/settings")
async def echo_settings(settings: Annotated[RoomSettings, Body()]) -> RoomSettings:
    return settings


@pytest.fixture
def client():
    with TestClient(app) as client:
        yield client


def test_route_returns_models_by_api_field_name(client):
    room = {"room_id": "a", "settings": {"participants": 2, "own": 1}, "new": True}
    assert client.get("/room").json() == room
    assert client.get("/rooms").json() == [room]
    assert client.get("/token").json() == {"token": "text", "room_id": "a"}


def test_route_accepts_models_and_rejects_invalid_bodies(client):
    settings = {"participants": "5", "knock": True, "description": None, "own": [1]}
    assert client.post("/settings", json=settings).json() == settings
    refused = client.post("/settings", json=[])
    assert refused.status_code == 422
    assert "Not a valid RoomSettings" in refused.text


def openapi_schema(model):
    described = FastAPI()
    described.add_api_route("/", lambda: None, response_model=model)
    return described.openapi()["paths"]["/"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]


def objects(schema):
    """Yield the schemas of all objects with properties, at any depth."""
    if "properties" in schema:
        yield schema
    lists = [schema["items"]] if "items" in schema else []
    for inner in [*schema.get("properties", {}).values(), *schema.get("anyOf", ()), *lists]:
        yield from objects(inner)


MODELS = [Room, RoomSettings, EffectiveSettings, Sip, Token, Participant, DialIn, CallRecord, Archive]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_openapi_shows_the_type_of_every_field(model):
    for found in objects(openapi_schema(model)):
        assert found["title"]
        assert found["description"]
        for name, field in found["properties"].items():
            assert "type" in field or "anyOf" in field, name


@pytest.mark.parametrize("model", MODELS[:-2], ids=lambda model: model.__name__)
def test_openapi_shows_the_description_of_every_field(model):
    for found in objects(openapi_schema(model)):
        assert all("description" in field for field in found["properties"].values())


def test_openapi_types_are_those_of_the_fields():
    room = openapi_schema(Room)
    settings = room["properties"]["settings"]["properties"]
    assert room["required"] == ["room_id"]
    assert room["properties"]["room_id"]["type"] == "string"
    assert settings["participants"]["type"] == "integer"
    assert settings["knock"]["type"] == "boolean"
    assert [kind["type"] for kind in settings["live_recording"]["anyOf"]] == ["object", "boolean"]
    assert [kind["type"] for kind in openapi_schema(RoomSettings)["properties"]["duration"]["anyOf"]] == [
        "integer",
        "string",
    ]
    assert openapi_schema(CallRecord)["properties"]["usage"]["properties"]["published_minutes"]["type"] == "number"
    assert openapi_schema(DialIn)["properties"]["dialin"]["items"]["properties"]["toll"]["type"] == "boolean"
    token = openapi_schema(Token)
    assert token["required"] == ["token"]
    assert "value" not in token["properties"]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_schema_is_valid_for_both_modes(model):
    assert TypeAdapter(model).json_schema(mode="serialization") == TypeAdapter(model).json_schema(mode="validation")


def test_models_work_as_fields_of_pydantic_models():
    class Answer(BaseModel):
        room: Room

    answer = Answer(room={"room_id": "a"})
    assert answer.room == Room.from_dict({"room_id": "a"})
    assert answer.model_dump_json() == '{"room":{"room_id":"a"}}'
    with pytest.raises(ValidationError, match="Not a valid Room"):
        Answer(room={})


def test_models_import_neither_pydantic_nor_cattrs_until_needed():
    program = (
        "import sys, videoapi.models.codec, videoapi.models.validation, videoapi.models.cdr as r\n"
        "videoapi.models.codec.RecordDecoder(r.CallRecord, extra=True).decode(b'{}').to_json()\n"
        "assert not {'pydantic', 'pydantic_core', 'cattrs', 'asyncio', 'aiohttp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
