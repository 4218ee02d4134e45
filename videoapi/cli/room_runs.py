"""`videoapi rooms create-many` and `delete-many`: bulk runs from files."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from videoapi.cli.bulk_options import INPUT, bulk_options, ignore_option, output_of, readable
from videoapi.cli.client_options import ClientOptions, settle_option, without_password
from videoapi.cli.exit_codes import MEANINGS

if TYPE_CHECKING:
    from videoapi.cli.inputs import InputFile
    from videoapi.cli.summary import BulkOptions
    from videoapi.models.rooms import RoomSpec


@click.command("create-many", epilog=MEANINGS)
@click.argument("file", type=INPUT)
@click.option(
    "--key-column",
    metavar="COLUMN",
    help="Column or field with the key of each line. [default: `key` if there is one, or `name`]",
)
@ignore_option
@click.option("--dry-run", is_flag=True, help="Check every line of FILE, and send nothing.")
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
    CSV columns: name and, optionally, owner_ref, key, sip, settings.* (such as
    settings.participants) and data.* (your own fields). Empty cells are ignored.
    JSONL: one object per line with the fields of RoomSpec.

    An invalid line does not affect the others. Each input produces one line in the outcome file, with
    its room_id or the reason for its absence. Creates whose response was lost are looked up at the end of
    the run, and repeated if the room provably does not exist.

    To continue after an interruption, or after fixing failed lines in the same FILE, repeat the command: lines
    whose room exists are recognized by their key, and not created again.
    """
    from videoapi.cli.dry_run import check
    from videoapi.cli.inputs import room_specs
    from videoapi.cli.invocation import program, typed_command
    from videoapi.cli.running import run
    from videoapi.cli.summary import BulkOptions
    from videoapi.cli.terminal import print_status

    specs = readable(lambda path: room_specs(path, key_column, ignored), file)
    if dry_run:
        sys.exit(check(specs, validate=not no_validate, as_json=as_json, quiet=quiet))
    if specs.repeated:
        raise click.UsageError(f"{file.name}: {specs.repeated} Nothing was sent.")
    if specs.keys == "name" and key_column is None:
        print_status("No line has a key, so the names are used as keys.", quiet=quiet)
    settle = () if options["settle"] is None else ("--settle", str(options["settle"]))
    output = BulkOptions(
        out=output_of(file, out),
        as_json=as_json,
        quiet=quiet,
        again=typed_command(without=("--fresh",)),
        resolve=[*program(), "rooms", "resolve", *access.words(), *settle],
    )
    bound_to = {"file": os.path.relpath(file, output.out.parent), "keys": specs.keys}
    if options["workers"] is not None:
        _check_shared(**options)
        run(_create_shared(access, specs, bound_to, output, validate=not no_validate, **options), interrupted="")
    if options["redis"] is not None:
        raise click.UsageError("--redis needs --workers")
    del options["workers"], options["redis"]
    run(_create(access, specs, bound_to, output, validate=not no_validate, **options), interrupted="")


async def _create(
    access: ClientOptions,
    specs: InputFile[RoomSpec],
    bound_to: dict[str, str],
    output: BulkOptions,
    *,
    settle: float | None,
    rate: str | None,
    fresh: bool,
    job_id: str | None,
    journal: Path | None,
    audit: str,
    **limits: Any,
) -> int:
    import attrs

    from videoapi.cli.attempts import AttemptLog
    from videoapi.cli.bulk import run_bulk
    from videoapi.cli.earlier_jobs import refuse_same_keys
    from videoapi.cli.job import open_job

    attempts = AttemptLog()
    async with access.client(settle=settle, rate=rate, listeners=attempts) as client:
        bound_to |= access.account_of(client)
        with open_job(
            output.out,
            bound_to,
            job_id=job_id,
            journal=journal,
            fresh=fresh,
            quiet=output.quiet,
            before_new=lambda: refuse_same_keys(output.out, bound_to, specs.read_keys, output.again),
        ) as job:
            # Rooms of an earlier run would be read one by one.
            limits |= {"job_id": job.job_id, "journal": job.journal, "keep_rooms": False}
            limits["audit"] = {"yes": True, "no": False}.get(audit, audit)
            if job.job_id is None:
                output = attrs.evolve(output, again=())
            return await run_bulk(output, specs, attempts, lambda given: client.rooms.create_each(given, **limits))


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
    bound_to: dict[str, str],
    output: BulkOptions,
    *,
    workers: int,
    redis: str | None,
    validate: bool,
    settle: float | None,
    fresh: bool,
    job_id: str | None,
    audit: str,
    on_unknown: Literal["resend", "strict"],
    timeout: float | None,
    concurrency: int | None,
    give_up_after: float,
    rate: str | None,
    **_: Any,
) -> int:
    import attrs

    from videoapi.cli.bulk import run_bulk
    from videoapi.cli.earlier_jobs import refuse_same_keys
    from videoapi.cli.job import open_job
    from videoapi.cli.workers.run import WorkerLog, WorkersRun
    from videoapi.creation.create_request import new_reference
    from videoapi.redis.leases import TTL, RedisLeases
    from videoapi.sharding.job import JobSettings
    from videoapi.sharding.worker import redis_url

    url, messages = redis_url(redis), WorkerLog()
    async with access.client(settle=settle) as client:
        bound_to |= access.account_of(client)
        with open_job(
            output.out,
            bound_to,
            job_id=job_id,
            fresh=fresh,
            shared=True,
            quiet=output.quiet,
            used=messages.used,
            before_new=lambda: refuse_same_keys(output.out, bound_to, specs.read_keys, output.again),
        ) as job:
            if job.job_id is None:
                output = attrs.evolve(output, again=())
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
                return await run_bulk(
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


@click.command("delete-many", epilog=MEANINGS)
@click.argument("file", type=INPUT)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@bulk_options
def delete_many(
    file: Path,
    yes: bool,
    access: ClientOptions,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    rate: str | None,
    **limits: Any,
) -> None:
    """Delete the rooms listed in FILE.

    FILE is a .txt with one room ID per line, a .csv with a column room_id, or a .jsonl with a field
    room_id, such as the outcome file of create-many.
    """
    from videoapi.cli.inputs import room_ids
    from videoapi.cli.invocation import confirm, typed_command
    from videoapi.cli.running import run
    from videoapi.cli.summary import BulkOptions

    ids = readable(room_ids, file)
    confirm(f"Delete the {ids.total:,} rooms listed in {file}?", yes=yes)
    output = BulkOptions(out=output_of(file, out), as_json=as_json, quiet=quiet, again=typed_command())
    run(_delete(access, ids, output, rate, limits), interrupted="")


async def _delete(
    access: ClientOptions, ids: InputFile[str], output: BulkOptions, rate: str | None, limits: dict[str, Any]
) -> int:
    from videoapi.cli.attempts import AttemptLog
    from videoapi.cli.bulk import run_bulk

    attempts = AttemptLog()
    async with access.client(rate=rate, listeners=attempts) as client:
        return await run_bulk(output, ids, attempts, lambda given: client.rooms.delete_each(given, **limits))
