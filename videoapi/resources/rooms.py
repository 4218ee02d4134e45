"""`client.rooms`: create, read, update and delete rooms."""

from __future__ import annotations

import builtins
import os
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, Final, Literal, TypeVar, cast

from videoapi.bulk import (
    GIVE_UP_AFTER,
    BulkItem,
    BulkOutcome,
    BulkProgress,
    BulkReport,
    BulkRun,
    Plan,
    key_of,
)
from videoapi.bulk.create_job import CreateJob
from videoapi.bulk.job_audit import JobAudit, audit_job
from videoapi.bulk.job_options import JobOptions, check_job_id, job_options
from videoapi.bulk.lease import Lease
from videoapi.config import one_of, positive_seconds
from videoapi.creation.create_request import check_start_of, create_request, new_reference
from videoapi.creation.creator import Creator, OnUnknown
from videoapi.creation.proof import get_room
from videoapi.creation.references import JobReferences, is_reference
from videoapi.errors import ValidationError, VideoAPIError
from videoapi.models.codec import ResponseDecoder, encode
from videoapi.models.rooms import Room, RoomSettings, RoomSpec, Sip
from videoapi.models.tokens import Participant
from videoapi.models.validation import check_room, check_room_id, names_fixed, without_fixed
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol import routes
from videoapi.protocol.routes import Options, Request
from videoapi.streaming import RecordStream
from videoapi.streaming.windows import Cursor

USERS: Final[ResponseDecoder[Participant]] = ResponseDecoder("users", Participant, many=True)

R = TypeVar("R", bound=str | Room | None)
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
            settings: `RoomSettings`, or a mapping of API field names, in which None is sent as null.
            sip: Whether the room can be joined by telephone.
            data: Your own keys, stored with the room.
            validate: False skips client-side validation, for a white-label's own keys and values.
            on_unknown: What to do if the outcome is unknown. `look` polls for the room for up to 10 s, within the
                `timeout`, and never resends; the last quarter of the `timeout` (at most 10 s) is reserved for
                this. `resend` waits for proof, and resends, at most twice, if the room is proven absent; the
                default `timeout` is extended by these waits. `strict` does neither.
            reference: A reference from `new_reference()` or `reference_for(job_id, key)`. If you store it first, you
                can call `resolve(reference)` later, even after a cancellation or a crash. It is not an idempotency
                key: two creates with one reference create two rooms.

        Returns:
            The created room.

        Raises:
            ValidationError: If the service would reject the room; nothing was sent.
            CreateOutcomeUnknown: If the room may exist; call `resolve(error.reference)` to find out.
            RequestRejected, RateLimited, ConnectionFailed: If the room was not created; `retryable` says whether a
                retry can succeed.

        Source: docs/contract.md 4.2, 4.3.
        """
        one_of("on_unknown", on_unknown, ("look", "resend", "strict"))
        if reference is not None and not is_reference(reference):
            raise ValidationError("reference must come from new_reference() or reference_for().", field="reference")
        used = reference or new_reference()
        look, exact = on_unknown == "look", reference is not None
        try:
            spec = RoomSpec(name, owner_ref, settings, sip, data)
            request = create_request(spec, used, self._pipeline.options, validate=validate, look=look, exact=exact)
            if validate:
                check_start_of(spec)
            send = self._creator.create_shared if exact else self._creator.create
            return await send(self._pipeline, request, on_unknown)
        except VideoAPIError as error:
            error.reference = error.reference or used
            raise

    async def resolve(
        self, reference: str | None, *, control: str | Room | None = None, timeout: float | None = None
    ) -> Room | None:
        """Look up the room of a create with unknown outcome. Never creates a room.

        A listed room is immediate proof. A missing one is proof only if the list was read at least one
        settle time after this client sent the create (or, if another process may have sent it, after this
        call) and shows a known room: one that this client created, or `control`. So the call waits for up to
        one settle time (75 s by default), or longer if the list lags. The client's `timeout` limits each
        request, but not this wait, nor the body of the list, which may end after 20 s without data, or 60 s with
        less than 1 KiB/s. While a browser waits, give `timeout=`.

        Args:
            reference: `CreateOutcomeUnknown.reference`, or the `reference` of a bulk outcome.
            control: A permanent room that this library created, or its ID, if this client has created none. One with
                an `owner_ref` of your own serves all references passed to `create(reference=…)` in another process.
                Otherwise it must have been created in the same way: with or without an `owner_ref`.
            timeout: Seconds to wait for proof; None waits as long as it takes. If the proof takes longer, the call
                does not wait for it, and raises `CreateOutcomeUnknown` once it has read the list.

        Returns:
            The room, or None if it provably does not exist and never will.

        Raises:
            CreateOutcomeUnknown: If there is still no proof; the message says what is missing.
            ValidationError: If `reference` or `control` is invalid.
            VideoAPIError: If the list of rooms or the control room cannot be read; call it again later.
        """
        timeout = positive_seconds("timeout", timeout)
        with self._pipeline.recording("rooms.resolve"):
            return await self._creator.resolve(self._pipeline, reference, control, timeout)

    async def get(self, room_id: str | None) -> Room:
        """Return one room.

        Args:
            room_id: The room's ID. None, such as that of an outcome without a room, is a `ValidationError`.

        Raises:
            NotFound: If the room does not exist under this APP_ID, or no longer exists.

        Source: docs/contract.md 4.5.
        """
        return cast(Room, await self._pipeline.run(get_room(self._pipeline, check_room_id(room_id))))

    def list(
        self,
        *,
        cursor: Cursor | str | None = None,
        extra: bool = False,
        strict: bool = False,
        timeout: float | None = None,
    ) -> RecordStream[Room]:
        """Stream all rooms of the project. The service returns them in one response without pages.

        Args:
            cursor: The position of an earlier stream; the stream resumes after it, or restarts if the list has changed.
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

        return room_list(self._pipeline, request, cursor=cursor, extra=extra, strict=strict, timeout=timeout)

    async def update(
        self,
        room_id: str | None,
        *,
        name: str | None = None,
        owner_ref: str | int | None = None,
        settings: Settings | None = None,
        sip: Sip | Mapping[str, Any] | bool | None = None,
        data: Mapping[str, Any] | None = None,
        validate: bool = True,
    ) -> None:
        """Update a room; omitted fields are unchanged. Takes effect for later sessions only.

        A room that this client created keeps its reference. If another client created it, keep `data.videoapi_ref` (and
        an `owner_ref` that begins with `vx`) yourself: without the reference, a later run of the job does not find the
        room, and creates it a second time.

        Args:
            room_id: The room's ID.
            name: A new name.
            owner_ref: A new reference of your own.
            settings: The settings to change. A room's kind and mode cannot be changed: if you pass them, the client
                reads the room first, and does not send them if they are those of the room.
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
        room_id = check_room_id(room_id)
        if isinstance(given := body.get("settings"), dict) and names_fixed(given):
            current = (await self.get(room_id)).settings
            body["settings"] = without_fixed(given, current, validate=validate)
            if body == {"settings": {}}:
                return
        if "owner_ref" in body or "data" in body:
            body = await self._creator.with_reference(self._pipeline, room_id, body)
        request = Request(
            route=routes.UPDATE_ROOM,
            path=routes.UPDATE_ROOM.path(room_id),
            options=self._pipeline.options,
            body=encode(body),
        )
        await self._pipeline.run(request)

    async def delete(self, room_id: str | None) -> None:
        """Delete a room that has no running session.

        Args:
            room_id: The room's ID.

        Raises:
            NotFound: If the room does not exist.
            ServerFault: If the service refuses, as it does while a session is running; retry when it has ended.

        Source: docs/contract.md 4.7.
        """
        room_id = check_room_id(room_id)
        await self._pipeline.run(_delete_request(room_id, self._pipeline.options))
        self._creator.memory.forget_room(room_id)

    async def users(self, room_id: str | None) -> builtins.list[Participant]:
        """Return the current participants of the room's session; an idle room has an empty list.

        Args:
            room_id: The room's ID.

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
        audit: bool | Literal["settled"] = True,
        lease: Lease | None = None,
    ) -> BulkReport:
        """Create many rooms concurrently, each at most once, and report one outcome per input.

        Args:
            specs: The rooms to create; read lazily, as slots free up.
            concurrency: Rooms in flight at once; by default 32, at most the pool's `max_connections`.
            timeout: Limit for the whole run, in seconds; none by default. Requests in flight still finish, within their
                `attempt_timeout`; after that, a middleware or `progress` that still waits is cancelled.
            give_up_after: Seconds after which the run stops if the service is unreachable or only throttles.
            progress: Function or coroutine function, called with the report after each outcome.
            validate: False skips client-side validation, for a white-label's own keys and values.
            keep_rooms: Whether to keep each room in its outcome's `room`; otherwise only its ID. Rooms
                of an earlier run of the job are read again, one request each.
            job_id: Name of the job. A run with the same ID resumes where an earlier one stopped, even after a crash:
                the room list shows which rooms exist. References derive from the ID and from the `key` of each spec,
                which is then required: text, a number, a date, a UUID, bytes or a tuple of these. Without a journal,
                such a run first waits one settle time. Only one run of a job may be active at a time.
            journal: An SQLite file in which the job records what it is about to send, so that a later run looks up only
                the requests that were in flight. It belongs to one account. Requires `job_id`.
            on_unknown: `resend` settles unknown outcomes at the end of the run: it waits one settle time, reads the
                list of rooms, and resends, at most twice, the creates whose rooms are proven absent. `strict` never
                resends.
            dedupe: Whether the audit deletes surplus rooms (`delete`) or only reports them (`report`). It never
                deletes a room that an outcome names.
            audit: Whether to read the list of rooms again at the end, to report `duplicates` and
                `missing` rooms. `settled` first waits one settle time, so that the list proves both to be complete.
            lease: The lease of one shard of a job that several workers share, from `RedisLeases.hold()`. The run sends
                a create only while the lease outlasts `attempt_timeout`; after that it ends with `LeaseLost`. Requires
                `job_id`; the shard has no journal, and is not audited.

        Returns:
            The report: counts, and a small row per input. A failed input does not affect the others. If the run ended
            early, `stopped` says why.

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
            keep_all=True,
            job=job_options(job_id, journal, on_unknown, dedupe, audit, keep_rooms, lease),
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
        keep_rooms: bool = True,
        job_id: str | None = None,
        journal: str | os.PathLike[str] | None = None,
        on_unknown: Literal["resend", "strict"] = "resend",
        dedupe: Literal["report", "delete"] = "report",
        audit: bool | Literal["settled"] = True,
        lease: Lease | None = None,
    ) -> BulkRun[RoomSpec]:
        """Create many rooms concurrently, and yield the outcomes as they finish.

        Memory use is nearly constant: about 18 bytes per spec for the audit, and 18 for its key. Unknown outcomes come
        last, when they are settled. The arguments are those of `create_many`.

        Raises, at the end of the iteration:
            VideoAPIError: If the run stopped before all inputs were read; the error carries the report as `.report`.

        Example:
            async with client.rooms.create_each(specs) as outcomes:
                async for outcome in outcomes:
                    print(outcome.key, outcome.status)
        """
        return self._create(
            specs,
            concurrency=concurrency,
            timeout=timeout,
            give_up_after=give_up_after,
            progress=progress,
            validate=validate,
            job=job_options(job_id, journal, on_unknown, dedupe, audit, keep_rooms, lease),
        )

    async def audit(
        self,
        job_id: str,
        specs: Iterable[RoomSpec] | AsyncIterable[RoomSpec],
        *,
        give_up_after: float = GIVE_UP_AFTER,
    ) -> JobAudit:
        """Check whether a job is complete: each spec has exactly one room.

        Call it when no run of the job is active any more, in any process. It waits one settle time, and reads the list
        of rooms at most twice. It never creates a room of the job, and it deletes the self-check rooms that killed runs
        of the job have left. If no room of the job can prove that the list is complete, it creates a self-check room
        and deletes it at the end.

        Memory grows by about 120 bytes per spec, in addition to its key and the body of its request.

        Args:
            job_id: Name of the job.
            specs: All specs of the job, each with its key; read once.
            give_up_after: Seconds for which reading the list is retried.

        Returns:
            Missing and changed specs, duplicate and unexpected rooms. `complete` is true if the job is proven complete.

        Raises:
            ValidationError: If an item is not a spec, or its key is missing or appears twice.
            VideoAPIError: If the list of rooms cannot be read; call it again later.
        """
        check_job_id(job_id)
        give_up_after = positive_seconds("give_up_after", give_up_after) or GIVE_UP_AFTER
        with self._pipeline.recording("rooms.audit"):
            return await audit_job(self._creator, self._pipeline, job_id, specs, give_up_after)

    async def delete_many(
        self,
        room_ids: Iterable[R] | AsyncIterable[R],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        give_up_after: float = GIVE_UP_AFTER,
        progress: BulkProgress | None = None,
    ) -> BulkReport:
        """Delete many rooms concurrently, and report one outcome per input.

        Args:
            room_ids: IDs or rooms, such as `rooms.list()`. Each delete is retried as in `delete`.
            concurrency: Rooms in flight at once; by default 32, at most the pool's `max_connections`.
            timeout: Limit for the whole run, in seconds; requests in flight still finish. None by default.
            give_up_after: Seconds after which the run stops if the service is unreachable or only throttles.
            progress: Function or coroutine function, called with the report after each outcome.

        Returns:
            The report: counts, and a small row per input.
        """
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
        room_ids: Iterable[R] | AsyncIterable[R],
        *,
        concurrency: int | None = None,
        timeout: float | None = None,
        give_up_after: float = GIVE_UP_AFTER,
        progress: BulkProgress | None = None,
    ) -> BulkRun[R]:
        """Delete many rooms concurrently, and yield the outcomes as they finish; see `create_each`."""
        return self._delete(
            room_ids,
            concurrency=concurrency,
            timeout=timeout,
            give_up_after=give_up_after,
            progress=progress,
        )

    def _create(
        self, specs: Iterable[RoomSpec] | AsyncIterable[RoomSpec], *, validate: bool, job: JobOptions, **limits: Any
    ) -> BulkRun[RoomSpec]:
        references = JobReferences(job.job_id)

        def prepare(index: int, spec: RoomSpec, key: Any, options: Options) -> BulkItem:
            if job.resumable and key is None:
                raise ValidationError("An item of a job needs a key, by which a later run finds its room.", field="key")
            reference = references.of_key(key) if job.resumable else references.of_position(index)
            request = create_request(spec, reference, options, validate=validate)
            return BulkItem(index=index, request=request, given=spec, key=key)

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
            Plan(name="rooms.create", key_of=key_of, prepare=prepare, finish=finish, sends_once=True),
            job=CreateJob(self._creator, self._pipeline, job, validate=validate),
            **limits,
        )

    def _delete(self, rooms: Iterable[R] | AsyncIterable[R], **limits: Any) -> BulkRun[R]:
        def prepare(index: int, given: R, room_id: Any, options: Options) -> BulkItem:
            request = _delete_request(room_id, options)
            return BulkItem(index=index, request=request, given=given, key=room_id, room_id=room_id)

        def finish(item: BulkItem, nothing: None) -> BulkOutcome:
            self._creator.memory.forget_room(item.room_id or "")
            return BulkOutcome(index=item.index, key=item.key, status="deleted", room_id=item.room_id)

        plan = Plan(name="rooms.delete", key_of=_room_id, prepare=prepare, finish=finish)
        return BulkRun(self._pipeline, rooms, plan, **limits)


def _room_id(given: str | Room | None) -> str:
    return check_room_id(given.room_id if isinstance(given, Room) else given)


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
