"""Nothing secret may leave through an error or the log, whatever the fault."""

from __future__ import annotations

import base64
import logging
import pickle
import traceback
from collections.abc import Iterator

import pytest
from support.clients import APP_ID, APP_KEY

from videoapi import VideoAPIError

_CANARIES = (APP_KEY, base64.b64encode(f"{APP_ID}:{APP_KEY}".encode()).decode())


@pytest.fixture(autouse=True)
def nothing_secret_leaves(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Look at every error that a test has raised, and at all that was logged at DEBUG."""
    raised: list[VideoAPIError] = []
    make = VideoAPIError.__init__

    def keep(self: VideoAPIError, *arguments: object, **facts: object) -> None:
        make(self, *arguments, **facts)  # type: ignore[arg-type]
        raised.append(self)

    monkeypatch.setattr(VideoAPIError, "__init__", keep)
    with caplog.at_level(logging.DEBUG):
        yield
    monkeypatch.undo()
    for error in raised:
        told = [
            str(error),
            repr(error),
            repr(pickle.dumps(error)),
            repr(vars(error)),
            *traceback.format_exception(error),
        ]
        for canary in _CANARIES:
            assert all(canary not in text for text in told), type(error).__name__
    assert all(canary not in caplog.text for canary in _CANARIES)
