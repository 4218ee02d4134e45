"""The request for a room, with the reference by which its room is known."""

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
    """Return a reference that no other create has."""
    return reference_from(os.urandom(ENTROPY_BYTES))


def create_request(
    spec: RoomSpec, reference: str, options: Options, *, validate: bool = True, look: bool = False
) -> Request:
    """Return the request that makes a room which carries `reference`.

    Args:
        spec: What to make.
        reference: Its mark: in `owner_ref` where the spec leaves that free, else in `data`.
        options: Limits of the call.
        validate: Whether to check the body as the service would.
        look: Whether the end of the `timeout` is kept free for looking for the room.

    Raises:
        ValidationError: The service would refuse it.
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
    """Return the check whether a room is the one asked for, or plainly another's.

    A service that drops the reference, or a test's canned answer, is no stranger.
    """

    def is_ours(room: Room) -> bool:
        if room.owner_ref == reference:
            return True
        echoed = reference_in(room.owner_ref, room.data)
        if echoed is not None:
            return echoed == reference
        return room.name is None or room.name.strip().casefold() == str(name).strip().casefold()

    return is_ours
