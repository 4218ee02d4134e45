"""The sandbox serves the document at /openapi.json, next to the service."""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp
import pytest
from support.openapi_document import invalid
from support.openapi_json import source

from videoapi.sandbox import Sandbox


async def fetched(
    sandbox: Sandbox, method: str = "GET", path: str = "/openapi.json", **options: Any
) -> tuple[int, Any]:
    origin = sandbox.base_url.removesuffix("/video/v2")
    async with aiohttp.ClientSession() as session, session.request(method, origin + path, **options) as response:
        assert response.content_type == "application/json"
        return response.status, await response.json() if method != "HEAD" else None


def login(sandbox: Sandbox) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(sandbox.app_id, sandbox.app_key)}


async def test_document_needs_no_key_and_names_the_sandbox_as_its_only_server() -> None:
    async with Sandbox() as sandbox:
        status, document = await fetched(sandbox)
        urls = [server["url"] for server in document["servers"]]
        assert urls[0] == sandbox.base_url
        for url in urls:
            async with aiohttp.ClientSession(headers=login(sandbox)) as session, session.get(f"{url}/rooms") as rooms:
                assert rooms.status == 200
    assert status == 200
    assert len(urls) == 4
    assert {**document, "servers": None} == {**source(), "servers": None}
    assert invalid(document) == []


async def test_document_names_https_if_the_sandbox_serves_it() -> None:
    async with Sandbox(tls=True) as sandbox:
        context = ssl.create_default_context(cafile=sandbox.ca_file)
        _, document = await fetched(sandbox, ssl=context)
        assert document["servers"][0]["url"] == sandbox.base_url
        assert sandbox.base_url.startswith("https://")


async def test_servers_are_relative_if_the_sandbox_listens_on_every_address() -> None:
    async with Sandbox(host="0.0.0.0", allow_remote=True) as sandbox:
        _, document = await fetched(sandbox)
        assert [server["url"] for server in document["servers"]] == ["/video/v2", "/video/v1", "/v1", "/v2"]
        assert invalid(document) == []


async def test_document_contains_no_credentials() -> None:
    async with Sandbox() as sandbox:
        _, document = await fetched(sandbox)
        assert sandbox.app_id not in str(document)
        assert sandbox.app_key not in str(document)
        assert sandbox.recording_auth[1] not in str(document)


async def test_document_is_not_a_request_to_the_service() -> None:
    async with Sandbox(rate_limit=0) as sandbox:
        fault = sandbox.fault("*", 503, times=None)
        assert (await fetched(sandbox))[0] == 200
        assert (await fetched(sandbox, "HEAD"))[0] == 200
        assert fault.hits == 0
        assert sandbox.ledger.requests() == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/openapi.json"), ("GET", "/openapi.json/"), ("GET", "/openapi.yaml"), ("GET", "/video/v2/openapi.json")],
)
async def test_other_paths_and_methods_are_unknown_as_before(method: str, path: str) -> None:
    async with Sandbox() as sandbox:
        status, body = await fetched(sandbox, method, path, headers=login(sandbox))
        assert (status, body["result"]) == (404, 40001)
        assert (await fetched(sandbox, method, path))[0] == 401
