"""`client.rooms`: create, read, change and delete rooms."""

from __future__ import annotations

import builtins
import os
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, cast

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
from videoapi.creation.references import references_of
from videoapi.creation.scan import get_room
from videoapi.errors import ConfigurationError, ValidationError
from videoapi.models.codec import ResponseDecoder, encode
from videoapi.models.rooms import Room, RoomSettings, RoomSpec, Sip
from videoapi.models.tokens import Participant
from videoapi.models.validation import check_room, check_room_id
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol import routes
from videoapi.protocol.routes import Options, Request

if TYPE_CHECKING:
    from videoapi.streaming.records import RecordStream

USERS: Final[ResponseDecoder[Participant]] = ResponseDecoder("users", Participant, many=True)

Settings = RoomSettings | Mapping[str, Any]


class Rooms:
    """Create, read, change and delete rooms."""

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
    ) -> Room:
        """Create one room, and never make it twice.

        Args:
            name: The room's name.
            owner_ref: Your own reference, echoed in call records. Without one, a reference made here
                stands in it; with one, the reference stands in `data.videoapi_ref`.
            settings: `RoomSettings`, or a mapping with the names of the wire. Permanent by default.
            sip: Whether the room can be reached by telephone.
            data: Keys of your own, kept with the room.
            validate: False lets a white-label's own keys and values through unchecked.
            on_unknown: What to do after an answer that proves nothing. `look` polls for the room in
                the last quarter of the `timeout`, at most 10 s, and never sends again. `resend` waits
                until there is proof, and sends again, at most twice, where the room is proven absent;
                the default `timeout` grows by the waits. `strict` does neither.

        Returns:
            The room as the service made it.

        Raises:
            ValidationError: The service would refuse it; nothing was sent.
            CreateOutcomeUnknown: The room may exist; `resolve(error.reference)` finds out.
            RequestRejected, RateLimited, ConnectionFailed: It was certainly not made.

        Source: docs/contract.md 4.2, 4.3.
        """
        _one_of("on_unknown", on_unknown, ("look", "resend", "strict"))
        spec = RoomSpec(name, owner_ref, settings, sip, data)
        reference = new_reference()
        look = on_unknown == "look"
        request = create_request(spec, reference, self._pipeline.options, validate=validate, look=look)
        return await self._creator.create(self._pipeline, request, on_unknown)

    async def resolve(self, reference: str, *, control: str | Room | None = None) -> Room | None:
        """Find out what became of a create whose outcome was unknown; never makes anything.

        A room is proof at once. Absence is proof only in a list that was read one settle time after
        the create was sent (in a process that did not send it, after this client came into use), and
        that shows a control room: one that this client made, or the one named.

        Args:
            reference: `CreateOutcomeUnknown.reference`, or an outcome's.
            control: The id of a room that this library made and that exists, or the room itself.

        Returns:
            The room; None where it certainly does not exist and never will.

        Raises:
            CreateOutcomeUnknown: There is still no proof; the message says what it lacks.
            ValidationError: `reference` or `control` is none.
        """
        return await self._creator.resolve(self._pipeline, reference, control)

    async def get(self, room_id: str) -> Room:
        """Read one room.

        Raises:
            NotFound: There is none under this APP_ID, or it is gone.

        Source: docs/contract.md 4.5.
        """
        return cast(Room, await self._pipeline.run(get_room(self._pipeline, check_room_id(room_id))))

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
        """Delete a room in which no session is running.

        Raises:
            NotFound: There is no such room.
            ServerFault: The service refused; while a session is running it answers so (contract 4.7).

        Source: docs/contract.md 4.7.
        """
        await self._pipeline.run(_delete_request(check_room_id(room_id), self._pipeline.options))
        self._creator.controls.forget(room_id)

    async def users(self, room_id: str) -> builtins.list[Participant]:
        """Read who is in the room's session now; an idle room has an empty list.

        Raises:
            NotFound: There is no such room.

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
        """Create many rooms at once: none twice, none lost, and report what every input became.

        Args:
            specs: Read lazily, one at a time as a place comes free.
            concurrency: Rooms in flight at once; by default 32, at most the pool's `max_connections`.
            timeout: The whole run, in seconds; what is in flight then still ends. None by default.
            give_up_after: Seconds without an answer after which a run of refusals ends.
            progress: Called with the report after each outcome.
            validate: False lets a white-label's own keys and values through unchecked.
            keep_rooms: Keep each room in its outcome's `room`; else only its id is kept.
            job_id: Names the job. A run with the same id goes on where another ended, however it ended:
                the rooms themselves tell what is done. References come from it and each spec's key, or
                its place where it has none. Without a journal such a run begins with one settle time.
            journal: An SQLite file in which the job notes what it is about to send; then only what was
                under way is looked for. Needs a `job_id`.
            on_unknown: `resend` settles what is unknown at the end of the run: it waits one settle time,
                reads the list of rooms, and sends again, at most twice, what is proven absent. `strict`
                sends nothing again.
            dedupe: Whether the audit deletes the surplus of rooms that stand there twice.
            audit: Whether the list of rooms is read once more at the end, to tell of `duplicates` and
                of rooms that are `missing`.

        Returns:
            Counts, and a small row for every input, by index and key. One failure never loses the
            others.

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
        """Create many rooms at once, and hand out the outcomes as they finish.

        Flat in memory however many there are, but for the keys of the specs that have one. What is
        unknown comes last, when it is settled. The arguments are those of `create_many`; the audit looks
        only for rooms that were in doubt, unless surplus is to be deleted.

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
        """Delete many rooms at once, and report what every input became; as `create_many`."""
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
        job: JobOptions,
        **limits: Any,
    ) -> BulkRun[RoomSpec]:
        options = single_attempt(self._pipeline.options)

        reference_of = references_of(job.job_id)

        def prepare(index: int, spec: RoomSpec, key: Any) -> BulkItem:
            # A key of ours cannot be one of the caller's: those hold no NUL at their start.
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
        job_id=job_id or os.urandom(16).hex(),
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
