"""The request that creates a room, with the reference by which the room can be found."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from videoapi.creation.references import (
    DATA_KEY,
    ENTROPY_BYTES,
    is_in_data,
    is_reference,
    reference_from,
    reference_in,
    self_check_reference,
    with_location,
)
from videoapi.errors import ValidationError
from videoapi.models.codec import ResponseDecoder, encode
from videoapi.models.rooms import Room, RoomSettings, RoomSpec
from videoapi.models.validation import check_room, check_start
from videoapi.protocol.routes import CREATE_ROOM, Options, Request

_LONGEST_LOOK: Final = 10.0
# Looked up at each use, so that `videoapi.testing.fixed_references` can replace it.
_random_bytes = os.urandom
ROOM: Final[ResponseDecoder[Room]] = ResponseDecoder("room", Room)


def new_reference() -> str:
    """Return a new random reference, for `rooms.create(reference=…)`."""
    return with_location(reference_from(_random_bytes(ENTROPY_BYTES)), in_data=False)


def new_self_check_reference(prefix: str) -> str:
    """Return a new reference of a self-check room."""
    return self_check_reference(prefix, _random_bytes(ENTROPY_BYTES))


def create_request(
    spec: RoomSpec, reference: str, options: Options, *, validate: bool = True, look: bool = False, exact: bool = False
) -> Request:
    """Return the request that creates a room with a reference.

    Args:
        spec: The room to create.
        reference: The reference of the create: in `owner_ref` if the spec leaves that unset, else in `data`.
        options: Limits of the call.
        validate: Whether to check the body as the service would.
        exact: Whether the reference is the caller's own, which is kept as it is; if it says that it is in
            `data`, it is put there too.
        look: Whether to reserve the end of the `timeout` (a quarter, at most 10 s) for looking up the room.

    Raises:
        ValidationError: If `spec` is not a valid `RoomSpec`, or the service would reject it.
    """
    if not isinstance(spec, RoomSpec):
        raise ValidationError(f"A room to create is a RoomSpec, not {type(spec).__name__}.", field="spec")
    in_data = spec.owner_ref is not None
    if exact:
        in_data = in_data or is_in_data(reference)
    else:
        reference = with_location(reference, in_data=in_data)
    body = spec.to_wire()
    if (validate or in_data) and "data" in body and type(body["data"]) is not dict:
        raise ValidationError("data must be a mapping.", field="data")
    _put_reference(body, reference, in_data)
    if validate:
        check_room(body, allow=spec.settings if isinstance(spec.settings, RoomSettings) else ())
    return Request(
        route=CREATE_ROOM,
        path=CREATE_ROOM.template,
        options=options,
        body=encode(body, is_plain=validate),
        decoder=ROOM,
        accepts=_matcher(spec.name, reference),
        reference=reference,
        reference_in_data=in_data,
        reserved_time=min(_LONGEST_LOOK, (options.timeout or CREATE_ROOM.timeout) / 4) if look else 0.0,
    )


def check_start_of(spec: RoomSpec) -> None:
    """Check, just before a room is created, that its start has not passed.

    Raises:
        ValidationError: If it has (10006).
    """
    settings = spec.settings
    if isinstance(settings, RoomSettings):
        # Most rooms are permanent: do not copy all of their settings.
        settings = settings.to_wire() if settings._sends("scheduled") else None
    if settings and settings.get("scheduled"):
        check_start(settings, datetime.now(UTC))


def _put_reference(body: dict[str, Any], reference: str, in_data: bool) -> None:
    body.setdefault("owner_ref", reference)
    data = body.get("data")
    if in_data:
        body["data"] = {**(data or {}), DATA_KEY: reference}
    elif type(data) is dict and is_reference(data.get(DATA_KEY)):
        # Copied from another room, whose reference it is.
        body["data"] = {key: value for key, value in data.items() if key != DATA_KEY}


def _matcher(name: str, reference: str) -> Callable[[Room], bool]:
    """Return the check whether a returned room is the requested one.

    A room without a reference passes by its name: a service, or a canned test response, may drop the reference.
    """

    def matches(room: Room) -> bool:
        if room.owner_ref == reference:
            return True
        echoed = reference_in(room.owner_ref, room.data)
        if echoed is not None:
            return echoed == reference
        return room.name is None or room.name.strip().casefold() == str(name).strip().casefold()

    return matches
