"""`client.rooms`: create, read, update and delete rooms."""

from __future__ import annotations

import builtins
import os
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, Final, Literal, cast

from videoapi.bulk import (
    GIVE_UP_AFTER,
    BulkItem,
    BulkOutcome,
    BulkProgress,
    BulkReport,
    BulkRun,
    Plan,
    key_of,
    single_attempt,
)
from videoapi.bulk.create_job import CreateJob, JobOptions
from videoapi.creation.create_request import create_request, new_reference
from videoapi.creation.creator import Creator, OnUnknown
from videoapi.creation.references import is_reference, references_for
from videoapi.creation.scan import get_room
from videoapi.errors import ConfigurationError, ValidationError, VideoAPIError
from videoapi.models.codec import ResponseDecoder, encode
from videoapi.models.rooms import Room, RoomSettings, RoomSpec, Sip
from videoapi.models.tokens import Participant
from videoapi.models.validation import check_room, check_room_id
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol import routes
from videoapi.protocol.routes import Options, Request
from videoapi.streaming import RecordStream

USERS: Final[ResponseDecoder[Participant]] = ResponseDecoder("users", Participant, many=True)

Settings = RoomSettings | Mapping[str, Any]


class Rooms:
    """The project's rooms."""

    def __init__(self, pipeline: Pipeline, creator: Creator) -> None:
        self._pipeline = pipeline
        self._creator = creator

    async def create(
        self,
        *,
        name: str,
        owner_ref: str | int | None = None,
        settings: Settings | None = None,
        sip: Sip | Mapping[str, Any] | bool | None = None,
        data: Mapping[str, Any] | None = None,
        validate: bool = True,
        on_unknown: OnUnknown = "look",
        reference: str | None = None,
    ) -> Room:
        """Create a room at most once.

        Args:
            name: The room's name.
            owner_ref: Your own reference, echoed in call records. If it is omitted, the client stores a
                generated reference there, otherwise in `data.videoapi_ref`.
            settings: `RoomSettings`, or a mapping of API field names. The room is permanent by default.
            sip: Whether the room can be joined by telephone.
            data: Your own keys, stored with the room.
            validate: False skips client-side validation, for a white-label's own keys and values.
            on_unknown: What to do if the outcome is unknown. `look` polls for the room in the last
                quarter of the `timeout`, at most 10 s, and never resends. `resend` waits for proof, and
                resends, at most twice, if the room is proven absent; the default `timeout` is extended
                by these waits. `strict` does neither.
            reference: A reference of your own making, from `new_reference()` or `reference_for(job_id, key)`,
                so that `resolve(reference)` works after any ending, a cancellation included.

        Returns:
            The created room.

        Raises:
            ValidationError: If the service would reject the room; nothing was sent.
            CreateOutcomeUnknown: If the room may exist; call `resolve(error.reference)` to find out.
            RequestRejected, RateLimited, ConnectionFailed: If the room was definitely not created.

        Source: docs/contract.md 4.2, 4.3.
        """
        _one_of("on_unknown", on_unknown, ("look", "resend", "strict"))
        if reference is not None and not is_reference(reference):
            raise ValidationError("reference must come from new_reference() or reference_for().", field="reference")
        used = reference or new_reference()
        look, exact = on_unknown == "look", reference is not None
        try:
            spec = RoomSpec(name, owner_ref, settings, sip, data)
            request = create_request(spec, used, self._pipeline.options, validate=validate, look=look, exact=exact)
            return await self._creator.create(self._pipeline, request, on_unknown)
        except VideoAPIError as error:
            error.reference = error.reference or used
            raise

    async def resolve(self, reference: str, *, control: str | Room | None = None) -> Room | None:
        """Look up the room of a create with unknown outcome. Never creates a room.

        A listed room is immediate proof. A missing one is proof only if the list was read at least one
        settle time after the create was sent (or after this client was first used, if another process
        sent it) and shows a known room: one that this client created, or `control`.

        Args:
            reference: `CreateOutcomeUnknown.reference`, or the `reference` of a bulk outcome.
            control: An existing room that this library created, or its ID.

        Returns:
            The room, or None if it provably does not exist and never will.

        Raises:
            CreateOutcomeUnknown: If there is still no proof; the message says what is missing.
            ValidationError: If `reference` or `control` is invalid.
        """
        return await self._creator.resolve(self._pipeline, reference, control)

    async def get(self, room_id: str) -> Room:
        """Return one room.

        Raises:
            NotFound: If the room does not exist under this APP_ID, or no longer exists.

        Source: docs/contract.md 4.5.
        """
        return cast(Room, await self._pipeline.run(get_room(self._pipeline, check_room_id(room_id))))

    def list(self, *, extra: bool = False, strict: bool = False, timeout: float | None = None) -> RecordStream[Room]:
        """Stream all rooms of the project. The service returns them in one response without pages.

        Args:
            extra: Whether to keep unknown fields, for `room.extra`.
            strict: Whether to raise on a room that cannot be parsed, instead of adding it to `stream.rejected`.
            timeout: Total seconds to wait for the service; none by default.

        Returns:
            A stream: `async for room in client.rooms.list()`, also `.pages(n)` and `.to_list()`.

        Raises:
            ConnectionFailed: While iterating, if the list ends too early, even after retries.
            ProtocolError: While iterating, if the response is not a list, or (`strict`) a room cannot be parsed.

        Source: docs/contract.md 4.4.
        """
        request = Request(
            route=routes.LIST_ROOMS, path=routes.LIST_ROOMS.path(), options=self._pipeline.options, stream=True
        )
        from videoapi.streaming.records import room_list

        return room_list(self._pipeline, request, extra=extra, strict=strict, timeout=timeout)

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
        """Update a room; omitted fields are unchanged. Takes effect for later sessions only.

        Args:
            room_id: The ID returned by `create`.
            name: A new name.
            owner_ref: A new reference of your own.
            settings: The settings to change. A room's kind and mode cannot be changed.
            sip: Whether the room can be joined by telephone.
            data: Your own new keys.
            validate: False skips client-side validation, for a white-label's own keys and values.

        Raises:
            ValidationError: If nothing is to be changed, or the service would reject the change.
            Conflict: If a session is running.
            NotFound: If the room does not exist.

        Source: docs/contract.md 4.6.
        """
        body = _changes(name, owner_ref, settings, sip, data)
        if validate:
            check_room(body, partial=True, allow=settings if isinstance(settings, RoomSettings) else ())
        request = Request(
            route=routes.UPDATE_ROOM,
            path=routes.UPDATE_ROOM.path(check_room_id(room_id)),
            options=self._pipeline.options,
            body=encode(body),
        )
        await self._pipeline.run(request)

    async def delete(self, room_id: str) -> None:
        """Delete a room that has no running session.

        Raises:
            NotFound: If the room does not exist.
            ServerFault: If the service refuses, as it does while a session is running (contract 4.7).

        Source: docs/contract.md 4.7.
        """
        await self._pipeline.run(_delete_request(check_room_id(room_id), self._pipeline.options))
        self._creator.controls.forget(room_id)

    async def users(self, room_id: str) -> builtins.list[Participant]:
        """Return the current participants of the room's session; an idle room has an empty list.

        Raises:
            NotFound: If the room does not exist.

        Source: docs/contract.md 4.8.
        """
        request = Request(
            route=routes.ROOM_USERS,
            path=routes.ROOM_USERS.path(check_room_id(room_id)),
            options=self._pipeline.options,
            decoder=USERS,
        )
        return cast("list[Participant]", await self._pipeline.run(request))

    async def create_many(
        self,
        specs: Iterable[RoomSpec] | AsyncIterable[RoomSpec],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        give_up_after: float = GIVE_UP_AFTER,
        progress: BulkProgress | None = None,
        validate: bool = True,
        keep_rooms: bool = False,
        job_id: str | None = None,
        journal: str | os.PathLike[str] | None = None,
        on_unknown: Literal["resend", "strict"] = "resend",
        dedupe: Literal["report", "delete"] = "report",
        audit: bool = True,
    ) -> BulkReport:
        """Create many rooms concurrently, each at most once, and report one outcome per input.

        Args:
            specs: The rooms to create; read lazily, as slots free up.
            concurrency: Rooms in flight at once; by default 32, at most the pool's `max_connections`.
            timeout: Limit for the whole run, in seconds; requests in flight still finish. None by default.
            give_up_after: Seconds after which the run stops if the service is unreachable or only throttles.
            progress: Called with the report after each outcome.
            validate: False skips client-side validation, for a white-label's own keys and values.
            keep_rooms: Whether to keep each room in its outcome's `room`; otherwise only its ID is kept.
            job_id: Name of the job. A run with the same ID resumes where an earlier one stopped, even after
                a crash: the room list shows what is done. References derive from it and from each spec's
                key, or its position if it has none. Without a journal, such a run first waits one settle time.
            journal: An SQLite file in which the job records what it is about to send, so that only requests
                in flight have to be looked up. Requires `job_id`.
            on_unknown: `resend` settles unknown outcomes at the end of the run: it waits one settle time,
                reads the list of rooms, and resends, at most twice, what is proven absent. `strict` never
                resends.
            dedupe: Whether the audit deletes surplus rooms (`delete`) or only reports them (`report`).
            audit: Whether to read the list of rooms again at the end, to report `duplicates` and
                `missing` rooms.

        Returns:
            Counts, and a small row per input, by index and key. A failed input does not affect others.

        Raises:
            Exception: If the iterator of `specs` raises; the error carries the report as `.report`.
        """
        run = self._create(
            specs,
            concurrency=concurrency,
            timeout=timeout,
            give_up_after=give_up_after,
            progress=progress,
            validate=validate,
            job=_job_options(job_id, journal, on_unknown, dedupe, audit, keep_rooms, keep_all=True),
        )
        return await run.run_to_completion()

    def create_each(
        self,
        specs: Iterable[RoomSpec] | AsyncIterable[RoomSpec],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        give_up_after: float = GIVE_UP_AFTER,
        progress: BulkProgress | None = None,
        validate: bool = True,
        job_id: str | None = None,
        journal: str | os.PathLike[str] | None = None,
        on_unknown: Literal["resend", "strict"] = "resend",
        dedupe: Literal["report", "delete"] = "report",
        audit: bool = True,
    ) -> BulkRun[RoomSpec]:
        """Create many rooms concurrently, and yield the outcomes as they finish.

        Memory use is constant, apart from the keys of specs that have one. Unknown outcomes come last,
        once they are settled. The arguments are those of `create_many`; the audit looks only for rooms
        whose outcome was unknown at some point, unless surplus rooms are to be deleted.

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
            job=_job_options(job_id, journal, on_unknown, dedupe, audit, keep_rooms=True, keep_all=False),
        )

    async def delete_many(
        self,
        room_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        give_up_after: float = GIVE_UP_AFTER,
        progress: BulkProgress | None = None,
    ) -> BulkReport:
        """Delete many rooms concurrently, and report one outcome per input; see `create_many`."""
        run = self._delete(
            room_ids,
            concurrency=concurrency,
            timeout=timeout,
            give_up_after=give_up_after,
            progress=progress,
            keep_all=True,
        )
        return await run.run_to_completion()

    def delete_each(
        self,
        room_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        give_up_after: float = GIVE_UP_AFTER,
        progress: BulkProgress | None = None,
    ) -> BulkRun[str]:
        """Delete many rooms concurrently, and yield the outcomes as they finish; see `create_each`."""
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
        job: JobOptions,
        **limits: Any,
    ) -> BulkRun[RoomSpec]:
        options = single_attempt(self._pipeline.options)

        reference_of = references_for(job.job_id)

        def prepare(index: int, spec: RoomSpec, key: Any) -> BulkItem:
            # The leading NUL keeps generated keys distinct from the caller's keys, which should not have one.
            reference = reference_of(f"\0{index}" if key is None else str(key))
            return BulkItem(index=index, request=create_request(spec, reference, options, validate=validate), key=key)

        def finish(item: BulkItem, room: Room) -> BulkOutcome:
            return BulkOutcome(
                index=item.index,
                key=item.key,
                reference=item.request.reference,
                status="created",
                room_id=room.room_id,
                room=room if job.keep_rooms else None,
            )

        return BulkRun(
            self._pipeline,
            specs,
            Plan(prepare=prepare, key_of=key_of, finish=finish),
            keep_all=job.keep_all,
            job=CreateJob(self._creator, self._pipeline, job),
            **limits,
        )

    def _delete(self, room_ids: Iterable[str] | AsyncIterable[str], **limits: Any) -> BulkRun[str]:
        options = single_attempt(self._pipeline.options)

        def prepare(index: int, given: str, room_id: Any) -> BulkItem:
            return BulkItem(index=index, request=_delete_request(room_id, options), key=room_id, room_id=room_id)

        def finish(item: BulkItem, nothing: None) -> BulkOutcome:
            self._creator.controls.forget(item.room_id or "")
            return BulkOutcome(index=item.index, key=item.key, status="deleted", room_id=item.room_id)

        return BulkRun(self._pipeline, room_ids, Plan(prepare=prepare, key_of=check_room_id, finish=finish), **limits)


def _delete_request(room_id: str, options: Options) -> Request:
    return Request(route=routes.DELETE_ROOM, path=routes.DELETE_ROOM.path(room_id), options=options)


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


def _job_options(
    job_id: str | None,
    journal: str | os.PathLike[str] | None,
    on_unknown: str,
    dedupe: str,
    audit: bool,
    keep_rooms: bool,
    keep_all: bool,
) -> JobOptions:
    _one_of("on_unknown", on_unknown, ("resend", "strict"))
    _one_of("dedupe", dedupe, ("report", "delete"))
    if job_id is not None and (not isinstance(job_id, str) or not job_id):
        raise ConfigurationError("job_id must be a text that is not empty.")
    if journal is not None and job_id is None:
        raise ConfigurationError("journal= needs a job_id=, by which a later run finds what was under way.")
    return JobOptions(
        job_id=job_id or new_reference(),
        resumable=job_id is not None,
        journal=journal,
        resend=on_unknown == "resend",
        dedupe=dedupe == "delete",
        audit=audit,
        keep_rooms=keep_rooms,
        keep_all=keep_all,
    )


def _one_of(name: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ConfigurationError(f"{name}={given!r}: give one of {', '.join(known)}.")
