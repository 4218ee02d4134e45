"""What `videoapi cdr` and `videoapi archives` have in common: lists and exports of the four queries."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from videoapi.cli.client_options import SECONDS, ClientOptions, client_options
from videoapi.cli.output_options import json_option, secrets_option
from videoapi.cli.queries import ReportQuery, query_options, target_last

if TYPE_CHECKING:
    from videoapi.cli.csv_rows import Table
    from videoapi.client import VideoClient
    from videoapi.resources.reports import Reports
    from videoapi.streaming import RecordStream

STDOUT: Final = "-"


def list_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command that lists records; it receives `query` and the options of `print_reports`."""

    @query_options
    @click.option("--cursor", metavar="CURSOR", help="Continue a list that ended early; it has printed its cursor.")
    @click.option("--strict", is_flag=True, help="Stop at the first record that cannot be read.")
    @click.option(
        "--timeout", type=SECONDS, help="Time limit for waiting for the service during the whole list; none by default."
    )
    @json_option("Print JSON lines: one object per record, with every field.")
    @secrets_option
    @client_options
    @functools.wraps(command)
    def with_query(
        *args: Any, start: str | None, end: str | None, room_id: str | None, conf_num: str | None, **options: Any
    ) -> Any:
        return command(*args, query=ReportQuery(start, end, room_id, conf_num).checked(), **options)

    return with_query


def export_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command that exports records; it receives `query`, `out` and the options of `export_reports`."""

    @query_options
    @click.argument("out", required=False)
    @click.option("--cursor", metavar="CURSOR", help="Begin or continue at this cursor of an earlier export.")
    @click.option(
        "--format",
        "form",
        type=click.Choice(["jsonl", "csv", "parquet"]),
        help="Format of stdout (OUT is -): JSON lines (default) or CSV. A file's name gives its format.",
    )
    @click.option("--partition", type=click.Choice(["day"]), help="Write a folder with one Parquet file per UTC day.")
    @click.option("--overwrite", is_flag=True, help="Replace OUT if it exists, once the new one is complete.")
    @click.option("--fresh", is_flag=True, help="Start over, and discard OUT.part.")
    @click.option(
        "--excel",
        is_flag=True,
        help="Begin a .csv file with a byte order mark, so that Excel reads it as UTF-8. Cells are still separated by "
        "commas, and numbers have decimal points.",
    )
    @click.option(
        "--delimiter",
        type=click.Choice([",", ";"]),
        help="What separates the cells of a .csv file. [default: ,]",
    )
    @click.option("--strict", is_flag=True, help="Stop at the first record that cannot be read.")
    @click.option(
        "--timeout",
        type=SECONDS,
        help="Time limit for waiting for the service during the whole export; none by default.",
    )
    @json_option("Print a report as JSON on stdout.")
    @click.option("--quiet", is_flag=True, help="Show no progress and no summary.")
    @client_options
    @functools.wraps(command)
    def with_query(
        *args: Any,
        start: str | None,
        end: str | None,
        room_id: str | None,
        conf_num: str | None,
        out: str | None,
        **options: Any,
    ) -> Any:
        query, out = target_last(ReportQuery(start, end, room_id, conf_num), out, "OUT")
        return command(*args, query=query, out=out, **options)

    return with_query


async def print_reports(
    kind: str,
    access: ClientOptions,
    query: ReportQuery,
    columns: Sequence[str],
    row_of: Callable[[Any], Sequence[object]],
    *,
    as_json: bool,
    show_secrets: bool,
    **limits: Any,
) -> int:
    """List one kind of report, `cdr` or `archives`, and return the exit code."""
    from videoapi.cli.listing import end_failed, print_listing
    from videoapi.errors import VideoAPIError

    async with access.client() as client:
        stream = query.stream(_reports(client, kind), extra=as_json, **limits)
        try:
            return await print_listing(stream, columns, row_of, as_json=as_json, show_secrets=show_secrets)
        except VideoAPIError as error:
            return end_failed(stream, error, strict=limits.get("strict", False), what="records")


async def export_reports(
    kind: str,
    access: ClientOptions,
    query: ReportQuery,
    out: str,
    table: Table,
    *,
    cursor: str | None,
    form: str | None,
    partition: str | None,
    strict: bool,
    timeout: float | None,
    excel: bool,
    delimiter: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Export one kind of report, `cdr` or `archives`, and return the exit code."""
    from videoapi.arrow.periods import utc_today
    from videoapi.cli.export import PARQUET, ExportOptions, check_output, export, line_format
    from videoapi.cli.invocation import typed_command
    from videoapi.models.validation import period_day

    if query.start is not None and (first := period_day(query.start, field="start")) > (today := utc_today()):
        raise click.UsageError(f"the period is in the future: it begins on {first}, and today is {today} (UTC)")
    if partition is not None:
        others = {"--cursor": cursor, "--fresh": options.pop("fresh"), "--excel": excel, "--delimiter": delimiter}
        return await _export_folder(
            kind, access, query, out, form, others, strict=strict, timeout=timeout, as_json=as_json, **options
        )
    if out == STDOUT and form == "parquet":
        raise click.UsageError("Parquet cannot be written to stdout. Give OUT a name that ends in .parquet")
    path = Path(f"stdout.{form or 'jsonl'}" if out == STDOUT else out)
    if out != STDOUT:
        check_output(path, excel=excel, delimiter=delimiter)
        if form is not None and form != path.suffix.lower().removeprefix("."):
            raise click.UsageError(f"--format {form} contradicts the name {out}")
    elif delimiter is not None and form != "csv":
        raise click.UsageError("--delimiter is for --format csv")
    elif options["overwrite"] or options["fresh"] or as_json:
        raise click.UsageError("--overwrite, --fresh and --json are for files, not for stdout")
    async with access.client() as client:
        reports = _reports(client, kind)
        is_parquet = path.suffix.lower() == PARQUET

        def ask(after: str | None) -> RecordStream[Any]:
            # Parquet has fixed columns, and none for fields that the models do not know.
            return query.stream(reports, cursor=after, extra=not is_parquet, strict=strict, timeout=timeout)

        if out == STDOUT:
            from videoapi.cli.export_stdout import export_to_stdout

            return await export_to_stdout(
                ask(cursor),
                line_format(path, table, excel=excel, delimiter=delimiter),
                strict=strict,
                quiet=options["quiet"],
            )
        question = {
            **source_of(kind, access, client),
            "from": (query.start or "").strip(),
            "to": (query.end or "").strip(),
            "room": query.room_id or "",
            **({"conference": query.conf_num} if query.conf_num is not None else {}),
        }
        job = ExportOptions(
            out=path,
            table=table,
            model=reports._kind.model,
            question=question,
            last=None if query.end is None else period_day(query.end, field="end"),
            cursor=cursor,
            excel=excel,
            delimiter=delimiter,
            strict=strict,
            as_json=as_json,
            again=typed_command(without=("--fresh",)),
            **options,
        )
        return await export(job, ask)


async def _export_folder(
    kind: str,
    access: ClientOptions,
    query: ReportQuery,
    out: str,
    form: str | None,
    others: Mapping[str, object],
    *,
    strict: bool,
    timeout: float | None,
    **options: Any,
) -> int:
    from videoapi.arrow.optional import require_pyarrow

    # Before the modules that import it.
    require_pyarrow()
    from videoapi.arrow.periods import Period
    from videoapi.cli.export_folder import FolderOptions, check_folder, export_folder
    from videoapi.cli.invocation import typed_command
    from videoapi.models.validation import period_day

    check_folder(out, form=form, others=others)
    if not (query.start and query.end):
        raise click.UsageError("--partition needs the days FROM and TO")
    period = Period(period_day(query.start, field="start"), period_day(query.end, field="end"))
    async with access.client() as client:
        reports = _reports(client, kind)
        job = FolderOptions(
            folder=Path(out),
            kind=kind,
            source={**source_of(kind, access, client), **({"room": query.room_id} if query.room_id else {})},
            period=period,
            strict=strict,
            again=typed_command(),
            **options,
        )
        # Checks the query before a folder is made.
        query.stream(reports)

        def ask(one: Period) -> RecordStream[Any]:
            part = ReportQuery(f"{one.first}", f"{one.last}", query.room_id, None)
            return part.stream(reports, strict=strict, timeout=timeout)

        return await export_folder(job, ask)


def source_of(kind: str, access: ClientOptions, client: VideoClient) -> dict[str, str]:
    """Return what is exported, and for which account."""
    return {**access.account_of(client), "records": kind}


def _reports(client: VideoClient, kind: str) -> Reports[Any]:
    return client.cdr if kind == "cdr" else client.archives
