"""The repr of an object whose `__init__` raised, as a debugger or an error reporter sees it in the traceback."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

import videoapi
from videoapi import Credentials, RedisGate, RedisLeases, blocking, webhooks
from videoapi.models.rooms import Room
from videoapi.sandbox import Sandbox

CONSTRUCTORS: list[Callable[[], object]] = [
    lambda: videoapi.VideoClient("a:b", "key"),
    lambda: videoapi.VideoClient("a", "key", "ftp://x"),
    lambda: videoapi.VideoClient("a", "key", proxy="nonsense"),
    lambda: videoapi.VideoClient("a", "key", rate="nonsense"),
    lambda: videoapi.SessionManager(max_connections=0),
    lambda: videoapi.SessionManager(ca_file="missing.pem"),
    lambda: videoapi.SessionManager(clock=1),  # type: ignore[arg-type]
    lambda: blocking.VideoClient("a:b", "key"),
    lambda: blocking.SessionManager(max_connections=0),
    lambda: webhooks.Webhooks(("a:b", "key")),
    lambda: webhooks.Webhooks(("a", "b"), tries=0),
    lambda: Sandbox(strict="nonsense"),
    lambda: RedisLeases("redis://localhost:99999", "job"),
    lambda: RedisGate("redis://localhost:99999", processes=1),
    lambda: Credentials("a:b", "key"),
]


@pytest.mark.parametrize("make", CONSTRUCTORS)
def test_repr_works_while_the_constructor_raises(make: Callable[[], object]) -> None:
    with pytest.raises((videoapi.ConfigurationError, ValueError)) as caught:
        make()
    traceback = caught.value.__traceback__
    selves = []
    while traceback is not None:
        selves += [traceback.tb_frame.f_locals[name] for name in ("self",) if name in traceback.tb_frame.f_locals]
        traceback = traceback.tb_next
    assert selves
    for one in selves:
        # That of attrs needs all fields, whatever class it is.
        if not attrs.has(type(one)):
            assert repr(one)


def test_repr_of_a_model_without_fields_works() -> None:
    assert repr(Room.__new__(Room)) == "Room()"
