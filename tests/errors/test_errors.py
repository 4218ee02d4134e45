"""The exception tree, and pickling of each exception."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from videoapi import errors
from videoapi.errors import VideoAPIError

FACTS: dict[str, Any] = {
    "method": "POST",
    "path": "/rooms/{room_id}/tokens",
    "status": 403,
    "code": 10114,
    "group": 101,
    "error": "[Reason] Token Denied. Room is full.",
    "desc": "full",
    "request_id": "req_1",
    "attempts": 2,
    "retry_after": 1.5,
    "retryable": True,
    "may_have_executed": True,
    "cursor": "2026-03-01/64f0",
    "reference": "vx1",
}
OWN: dict[str, dict[str, Any]] = {
    "ValidationError": {"field": "settings.mode"},
    "DownloadFailed": {"reason": "changed", "received": 7},
    "TokenDenied": {"reason": "full"},
}


def tree(kind: type[VideoAPIError]) -> list[type[VideoAPIError]]:
    return [kind, *(error for child in kind.__subclasses__() for error in tree(child))]


ALL = [kind for kind in tree(VideoAPIError) if kind.__module__ == errors.__name__]


def test_error_tree() -> None:
    parents = {kind.__name__: kind.__bases__[0].__name__ for kind in ALL}
    below = ("AuthenticationFailed", "PermissionDenied", "NotFound", "Conflict", "RateLimited", "TokenDenied")
    assert parents == {
        "VideoAPIError": "Exception",
        "ConfigurationError": "VideoAPIError",
        "CredentialsUnavailable": "ConfigurationError",
        "ValidationError": "VideoAPIError",
        "ConnectionFailed": "VideoAPIError",
        "CallTimeout": "VideoAPIError",
        "ProtocolError": "VideoAPIError",
        "CreateOutcomeUnknown": "VideoAPIError",
        "DownloadFailed": "VideoAPIError",
        "LeaseLost": "VideoAPIError",
        "LeaseHeld": "VideoAPIError",
        "ResultError": "VideoAPIError",
        **dict.fromkeys((*below, "RequestRejected", "ServerFault"), "ResultError"),
    }


def test_errors_that_are_also_builtin_errors() -> None:
    assert issubclass(errors.CallTimeout, TimeoutError)
    assert issubclass(errors.ConfigurationError, ValueError)
    assert issubclass(errors.ValidationError, ValueError)
    with pytest.raises(TimeoutError, match="too late"):
        raise errors.CallTimeout("too late", attempts=1)


def same(error: VideoAPIError, other: VideoAPIError) -> bool:
    return type(error) is type(other) and vars(error) == vars(other) and str(error) == str(other)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_pickle_and_copy_keep_all_attributes(kind: type[VideoAPIError]) -> None:
    own = OWN.get(kind.__name__, {})
    error = kind("It did not work.", **FACTS, **own)
    for name, value in (FACTS | own).items():
        assert getattr(error, name) == value
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert same(pickle.loads(pickle.dumps(error, protocol)), error)
    assert same(copy.copy(error), error)
    assert same(copy.deepcopy(error), error)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_pickle_and_copy_keep_notes(kind: type[VideoAPIError]) -> None:
    error = kind("It did not work.")
    error.add_note("Reference vx1.")
    error.add_note("Row 7 of rooms.csv.")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert other.__notes__ == ["Reference vx1.", "Row 7 of rooms.csv."]
        assert same(other, error)
    # A note on the copy is not a note on the original.
    copy.copy(error).add_note("third")
    assert len(error.__notes__) == 2


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_error_defaults_are_empty(kind: type[VideoAPIError]) -> None:
    error = kind()
    assert str(error) == ""
    assert (error.attempts, error.retryable, error.may_have_executed) == (0, False, False)
    assert {getattr(error, name) for name in FACTS} <= {None, 0}
    assert same(pickle.loads(pickle.dumps(error)), error)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_str_of_an_error_is_its_message(kind: type[VideoAPIError]) -> None:
    error = kind("It did not work.", **FACTS)
    assert str(error) == error.message == "It did not work."
    assert repr(error) == f"{kind.__name__}('It did not work.')"
    assert error.args == ("It did not work.",)


def test_every_error_has_its_own_docstring() -> None:
    for kind in ALL:
        assert kind.__doc__ is not VideoAPIError.__doc__ or kind is VideoAPIError
        assert kind.__doc__
