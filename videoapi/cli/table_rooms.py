"""The rooms of a job, compared with a table."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

_MOST_DIGITS: Final = 20
Sent: TypeAlias = Callable[[str | int], bool]
"""Returns whether the create of a key may have been sent."""


class TableRooms:
    """The rooms that a job has, or may have, compared with a table, which may have a million lines.

    Args:
        titles: The marks of the titles of the table by key.
    """

    def __init__(self, titles: Mapping[str | int, int]) -> None:
        self._titles = titles
        self.lacking: set[str | int] = set(titles)
        """The keys of the table without a room."""
        self.titled: set[str | int] = set()
        """Those for which there is a room with another title."""
        self.elsewhere: dict[str | int, int] = {}
        """The marks of the other rooms by key."""
        self.marks: array[int] = array("q")
        """The marks of the rooms under keys of the table."""
        self.unsure: set[str | int] = set()
        """The keys whose room may not exist."""
        self.are_named: bool = True
        """Whether the title of each room is known."""

    def __len__(self) -> int:
        return len(self._titles) - len(self.lacking) + len(self.elsewhere)

    def add(self, key: str | int, mark: int, *, is_sure: bool) -> None:
        """Add a room, unless there is one with this key."""
        is_new = key in self.lacking or (key not in self._titles and key not in self.elsewhere)
        if is_sure:
            self.unsure.discard(key)
        elif is_new:
            self.unsure.add(key)
        self.are_named = self.are_named and mark != 0
        if key in self.lacking:
            self.lacking.discard(key)
            self.marks.append(mark)
            if mark not in (0, self._titles[key]):
                self.titled.add(key)
        elif key not in self._titles and not self.elsewhere.get(key):
            self.elsewhere[key] = mark

    def has_other_type(self, key: str | int, was_sent: Sent, *, strict: bool) -> bool:
        """Return whether there is a room under the number that a key is as text, or under the text of a number.

        Args:
            key: The key.
            was_sent: Returns whether the create of a key may have been sent.
            strict: Whether it counts only if the title is the same, or not known.
        """
        other = _other_type(key)
        if other is None or other in self._titles or not (other in self.elsewhere or was_sent(other)):
            return False
        return not strict or self.elsewhere.get(other, 0) in (0, self._titles[key])


def _other_type(key: str | int) -> str | int | None:
    """Return the number that a key is as text, or the text of a number; None for other text."""
    if isinstance(key, int):
        return str(key)
    is_number = len(key) <= _MOST_DIGITS and key.removeprefix("-").isascii() and key.removeprefix("-").isdecimal()
    return number if is_number and str(number := int(key)) == key else None
