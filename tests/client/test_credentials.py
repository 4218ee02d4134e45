"""Sources of credentials, and key rotation without a new client."""

from __future__ import annotations

import base64
import pickle

import pytest
from support.server import ROOM_ID, Link, Seen, answer, repeating, room, serve

from videoapi import (
    AuthenticationFailed,
    ConfigurationError,
    Credentials,
    CredentialsUnavailable,
    RetryPolicy,
    Secret,
    VideoClient,
)

EAGER = RetryPolicy(base=0)


def login(seen: Seen) -> str:
    return base64.b64decode(seen.headers["authorization"].removeprefix("Basic ")).decode()


async def test_credentials_and_base_url_default_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(repeating(answer(200, room()))) as server:
        monkeypatch.setenv("VIDEOAPI_APP_ID", "env-id")
        monkeypatch.setenv("VIDEOAPI_APP_KEY", "env-key")
        monkeypatch.setenv("VIDEOAPI_BASE_URL", server.base_url)
        async with VideoClient() as client:
            await client.rooms.get(ROOM_ID)
        async with VideoClient("id", "key") as client:
            await client.rooms.get(ROOM_ID)
        assert [login(seen) for seen in server.requests] == ["env-id:env-key", "id:key"]


@pytest.mark.parametrize("given", ["app_id", "app_key", None])
def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    for name in ("VIDEOAPI_APP_ID", "VIDEOAPI_APP_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError) as failed:
        VideoClient(**({given: "x"} if given else {}))  # type: ignore[arg-type]
    assert ("VIDEOAPI_APP_ID" in str(failed.value)) == (given != "app_id")
    assert ("VIDEOAPI_APP_KEY" in str(failed.value)) == (given != "app_key")


def test_default_base_url_is_the_public_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIDEOAPI_BASE_URL", raising=False)
    assert VideoClient("id", "key").base_url == "https://api.enablex.io/video/v2"


async def test_credentials_callable_is_called_for_each_attempt() -> None:
    async def script(link: Link) -> None:
        await link.request()
        link.answer(503 if link.number == 1 else 200, room())
        await link.gone()

    keys = iter(["old", "new"])
    async with serve(script) as server:
        client = VideoClient(credentials=lambda: ("id", next(keys)), base_url=server.base_url, retry=EAGER)
        async with client:
            await client.rooms.get(ROOM_ID)
        assert [login(seen) for seen in server.requests] == ["id:old", "id:new"]


async def test_credentials_callable_may_be_async_and_return_credentials() -> None:
    async def read() -> Credentials:
        return Credentials("id", "köy")

    async with serve(repeating(answer(200, room()))) as server:
        async with VideoClient(credentials=read, base_url=server.base_url) as client:
            await client.rooms.get(ROOM_ID)
        assert login(server.requests[0]) == "id:köy"


async def test_credentials_object_is_accepted() -> None:
    async with serve(repeating(answer(200, room()))) as server:
        async with VideoClient(credentials=Credentials("id", Secret("key")), base_url=server.base_url) as client:
            await client.rooms.get(ROOM_ID)
        assert login(server.requests[0]) == "id:key"


@pytest.mark.parametrize("returned", [None, "id:key", ("id",), ("id", "key", "x"), ["id", "key"], ("id", ""), (1, "k")])
async def test_invalid_value_from_credentials_callable_is_rejected(returned: object) -> None:
    async with serve(repeating(answer(200, room()))) as server:
        async with VideoClient(credentials=lambda: returned, base_url=server.base_url) as client:  # type: ignore[arg-type,return-value]
            with pytest.raises(ConfigurationError):
                await client.rooms.get(ROOM_ID)
            assert client._manager.pool.permits.free == client._manager.pool.max_connections
        assert server.accepted == 0


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_failing_credentials_callable_raises_credentials_unavailable(kind: str) -> None:
    broken = LookupError("the vault is shut")

    def fail() -> tuple[str, str]:
        raise broken

    async def fail_later() -> tuple[str, str]:
        raise broken

    source = fail if kind == "plain" else fail_later
    async with serve(repeating(answer(200, room()))) as server:
        async with VideoClient(credentials=source, base_url=server.base_url, retry=EAGER) as client:
            with pytest.raises(CredentialsUnavailable, match=r"LookupError\. Not sent\.") as failed:
                await client.rooms.get(ROOM_ID)
            assert client._manager.pool.permits.free == client._manager.pool.max_connections
        assert server.accepted == 0
    assert failed.value.__cause__ is broken
    # The text of another library's error may hold a secret.
    assert "vault" not in str(failed.value)
    assert failed.value.retryable
    assert not failed.value.may_have_executed
    assert (failed.value.method, failed.value.path) == ("GET", "/rooms/{room_id}")


@pytest.mark.parametrize(
    ("app_id", "app_key"), [("i:d", "key"), ("id", "k\r\ney"), ("id\n", "key"), ("id", "key\0"), ("\x7f", "key")]
)
def test_credentials_not_valid_in_http_basic_are_rejected(app_id: str, app_key: str) -> None:
    with pytest.raises(ConfigurationError) as failed:
        VideoClient(app_id, app_key)
    assert app_key not in str(failed.value)


def test_two_credential_sources_are_rejected() -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        VideoClient("id", "key", credentials=lambda: ("id", "key"))
    with pytest.raises(ConfigurationError, match="callable"):
        VideoClient(credentials=("id", "key"))  # type: ignore[arg-type]


async def test_wrong_key_is_not_retried() -> None:
    refusal = answer(401, {"result": 10000, "error": "[Reason] Application not found", "desc": ""})
    async with serve(repeating(refusal)) as server:
        async with VideoClient("id", "key", server.base_url, retry=EAGER) as client:
            with pytest.raises(AuthenticationFailed, match="APP_ID and APP_KEY") as failed:
                await client.rooms.get(ROOM_ID)
        assert len(server.requests) == 1
    assert (failed.value.status, failed.value.code, failed.value.group) == (401, 10000, 100)


def test_secret_is_only_visible_through_its_value() -> None:
    secret = Secret("hush")
    assert "hush" not in f"{secret} {secret!r} {secret:>10}" + str([secret]) + repr(Credentials("id", secret))
    assert secret.value == "hush"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
