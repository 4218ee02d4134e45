"""Models as FastAPI parameters and return values."""

import subprocess
import sys
from typing import Annotated

import pytest
from fastapi import Body, FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel, TypeAdapter, ValidationError

from videoapi.models.rooms import Room, RoomSettings
from videoapi.models.tokens import Token

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
    assert client.post("/settings", json={"participants": "5"}).json() == {"participants": 5}
    assert client.post("/settings", json=[]).status_code == 422


def test_openapi_schema_describes_models(client):
    schema = client.get("/openapi.json").json()
    response = schema["paths"]["/room"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert response["type"] == "object"
    assert response["properties"].keys() >= {"room_id", "settings"}
    assert TypeAdapter(Token).json_schema(mode="serialization")["properties"].keys() >= {"token"}


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
