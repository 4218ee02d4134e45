"""A check of a whole input file; nothing is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import attrs

from videoapi.cli import exit_codes
from videoapi.cli.inputs import InputFile
from videoapi.cli.outcomes import MOST_SHOWN
from videoapi.cli.room_lines import in_columns
from videoapi.cli.spreadsheet import UnreadableRest
from videoapi.cli.terminal import clean, counted, print_json, print_line, print_status
from videoapi.creation.create_request import check_start_of, create_request, new_reference
from videoapi.errors import ValidationError
from videoapi.models.rooms import RoomSpec
from videoapi.models.tokens import TokenSpec
from videoapi.models.validation import check_room_id
from videoapi.protocol.routes import Options
from videoapi.resources.tokens import token_request


@attrs.frozen
class NextJob:
    """What a command without `--dry-run` would do.

    Args:
        began: When the job began that it would continue; None if it would begin one.
        rooms_again: Number of rooms of the earlier job that it would create again.
    """

    began: str | None
    rooms_again: int = 0

    def __str__(self) -> str:
        if self.began is not None:
            return f"continue the job of {self.began}"
        rooms = counted(self.rooms_again, "room", "rooms")
        return f"begin a new job{f', and create {rooms} of the earlier job again' if self.rooms_again else ''}"


def check(
    given: InputFile[Any],
    job: NextJob | None = None,
    *,
    validate: bool,
    as_json: bool,
    quiet: bool,
    effect: str = "",
) -> int:
    """Print what is wrong with each line of a file, and return the exit code: 0 if all lines are valid.

    Args:
        given: Rooms, tokens or room IDs.
        job: What the command would do with rooms; None if it would be refused.
        validate: Whether to check values as the service does.
        as_json: Whether to print JSON.
        quiet: Whether to print no summary.
        effect: What the command would do with other valid lines, such as `Rooms to delete`.
    """
    # Rooms that an earlier run of the job has created may have started since.
    begins = job is None or job.began is None
    problems: list[dict[str, Any]] = []
    messages: Counter[str] = Counter()
    total = 0
    unreadable: str | None = None
    try:
        with closing(given.lines) as lines:
            for line in lines:
                total += 1
                error = line.error or problem_of(line.given, line.columns, validate=validate, begins=begins)
                if error is None:
                    continue
                problems.append({"line": line.number, "key": line.key, "message": str(error)})
                messages[str(error)] += 1
                # Each line of a file that is not UTF-8 may have the same one.
                if not as_json and messages[str(error)] <= MOST_SHOWN:
                    print_line(clean(f"line {line.number}: {error}"))
    except UnreadableRest as error:
        unreadable = str(error)
    if as_json:
        print_json(
            {
                "total": total,
                "keys": given.keys,
                "sent": given.sent,
                "not_sent": given.not_sent,
                "problems": problems,
                "unreadable": unreadable,
                **({} if effect else {"job": None if job is None else {"new": begins, **attrs.asdict(job)}}),
            }
        )
    else:
        for message, count in messages.items():
            if count > MOST_SHOWN:
                print_line(clean(f"{count - MOST_SHOWN:,} more: {message} --json lists them all."))
        if unreadable is not None:
            print_line(clean(unreadable))
    rest = "" if unreadable is None else ", and the rest of the file cannot be read"
    if given.sent:
        others = [f"{column} (the key)" if column == given.keys else column for column in given.not_sent]
        left_out = f" Not sent: {', '.join(others)}." if others else ""
        print_status(clean(f"Columns sent: {', '.join(given.sent)}.{left_out}"), quiet=quiet)
    many = counted(total, "line", "lines")
    # Only rooms have keys that matter.
    keys = "" if effect else f" Keys: {given.keys}."
    print_status(f"{many}, {len(problems):,} invalid{rest}.{keys} Nothing was sent.", quiet=quiet)
    if effect:
        print_status(f"{effect} without --dry-run: {total - len(problems):,}.", quiet=quiet)
    return exit_codes.FAILED if problems or unreadable is not None else exit_codes.DONE


def problem_of(given: Any, columns: Mapping[str, str], *, validate: bool, begins: bool) -> ValidationError | None:
    """Return why the request for an input cannot be made; None if it can.

    Args:
        given: A spec, or the ID of a room.
        columns: Its columns that have other names than their fields, by field.
        validate: Whether to check values as the service does.
        begins: Whether a start that has passed is a reason.
    """
    try:
        if isinstance(given, RoomSpec):
            create_request(given, new_reference(), Options(), validate=validate)
            if validate and begins:
                check_start_of(given)
        elif isinstance(given, TokenSpec):
            token_request(given, Options(), validate)
        else:
            check_room_id(given)
    except ValidationError as error:
        return in_columns(error, columns)
    return None
