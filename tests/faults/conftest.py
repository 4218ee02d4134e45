"""No fault may leak a secret through an error or the log."""

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
def no_secret_leaks(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Search every error that the test raised, and the log at DEBUG, for secrets."""
    raised: list[VideoAPIError] = []
    original = VideoAPIError.__init__

    def record(self: VideoAPIError, *arguments: object, **facts: object) -> None:
        original(self, *arguments, **facts)  # type: ignore[arg-type]
        raised.append(self)

    monkeypatch.setattr(VideoAPIError, "__init__", record)
    with caplog.at_level(logging.DEBUG):
        yield
    monkeypatch.undo()
    for error in raised:
        texts = [
            str(error),
            repr(error),
            repr(pickle.dumps(error)),
            repr(vars(error)),
            *traceback.format_exception(error),
        ]
        for canary in _CANARIES:
            assert all(canary not in text for text in texts), type(error).__name__
    assert all(canary not in caplog.text for canary in _CANARIES)
