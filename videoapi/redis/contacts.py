"""By when, on this process' own clock, the changes had happened that Redis counts."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

_MOST_COUNTERS: Final = 64
_MOST_ANSWERS: Final = 256


class Contacts:
    """What Redis had counted when it answered, and when this process had the answer.

    Redis counts changes without a time, because its clock may be set. What it had counted in an answer had happened by
    the time that the answer was here. So the earliest answer that counts a change is a moment by which it had
    happened, whatever other clocks say.

    Any thread may use it, also in a process that was forked. An answer that it drops, because there are many or because
    threads meet, only makes such a moment later.
    """

    def __init__(self) -> None:
        self._counters: dict[str, tuple[tuple[int, float], ...]] = {}

    def note(self, counter: str, change: int, now: float) -> None:
        """Add an answer.

        Args:
            counter: Names what counts: another name as soon as the count may have gone back.
            change: How many changes it had counted.
            now: A moment after the answer was here.
        """
        answers = self._counters.pop(counter, ())
        if not answers or (change > answers[-1][0] and now >= answers[-1][1]):
            answers = (*answers[1 - _MOST_ANSWERS :], (change, now))
        self._counters[counter] = answers
        for oldest in list(self._counters)[:-_MOST_COUNTERS]:
            self._counters.pop(oldest, None)

    def happened_by(self, counter: str, change: int) -> float | None:
        """Return a moment by which a change had happened; None if no answer has counted it."""
        answers = self._counters.get(counter, ())
        place = bisect_left(answers, change, key=lambda answer: answer[0])
        return answers[place][1] if place < len(answers) else None
