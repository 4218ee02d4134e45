"""The outcome of one input of a bulk run."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from videoapi.errors import VideoAPIError

Status = Literal["created", "deleted", "failed", "unknown", "not_sent"]


@attrs.frozen(kw_only=True)
class BulkOutcome:
    """The outcome of one input of a bulk run.

    Args:
        index: The input's position, from 0.
        key: The input's key as given, or None if it has none; for a delete, the room ID.
        spec: The input as given, so that you can run the failures again; None if the input succeeded.
        reference: The reference of a create; the room carries it if it exists.
        status: `created`, `deleted`, `failed` (definitely not done), `unknown` (may be done) or
            `not_sent`.
        room_id: ID of the room that was created or deleted, or that the token is for.
        token: The issued token; only `.value` reveals its text.
        error: The error of an input that did not succeed, or None.
        room: The created room, if the run keeps rooms.
        changed: Whether the room was created by an earlier run of the job, and its settings or data differ from
            the spec; the room was not updated.
    """

    index: int
    key: Any = None
    reference: str | None = None
    status: Status
    room_id: str | None = None
    token: Any = None
    error: VideoAPIError | None = None
    room: Any = None
    changed: bool = False
    spec: Any = attrs.field(default=None, repr=False)
