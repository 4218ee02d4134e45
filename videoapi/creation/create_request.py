"""The request that creates a room, with the reference by which the room can be found."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from videoapi.creation.references import DATA_KEY, ENTROPY_BYTES, reference_from, reference_in, with_location
from videoapi.errors import ValidationError
from videoapi.models.codec import ResponseDecoder, encode
from videoapi.models.rooms import Room, RoomSettings, RoomSpec
from videoapi.models.validation import check_room
from videoapi.protocol.routes import CREATE_ROOM, Options, Request

_LONGEST_LOOK: Final = 10.0
ROOM: Final[ResponseDecoder[Room]] = ResponseDecoder("room", Room)


def new_reference() -> str:
    """Return a new random reference."""
    return reference_from(os.urandom(ENTROPY_BYTES))


def create_request(
    spec: RoomSpec, reference: str, options: Options, *, validate: bool = True, look: bool = False
) -> Request:
    """Return the request that creates a room with a reference.

    Args:
        spec: The room to create.
        reference: The reference of the create: in `owner_ref` if the spec leaves that unset, else in `data`.
        options: Limits of the call.
        validate: Whether to check the body as the service would.
        look: Whether to reserve the end of the `timeout` (a quarter, at most 10 s) for looking up the room.

    Raises:
        ValidationError: If `spec` is not a valid `RoomSpec`, or the service would reject it.
    """
    if not isinstance(spec, RoomSpec):
        raise ValidationError(f"A room to be made is a RoomSpec, not {type(spec).__name__}.", field="spec")
    in_data = spec.owner_ref is not None
    reference = with_location(reference, in_data=in_data)
    body = _with_reference(spec.to_wire(), reference)
    if validate:
        check_room(body, allow=spec.settings if isinstance(spec.settings, RoomSettings) else ())
    return Request(
        route=CREATE_ROOM,
        path=CREATE_ROOM.template,
        options=options,
        body=encode(body),
        decoder=ROOM,
        accepts=_matcher(spec.name, reference),
        reference=reference,
        reference_in_data=in_data,
        reserved_time=min(_LONGEST_LOOK, (options.timeout or CREATE_ROOM.timeout) / 4) if look else 0.0,
    )


def _with_reference(body: dict[str, Any], reference: str) -> dict[str, Any]:
    if "owner_ref" not in body:
        body["owner_ref"] = reference
        return body
    data = body.get("data", {})
    if not isinstance(data, Mapping):
        raise ValidationError("data must be a mapping.", field="data")
    return {**body, "data": {**data, DATA_KEY: reference}}


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
