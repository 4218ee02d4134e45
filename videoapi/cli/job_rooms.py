"""The rooms of a job, by its outcome files: that of the latest run, and those of earlier runs."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec


class OutcomeRow(msgspec.Struct):
    """A line of an outcome file: the fields that say which room became of which line of the table."""

    status: str = ""
    key: Any = None
    room_id: Any = None
    reference: Any = None
    name: Any = None
    scheduled_time: Any = None


_decode: Final = msgspec.json.Decoder(OutcomeRow).decode


@attrs.frozen
class JobRoom:
    """A room that a run has created, as its outcome file says.

    Args:
        room_id: Its ID.
        key: The key of its line; None if it had none.
        name: Its name; empty if it is not known.
    """

    room_id: str
    key: str | int | None = None
    name: str = ""

    def __str__(self) -> str:
        if self.key is None:
            return self.room_id
        name = f", {self.name}" if self.name and self.name != self.key else ""
        return f"{self.key}{name} (room {self.room_id})"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"room_id": self.room_id, "key": self.key, "name": self.name or None}


def rooms_by_id(out: Path, room_ids: Container[str]) -> dict[str, JobRoom]:
    """Return some rooms by ID, as far as the outcome files know them.

    Args:
        out: The outcome file of the latest run.
        room_ids: The IDs.
    """
    found: dict[str, JobRoom] = {}
    for path in (out, *earlier_outcomes(out)):
        for row in outcomes_in(path):
            if (room := _room(row)) is not None and room.room_id in room_ids:
                found.setdefault(room.room_id, room)
    return found


def rooms_without_line(out: Path, keys: Container[str | int | None], prefix: str) -> list[JobRoom]:
    """Return the rooms that earlier runs of a job have created under keys that its table no longer has.

    Args:
        out: The outcome file of the latest run.
        keys: The keys of the table.
        prefix: The common prefix of the references of the job: next to its files may be those of another one.
    """
    found: dict[str | int | None, JobRoom] = {}
    for path in earlier_outcomes(out):
        for row in outcomes_in(path):
            room = _room(row)
            if room is not None and room.key not in keys and str(row.reference).startswith(prefix):
                found.setdefault(room.key, room)
    return list(found.values())


def earlier_outcomes(out: Path) -> list[Path]:
    """Return the outcome files of earlier runs that are kept next to that of the latest one, the latest first."""
    with suppress(OSError):
        return sorted(numbered(out.parent).get(out.name, ()), key=lambda path: int(path.suffix[1:]), reverse=True)
    return []


def numbered(folder: Path) -> dict[str, list[Path]]:
    """Return the outcome files of earlier runs by the name of the latest; one with a note is of another job."""
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        name, _, number = path.name.rpartition(".")
        if number.isascii() and number.isdecimal() and not path.with_name(f"{path.name}.job").exists():
            found.setdefault(name, []).append(path)
    return found


def outcomes_in(path: Path) -> Iterator[OutcomeRow]:
    """Yield the lines of an outcome file that can be read; none if the file cannot be."""
    # Reading a pipe of this name would never end.
    with suppress(OSError):
        if not path.is_file():
            return
        with path.open("rb") as file:
            for line in file:
                # The last line of a run that was killed can be incomplete.
                with suppress(msgspec.MsgspecError, ValueError, RecursionError):
                    yield _decoded(line)


def _decoded(line: bytes) -> OutcomeRow:
    try:
        return _decode(line)
    except msgspec.DecodeError:
        # Half a surrogate pair, which a key may have, is not decoded.
        return msgspec.convert(json.loads(line), OutcomeRow)


def _room(row: OutcomeRow) -> JobRoom | None:
    if row.status != "created" or not isinstance(row.room_id, str):
        return None
    key = row.key if isinstance(row.key, str | int) else None
    return JobRoom(row.room_id, key, row.name if isinstance(row.name, str) else "")
