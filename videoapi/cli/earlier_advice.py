"""What a table has in common with an earlier job, and what the user is advised to do about it. Pure."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from videoapi.cli.inputs import JSONL


class Situation(enum.Enum):
    """How the table of a new job relates to an earlier job that has its rooms."""

    SAME_FILE = "the same file, with another --out"
    MOVED = "the same name, in another folder"
    OTHER_TYPES = "keys that are text in one table, and numbers in the other"
    OTHER_COLUMN = "the keys of the job, in a column that is not the key column now"
    OTHER_KEYS = "other keys"
    COPY_WITH_IDS = "a copy that --with-ids has written"
    PART = "few of the lines"
    CORRECTED = "most of the lines, or more"


@attrs.frozen(kw_only=True)
class Relation:
    """What is known of two tables, from which the situation follows.

    Args:
        is_same_file: Whether they are one file.
        has_same_name: Whether they have one file name.
        shares_keys: Whether the job has rooms under keys of the new table.
        as_typed: Whether shared keys have the same type in both.
        has_column: Whether the new table has keys of the job in the job's key column.
        has_ids: Whether the new table has a column room_id that is left out.
        lines: Number of lines of the new table.
        lines_then: Number of lines of the other table.
    """

    is_same_file: bool = False
    has_same_name: bool = False
    shares_keys: bool = True
    as_typed: bool = True
    has_column: bool = False
    has_ids: bool = False
    lines: int = 0
    lines_then: int = 0


def situation_of(tables: Relation) -> Situation:
    """Return the situation; of several that apply, the one whose advice leads on."""
    if not tables.shares_keys:
        return Situation.OTHER_COLUMN if tables.has_column else Situation.OTHER_KEYS
    if not tables.as_typed:
        return Situation.OTHER_TYPES
    if tables.is_same_file:
        return Situation.SAME_FILE
    if tables.has_same_name:
        return Situation.MOVED
    if tables.has_ids:
        return Situation.COPY_WITH_IDS
    return Situation.PART if 2 * tables.lines < tables.lines_then else Situation.CORRECTED


def advice_for(situation: Situation, *, ours: str, theirs: str, out: str, quoted: str, column: str) -> str:
    """Return what to do.

    Args:
        situation: The situation.
        ours: File name of the new table.
        theirs: File name of the table of the job.
        out: The outcome file of the job.
        quoted: The same, for a shell.
        column: The key column of the job.
    """
    as_then = "before" if ours == theirs else f"in {theirs}"
    match situation:
        case Situation.SAME_FILE:
            return f"To continue that job, give --out {quoted}."
        case Situation.MOVED:
            return (
                f"If {ours} was moved or copied from there, move all files whose names begin with {out} as well, and "
                "repeat the command."
            )
        case Situation.OTHER_TYPES if Path(ours).suffix.lower() not in JSONL:
            return (
                "The keys of that job are numbers, and those of a CSV file are always text: continue it with "
                f"{theirs}, with numbers as keys."
            )
        case Situation.OTHER_TYPES:
            return f"The keys are text in one of the two, and numbers in the other: write those of {ours} as {as_then}."
        case Situation.OTHER_COLUMN:
            return f"The keys of that job are in the column {column}. To continue it, give --key-column {column}."
        case Situation.OTHER_KEYS:
            return (
                f"If these are the same rooms, give each line of {ours} the key that it has in {theirs} (column "
                f"{column}), and repeat the command."
            )
        case Situation.COPY_WITH_IDS:
            return f"Do not save it as {theirs}: it has a column room_id, as a copy by --with-ids."
        case Situation.PART:
            return f"Do not save it as {theirs}, which has many more lines."
        case Situation.CORRECTED:
            return f"If {ours} is a corrected {theirs}, save it as {theirs} and repeat the command with that name."


def renamed_lines(
    ours: Mapping[str | int, int],
    lines: Iterable[str | int],
    elsewhere: Iterable[int],
    others: Iterable[int] = (),
) -> set[str | int]:
    """Return the keys of the lines of a table that are rooms that a job has under keys that the table lacks.

    A room is recognized by its name and start, if these occur once in each of the two: of lessons that are all called
    "Meeting", and have no start, none is recognized.

    Args:
        ours: Marks of the titles of the table, by key.
        lines: The keys under which the job has no room.
        elsewhere: Marks of the titles of the rooms under keys that the table lacks.
        others: Those of the other rooms of the job.
    """
    counts_then = Counter(elsewhere)
    counts_then.update(mark for mark in others if mark in counts_then)
    counts = Counter(mark for mark in ours.values() if mark in counts_then)
    return {key for key in lines if (mark := ours[key]) and counts[mark] == counts_then[mark] == 1}


def are_most(renamed: int, lines: int, rooms: int) -> bool:
    """Return whether the lines that are rooms under other keys are half or more of a table, or of the rooms of a job.

    Args:
        renamed: Number of these lines.
        lines: Number of lines of the table.
        rooms: Number of rooms of the job.
    """
    return renamed > 0 and 2 * renamed >= min(lines, rooms)
