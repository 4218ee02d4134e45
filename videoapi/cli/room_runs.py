"""`videoapi rooms create-many` and `delete-many`: bulk runs from files."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from videoapi.cli.bulk_options import INPUT, bulk_options, ignore_option, output_of, readable
from videoapi.cli.client_options import ClientOptions, settle_option, without_password
from videoapi.cli.exit_codes import DONE, FAILED, MEANINGS

if TYPE_CHECKING:
    from videoapi.cli.inputs import InputFile
    from videoapi.cli.job import JobFiles
    from videoapi.cli.summary import BulkOptions
    from videoapi.models.rooms import RoomSpec

T = TypeVar("T")
_EACH_HAS_ENDED = (DONE, FAILED)
"""The exit codes of a run in which each line has an outcome, and none is unknown."""


@click.command("create-many", epilog=MEANINGS)
@click.argument("file", type=INPUT)
@click.option(
    "--key-column",
    metavar="COLUMN",
    help="Column or field with the key of each line. [default: `key` if there is one, or `name`]",
)
@ignore_option
@click.option(
    "--with-ids",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Copy FILE, a .csv or .tsv, to this file, with the ID of each room in a first column room_id.",
)
@click.option("--dry-run", is_flag=True, help="Check every line of FILE and the job, and send nothing.")
@click.option("--fresh", is_flag=True, help="Create all rooms in a new job. Files of the earlier one are renamed.")
@click.option("--no-validate", is_flag=True, help="Skip client-side validation, for settings of a white-label.")
@click.option("--job-id", metavar="ID", help="ID of a new job. [default: generated, and kept next to the outcome file]")
@click.option(
    "--journal",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Journal of a new job, an SQLite file that all runs of the job share. [default: next to the outcome file]",
)
@click.option(
    "--on-unknown",
    type=click.Choice(["resend", "strict"]),
    default="resend",
    show_default=True,
    help="If a response is lost: `resend` once the room provably does not exist, or `strict`: never.",
)
@click.option(
    "--dedupe",
    type=click.Choice(["report", "delete"]),
    default="report",
    show_default=True,
    help="Report rooms that exist twice, or delete the surplus ones.",
)
@click.option(
    "--audit",
    type=click.Choice(["yes", "no", "settled"]),
    default="yes",
    show_default=True,
    help="Look for rooms that exist twice or are missing at the end. `settled` waits until the list can prove it.",
)
@settle_option
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Number of processes, which share a Redis server. For some thousand rooms, one process is enough.",
)
@click.option(
    "--redis", callback=without_password, metavar="URL", help="Redis server for --workers. [default: VIDEOAPI_REDIS]"
)
@bulk_options
def create_many(
    file: Path,
    key_column: str | None,
    ignored: tuple[str, ...],
    with_ids: Path | None,
    dry_run: bool,
    no_validate: bool,
    access: ClientOptions,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Create a room for each line of FILE, a .csv, .tsv or .jsonl.

    \b
    CSV columns: name and, optionally, owner_ref, key, sip, starts_at and minutes
    (a scheduled room, such as 2030-01-31T10:00+01:00 and 45), settings.* (such as
    settings.participants) and data.* (your own fields). Empty cells are ignored.
    JSONL: one object per line with the fields of RoomSpec.

    An invalid line does not affect the others. Each input produces one line in the outcome file, with
    its room_id or the reason for its absence. Creates whose response was lost are looked up at the end of
    the run, and repeated if the room provably does not exist.

    To continue after an interruption, or after fixing failed lines in the same FILE, repeat the command: lines
    whose room exists are recognized by their key, and not created again.
    """
    from videoapi.cli.earlier_jobs import refuse_same_id, refuse_same_rooms, rooms_of
    from videoapi.cli.id_column import IdColumn
    from videoapi.cli.inputs import room_specs
    from videoapi.cli.invocation import program, typed_command
    from videoapi.cli.job import OpenOptions, check_job, keeps_job, open_job, refuse_same_file
    from videoapi.cli.running import run
    from videoapi.cli.summary import BulkOptions
    from videoapi.cli.terminal import print_status

    is_shared = options["workers"] is not None
    if is_shared:
        _check_shared(**options)
    elif options["redis"] is not None:
        raise click.UsageError("--redis needs --workers")
    specs = readable(lambda path: room_specs(path, key_column, ignored), file)
    settle = () if options["settle"] is None else ("--settle", str(options["settle"]))
    named = () if out is None else ("--out", str(out))
    out = output_of(file, out)
    refuse_same_file(file, out, options["journal"], with_ids)
    copy = None if with_ids is None else IdColumn(file, specs.keys, with_ids)
    if copy is not None:
        copy.check(out)
    output = BulkOptions(
        out=out,
        as_json=as_json,
        quiet=quiet,
        again=typed_command(without=("--fresh", "--dry-run")) if keeps_job(out) or options["job_id"] else (),
        resolve=[*program(), "rooms", "resolve", *access.words(), *settle],
        with_ids=copy,
        # The .job next to the outcome file has the rest.
        audit=[*program(), "rooms", "audit", *access.words(), *named, str(file)] if keeps_job(out) else (),
        # Worker processes leave it to an audit that always waits for proof.
        settled=options["audit"] == "settled" or (is_shared and options["audit"] != "no"),
    )
    bound_to = {
        "file": os.path.relpath(file, out.parent),
        "keys": specs.keys,
        "ignored": json.dumps(ignored),
        "settle": "" if options["settle"] is None else str(options["settle"]),
    }
    chosen = {name: options.pop(name) for name in ("job_id", "journal", "fresh")}

    def with_job(act: Callable[..., T], account: Mapping[str, str], **more: Any) -> T:
        about = {**bound_to, **account}

        def refuse(known: Mapping[str, str]) -> None:
            if not known and chosen["job_id"] is not None:
                refuse_same_id(out, about, chosen["job_id"], output.again)
            if chosen["fresh"]:
                return
            output.same_rooms.update(refuse_same_rooms(out, known, about, specs.read_titles, output.again))
            for text in output.tell_same_rooms():
                print_status(text, quiet=quiet)

        return act(out, about, OpenOptions(check=refuse, shared=is_shared, **chosen), **more)

    if dry_run:
        url = options["redis"] or os.environ.get("VIDEOAPI_REDIS") if is_shared else None
        again = partial(rooms_of, out, specs.read_titles) if chosen["fresh"] else None
        run(_check(access, specs, partial(with_job, check_job), output, url, again, validate=not no_validate))
    if specs.repeated:
        raise click.UsageError(f"{file.name}: {specs.repeated} Nothing was sent.")
    if specs.keys == "name" and key_column is None:
        print_status("No line has a key, so the names are used as keys.", quiet=quiet)
    job = partial(with_job, open_job, quiet=quiet)
    if is_shared:
        run(_create_shared(access, specs, job, output, validate=not no_validate, **options), interrupted="")
    del options["workers"], options["redis"]
    run(_create(access, specs, job, output, validate=not no_validate, **options), interrupted="")


async def _check(
    access: ClientOptions,
    specs: InputFile[RoomSpec],
    check_job: Callable[[Mapping[str, str]], Mapping[str, str]],
    output: BulkOptions,
    redis: str | None,
    rooms_again: Callable[[], int] | None,
    *,
    validate: bool,
) -> int:
    """Check the lines, and the job, whose refusal is that of the command without `--dry-run`.

    Args:
        access: The account, which may be missing.
        specs: The lines.
        check_job: Returns what is known of the job that would be continued.
        output: The output options.
        redis: The URL of the server that worker processes would share, or None.
        rooms_again: With `--fresh`, returns how many rooms of the earlier job would be created again.
        validate: Whether to validate the specs.
    """
    from videoapi.cli.dry_run import NextJob, check
    from videoapi.cli.job import journal_of, of_journal
    from videoapi.cli.terminal import print_status
    from videoapi.errors import ConfigurationError

    job: NextJob | None = None
    reads_list = ""
    refused: Exception | None = None
    try:
        account: dict[str, str] = {}
        if any(map(access.account.value, ("app_id", "app_key"))):
            async with access.client() as client:
                account = access.account_of(client)
        known = check_job(account)
        job = NextJob(known.get("began"), 0 if rooms_again is None else rooms_again())
        if known:
            reads_list = of_journal(output.out, known, None if "shared" in known else journal_of(output.out, known))
    except (click.UsageError, ConfigurationError) as error:
        refused = error
    if redis is not None and refused is None:
        # The lines would not change that.
        await _check_redis(redis)
    code = check(specs, job, validate=validate, as_json=output.as_json, quiet=output.quiet)
    if refused is not None:
        raise refused
    assert job is not None
    print_status(f"Without --dry-run, the command would {job}.", quiet=output.quiet)
    if reads_list:
        print_status(reads_list, quiet=output.quiet)
    if redis is not None:
        print_status("Whether Redis can be used was not checked.", quiet=output.quiet)
    return code


async def _check_redis(url: str) -> None:
    """Raise an error if redis-py is missing, or the URL is invalid; nothing is connected."""
    from videoapi.creation.create_request import new_reference
    from videoapi.redis.leases import RedisLeases

    await RedisLeases(url, new_reference()).aclose()


async def _create(
    access: ClientOptions,
    specs: InputFile[RoomSpec],
    open_job: Callable[..., AbstractContextManager[JobFiles]],
    output: BulkOptions,
    *,
    settle: float | None,
    rate: str | None,
    audit: str,
    **limits: Any,
) -> int:
    from videoapi.cli.attempts import AttemptLog
    from videoapi.cli.bulk import run_bulk

    attempts = AttemptLog()
    is_bound = False
    async with access.client(settle=settle, rate=rate, listeners=attempts) as client:
        account = access.account_of(client)
        with open_job(account, used=lambda: is_bound) as job:
            if job.binds:
                # A path that was mistyped must not stay the journal of the job.
                await _try_journal(job, **account)
            is_bound = True
            # Rooms of an earlier run would be read one by one.
            limits |= {"job_id": job.job_id, "journal": job.journal, "keep_rooms": False}
            limits["audit"] = {"yes": True, "no": False}.get(audit, audit)
            code = await run_bulk(output, specs, attempts, lambda given: client.rooms.create_each(given, **limits))
            if code in _EACH_HAS_ENDED:
                job.close()
            return code


async def _try_journal(job: JobFiles, origin: str, app_id: str) -> None:
    """Raise an error if the journal of a job cannot be used; it is created if it does not exist."""
    from videoapi.creation.journal import Journal

    assert job.journal is not None
    assert job.job_id is not None
    journal = Journal(job.journal, job.job_id)
    try:
        await journal.open(origin, app_id)
    finally:
        await journal.aclose()


def _check_shared(*, journal: Path | None, dedupe: str, redis: str | None, **_: Any) -> None:
    """Refuse what worker processes cannot do."""
    if journal is not None:
        raise click.UsageError("--journal is a file of one process: leave it out with --workers")
    if dedupe == "delete":
        raise click.UsageError(
            "--dedupe delete could delete rooms that another process has just created: leave it out with --workers"
        )
    if not (redis or os.environ.get("VIDEOAPI_REDIS")):
        raise click.UsageError("--workers needs --redis URL, or VIDEOAPI_REDIS")


async def _create_shared(
    access: ClientOptions,
    specs: InputFile[RoomSpec],
    open_job: Callable[..., AbstractContextManager[JobFiles]],
    output: BulkOptions,
    *,
    workers: int,
    redis: str | None,
    validate: bool,
    settle: float | None,
    audit: str,
    on_unknown: Literal["resend", "strict"],
    timeout: float | None,
    concurrency: int | None,
    give_up_after: float,
    rate: str | None,
    **_: Any,
) -> int:
    from videoapi.cli.bulk import run_bulk
    from videoapi.cli.workers.run import WorkerLog, WorkersRun
    from videoapi.creation.create_request import new_reference
    from videoapi.redis.leases import TTL, RedisLeases
    from videoapi.sharding.job import JobSettings
    from videoapi.sharding.worker import redis_url

    url, messages = redis_url(redis), WorkerLog()
    async with access.client(settle=settle) as client:
        with open_job(access.account_of(client), used=messages.used) as job:
            # A process of ours that does not answer is replaced, and no queue delivers its shard again.
            settings = JobSettings(
                job_id=job.job_id or new_reference(),
                new=job.is_new,
                rate=rate,
                processes=workers,
                redelivery=math.inf,
                ttl=TTL,
                validate=validate,
                on_unknown=on_unknown,
            )
            account = {
                "client": {**access.worker_options(), "settle": settle},
                "redis": url,
                "rate": rate,
                "processes": workers,
                "limits": {"concurrency": concurrency, "give_up_after": give_up_after},
            }
            async with RedisLeases(url, settings.job_id, ttl=TTL) as leases:
                # Before an outcome file is opened: without Redis, nothing of this run stays.
                await leases.begin(new=settings.new)
                code = await run_bulk(
                    output,
                    specs,
                    messages,
                    lambda given: WorkersRun(
                        client,
                        leases,
                        given,
                        settings,
                        account,
                        messages,
                        audit=audit != "no",
                        timeout=timeout,
                    ),
                )
            if code in _EACH_HAS_ENDED:
                job.close()
            return code


@click.command("delete-many", epilog=MEANINGS)
@click.argument("file", type=INPUT)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation; needed without a terminal.")
@click.option("--dry-run", is_flag=True, help="Check every line of FILE, and send nothing.")
@bulk_options
def delete_many(
    file: Path,
    yes: bool,
    dry_run: bool,
    access: ClientOptions,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    rate: str | None,
    **limits: Any,
) -> None:
    """Delete the rooms listed in FILE.

    FILE is a .txt with one room ID per line, a .csv with a column room_id, or a .jsonl with a field
    room_id, such as the outcome file of create-many. Every room listed is deleted, so check the number with
    --dry-run first. Asks for confirmation; without a terminal, it needs --yes.
    """
    from videoapi.cli.dry_run import check
    from videoapi.cli.inputs import room_ids
    from videoapi.cli.invocation import confirm, typed_command
    from videoapi.cli.job import refuse_job
    from videoapi.cli.running import run
    from videoapi.cli.summary import BulkOptions
    from videoapi.cli.terminal import counted

    ids = readable(room_ids, file)
    if dry_run:
        sys.exit(check(ids, validate=True, as_json=as_json, quiet=quiet, effect="Rooms to delete"))
    out = output_of(file, out)
    refuse_job(out)
    confirm(f"Delete the {counted(ids.total, 'room', 'rooms')} listed in {file}?", yes=yes)
    output = BulkOptions(out=out, as_json=as_json, quiet=quiet, again=typed_command())
    run(_delete(access, ids, output, rate, limits), interrupted="")


async def _delete(
    access: ClientOptions, ids: InputFile[str], output: BulkOptions, rate: str | None, limits: dict[str, Any]
) -> int:
    from videoapi.cli.attempts import AttemptLog
    from videoapi.cli.bulk import run_bulk

    attempts = AttemptLog()
    async with access.client(rate=rate, listeners=attempts) as client:
        return await run_bulk(output, ids, attempts, lambda given: client.rooms.delete_each(given, **limits))
