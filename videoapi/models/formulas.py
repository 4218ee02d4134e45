"""Text in the cells of CSV files: an apostrophe before what a spreadsheet would evaluate, and its removal. Pure."""

from __future__ import annotations

import re
from typing import Final

# Spreadsheets evaluate cells with these prefixes, or strip leading whitespace and then evaluate them.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def escaped(text: str) -> str:
    """Return a text as a cell. Different texts are different cells; a number, such as `-5`, is unchanged."""
    # Text with apostrophes before the prefix gets one more: `'=A` would otherwise be the cell of `=A`.
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def unescaped(cell: str) -> str:
    """Return the text of a cell."""
    # A file does not say how it was escaped, or whether. So `'=A` always reads as `=A`, as earlier exports wrote it.
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell
