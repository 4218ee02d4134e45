"""A line of an input file as the join token that it describes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from videoapi.cli.room_lines import ignoring, missing_column, rename_or_ignore, similar
from videoapi.cli.spreadsheet import BadInput
from videoapi.errors import ValidationError
from videoapi.models.tokens import Role, TokenSpec

_REQUIRED: Final = ("room_id", "name", "user_ref")
_COLUMNS: Final = (*_REQUIRED, "role", "key")
_DATA: Final = "data."


def check_token_columns(header: Sequence[str]) -> None:
    """Check the header of a CSV file.

    Raises:
        BadInput: If columns are missing or unknown.
    """
    others = [
        column
        for column in header
        if column not in _COLUMNS and not (column.startswith(_DATA) and len(column) > len(_DATA))
    ]
    for column in _REQUIRED:
        if column not in header:
            raise missing_column(column, header, similar(column, others))
    meant = {column: name for column in others if (name := similar(column, _COLUMNS)) and name not in header}
    own = [column for column in others if column not in meant]
    if others:
        hints = "".join(f" {column!r}: is {name} meant?" for column, name in meant.items())
        advice = f"For columns of your own, give {' '.join(map(ignoring, own))}." if own else rename_or_ignore([*meant])
        raise BadInput(f"not one of {', '.join(_COLUMNS)}, data.…: {', '.join(map(repr, others))}.{hints} {advice}")


def token_of(fields: Mapping[str, Any]) -> TokenSpec:
    """Return the token described by a row of a CSV file or an object of a JSONL file.

    Raises:
        ValidationError: If a field is missing or unknown.
    """
    data = {name.removeprefix(_DATA): value for name, value in fields.items() if name.startswith(_DATA) and value}
    for name in fields:
        if name not in (*_COLUMNS, "data") and not name.startswith(_DATA):
            raise ValidationError(f"{name} is not a field of a token.", field=name)
    for name in _REQUIRED:
        if fields.get(name) in (None, ""):
            raise ValidationError(f"{name} is missing.", field=name)
    return TokenSpec(
        room_id=fields["room_id"],
        name=fields["name"],
        role=fields.get("role") or Role.PARTICIPANT.value,
        user_ref=fields["user_ref"],
        data=fields.get("data") or data or None,
    )
