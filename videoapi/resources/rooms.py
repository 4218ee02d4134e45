"""`client.rooms`: create, read, change and delete rooms."""

from __future__ import annotations

import builtins
import secrets
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from videoapi.bulk import (
    GIVE_UP_AFTER,
    BulkOutcome,
    BulkReport,
    BulkRun,
    Item,
    Plan,
    Progress,
    single_attempt,
)
from videoapi.caller import Caller
from videoapi.errors import ValidationError
from videoapi.models.checks import check_room, check_room_id
from videoapi.models.codec import Reader, encode
from videoapi.models.people import Participant
from videoapi.models.rooms import Room, RoomSettings, RoomSpec, Sip
from videoapi.rules import routes
from videoapi.rules.references import DATA_KEY, reference_from, reference_in
from videoapi.rules.routes import Options, Request

if TYPE_CHECKING:
    from videoapi.streaming.records import RecordStream

_ROOM: Final[Reader[Room]] = Reader("room", Room)
_USERS: Final[Reader[Participant]] = Reader("users", Participant, many=True)

Settings = RoomSettings | Mapping[str, Any]


class Rooms:
    """Create, read, change and delete rooms."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def create(
        self,
        *,
        name: str,
        owner_ref: str | int | None = None,
        settings: Settings | None = None,
        sip: Sip | Mapping[str, Any] | bool | None = None,
        data: Mapping[str, Any] | None = None,
        validate: bool = True,
    ) -> Room:
        """Create one room; never sent again once the service may have made it.

        Args:
            name: The room's name.
            owner_ref: Your own reference, echoed in call records. Without one, a reference made here
                stands in it; with one, the reference stands in `data.videoapi_ref`.
            settings: `RoomSettings`, or a mapping with the names of the wire. Permanent by default.
            sip: Whether the room can be reached by telephone.
            data: Keys of your own, kept with the room.
            validate: False lets a white-label's own keys and values through unchecked.

        Returns:
            The room as the service made it.

        Raises:
            ValidationError: The service would refuse it; nothing was sent.
            CreateOutcomeUnknown: The room may exist; look for `reference` before creating again.
            RequestRejected, RateLimited, ConnectionFailed: It was certainly not made.

        Source: contract 4.2, 4.3.
        """
        spec = RoomSpec(name, owner_ref, settings, sip, data)
        return cast(Room, await self._caller.call(_create_request(spec, self._caller.options, validate)))

    async def get(self, room_id: str) -> Room:
        """Read one room.

        Raises:
            NotFound: There is none under this APP_ID, or it is gone.

        Source: contract 4.5.
        """
        room_id = check_room_id(room_id)
        request = Request(
            route=routes.GET_ROOM,
            path=routes.GET_ROOM.path(room_id),
            options=self._caller.options,
            reader=_ROOM,
            ours=lambda room: room.room_id == room_id,
        )
        return cast(Room, await self._caller.call(request))

    def list(self, *, extra: bool = False, strict: bool = False, timeout: float | None = None) -> RecordStream[Room]:
        """Stream all rooms of the project: the service's list is one body without pages.

        Args:
            extra: Keep unknown fields, to be read from `room.extra`.
            strict: Raise at a room that cannot be read, instead of putting it into `stream.rejected`.
            timeout: The whole stream's waiting for the service, in seconds; none by default.

        Returns:
            A stream: `async for room in client.rooms.list()`, also `.pages(n)` and `.to_list()`.

        Raises:
            ProtocolError: While iterating, where the list ends too early or is none.

        Source: contract 4.4.
        """
        request = Request(
            route=routes.LIST_ROOMS, path=routes.LIST_ROOMS.path(), options=self._caller.options, stream=True
        )
        from videoapi.streaming.records import room_list

        return room_list(self._caller, request, extra=extra, strict=strict, timeout=timeout)

    async def update(
        self,
        room_id: str,
        *,
        name: str | None = None,
        owner_ref: str | int | None = None,
        settings: Settings | None = None,
        sip: Sip | Mapping[str, Any] | bool | None = None,
        data: Mapping[str, Any] | None = None,
        validate: bool = True,
    ) -> None:
        """Change a room; what is not named stays. Takes effect for later sessions only.

        Args:
            room_id: As `create` returned it.
            name: A new name.
            owner_ref: A new reference of your own.
            settings: The settings to change. A room's kind and mode stay as they are.
            sip: Whether the room can be reached by telephone.
            data: New keys of your own.
            validate: False lets a white-label's own keys and values through unchecked.

        Raises:
            ValidationError: Nothing to change is named, or the service would refuse it.
            Conflict: A session is running.
            NotFound: There is no such room.

        Source: contract 4.6.
        """
        body = _changes(name, owner_ref, settings, sip, data)
        if validate:
            check_room(body, partial=True, allow=_own_keys(settings))
        request = Request(
            route=routes.UPDATE_ROOM,
            path=routes.UPDATE_ROOM.path(check_room_id(room_id)),
            options=self._caller.options,
            body=encode(body),
        )
        await self._caller.call(request)

    async def delete(self, room_id: str) -> None:
        """Delete a room in which no session is running.

        Raises:
            NotFound: There is no such room.
            ServerFault: The service refused; while a session is running it answers so (contract 4.7).

        Source: contract 4.7.
        """
        await self._caller.call(_delete_request(check_room_id(room_id), self._caller.options))

    async def users(self, room_id: str) -> builtins.list[Participant]:
        """Read who is in the room's session now; an idle room has an empty list.

        Raises:
            NotFound: There is no such room.

        Source: contract 4.8.
        """
        request = Request(
            route=routes.ROOM_USERS,
            path=routes.ROOM_USERS.path(check_room_id(room_id)),
            options=self._caller.options,
            reader=_USERS,
        )
        return cast("list[Participant]", await self._caller.call(request))

    async def create_many(
        self,
        specs: Iterable[RoomSpec] | AsyncIterable[RoomSpec],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        give_up_after: float = GIVE_UP_AFTER,
        progress: Progress | None = None,
        validate: bool = True,
        keep_rooms: bool = False,
    ) -> BulkReport:
        """Create many rooms at once, and report what every input became.

        Args:
            specs: Read lazily, one at a time as a place comes free.
            concurrency: Rooms in flight at once; by default 32, at most the pool's `max_connections`.
            timeout: The whole run, in seconds; what is in flight then still ends. None by default.
            give_up_after: Seconds without an answer after which a run of refusals ends.
            progress: Called with the report after each outcome.
            validate: False lets a white-label's own keys and values through unchecked.
            keep_rooms: Keep each room in its outcome's `room`; else only its id is kept.

        Returns:
            Counts, and a small row for every input, by index and key. One failure never loses the
            others; nothing whose fate is unknown is sent again.

        Raises:
            Exception: What the iterator of `specs` raised; it carries the report as `.report`.
        """
        run = self._create(
            specs,
            concurrency=concurrency,
            timeout=timeout,
            give_up_after=give_up_after,
            progress=progress,
            validate=validate,
            keep_rooms=keep_rooms,
            keep_all=True,
        )
        return await run.to_end()

    def create_each(
        self,
        specs: Iterable[RoomSpec] | AsyncIterable[RoomSpec],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        give_up_after: float = GIVE_UP_AFTER,
        progress: Progress | None = None,
        validate: bool = True,
    ) -> BulkRun[RoomSpec]:
        """Create many rooms at once, and hand out the outcomes as they finish.

        Flat in memory however many there are, but for the keys of the specs that have one. The
        arguments are those of `create_many`.

        Example:
            async with client.rooms.create_each(specs) as outcomes:
                async for outcome in outcomes:
                    ...
        """
        return self._create(
            specs,
            concurrency=concurrency,
            timeout=timeout,
            give_up_after=give_up_after,
            progress=progress,
            validate=validate,
            keep_rooms=True,
        )

    async def delete_many(
        self,
        room_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        give_up_after: float = GIVE_UP_AFTER,
        progress: Progress | None = None,
    ) -> BulkReport:
        """Delete many rooms at once, and report what every input became; as `create_many`."""
        run = self._delete(
            room_ids,
            concurrency=concurrency,
            timeout=timeout,
            give_up_after=give_up_after,
            progress=progress,
            keep_all=True,
        )
        return await run.to_end()

    def delete_each(
        self,
        room_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        give_up_after: float = GIVE_UP_AFTER,
        progress: Progress | None = None,
    ) -> BulkRun[str]:
        """Delete many rooms at once, and hand out the outcomes as they finish; as `create_each`."""
        return self._delete(
            room_ids,
            concurrency=concurrency,
            timeout=timeout,
            give_up_after=give_up_after,
            progress=progress,
        )

    def _create(
        self,
        specs: Iterable[RoomSpec] | AsyncIterable[RoomSpec],
        *,
        validate: bool,
        keep_rooms: bool,
        **limits: Any,
    ) -> BulkRun[RoomSpec]:
        options = single_attempt(self._caller.options)

        def prepare(index: int, spec: RoomSpec) -> Item:
            return Item(index=index, request=_create_request(spec, options, validate), key=_key_of(spec))

        def finish(item: Item, room: Room) -> BulkOutcome:
            return BulkOutcome(
                index=item.index,
                key=item.key,
                reference=item.request.reference,
                status="created",
                room_id=room.room_id,
                room=room if keep_rooms else None,
            )

        return BulkRun(self._caller, specs, Plan(prepare=prepare, key_of=_key_of, finish=finish), **limits)

    def _delete(self, room_ids: Iterable[str] | AsyncIterable[str], **limits: Any) -> BulkRun[str]:
        options = single_attempt(self._caller.options)

        def prepare(index: int, room_id: str) -> Item:
            room_id = check_room_id(room_id)
            return Item(index=index, request=_delete_request(room_id, options), key=room_id, room_id=room_id)

        def finish(item: Item, nothing: None) -> BulkOutcome:
            return BulkOutcome(index=item.index, key=item.key, status="deleted", room_id=item.room_id)

        return BulkRun(self._caller, room_ids, Plan(prepare=prepare, key_of=check_room_id, finish=finish), **limits)


def _create_request(spec: RoomSpec, options: Options, validate: bool) -> Request:
    if not isinstance(spec, RoomSpec):
        raise ValidationError(f"A room to be made is a RoomSpec, not {type(spec).__name__}.", field="spec")
    reference = reference_from(secrets.token_bytes(17))
    body = _stamped(spec.to_wire(), reference)
    if validate:
        check_room(body, allow=_own_keys(spec.settings))
    return Request(
        route=routes.CREATE_ROOM,
        path=routes.CREATE_ROOM.path(),
        options=options,
        body=encode(body),
        reader=_ROOM,
        ours=_answers(spec.name, reference),
        reference=reference,
    )


def _delete_request(room_id: str, options: Options) -> Request:
    return Request(route=routes.DELETE_ROOM, path=routes.DELETE_ROOM.path(room_id), options=options)


def _stamped(body: dict[str, Any], reference: str) -> dict[str, Any]:
    """Put the reference where it is echoed: into `owner_ref` where that is free, else into `data`."""
    if "owner_ref" not in body:
        return {**body, "owner_ref": reference}
    data = body.get("data", {})
    if not isinstance(data, Mapping):
        raise ValidationError("data must be a mapping.", field="data")
    return {**body, "data": {**data, DATA_KEY: reference}}


def _answers(name: str, reference: str) -> Callable[[Room], bool]:
    """Return the check whether a room is the one asked for, or plainly another's.

    A service that drops the reference, or a test's canned answer, is no stranger.
    """

    def is_ours(room: Room) -> bool:
        echoed = reference_in(room.owner_ref, room.data)
        if echoed is not None:
            return echoed == reference
        return room.name is None or room.name.strip().casefold() == str(name).strip().casefold()

    return is_ours


def _changes(
    name: str | None,
    owner_ref: str | int | None,
    settings: Settings | None,
    sip: Sip | Mapping[str, Any] | bool | None,
    data: Mapping[str, Any] | None,
) -> dict[str, Any]:
    named = {"name": name, "owner_ref": owner_ref, "settings": settings, "sip": sip, "data": data}
    body = RoomSpec(name or "", owner_ref, settings, sip, data).to_wire()
    body = {key: value for key, value in body.items() if named[key] is not None}
    if not body or body == {"settings": {}}:
        raise ValidationError("Nothing to change: name at least one of name, owner_ref, settings, sip, data.")
    return body


def _own_keys(settings: Settings | None) -> tuple[str, ...]:
    return tuple(settings.extra) if isinstance(settings, RoomSettings) else ()


def _key_of(spec: RoomSpec) -> Any:
    # Anything may stand among the inputs; what is no spec is refused as that input's outcome.
    return getattr(spec, "key", None)
