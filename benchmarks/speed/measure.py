"""What a measurement is made of, and the arithmetic of rounds: medians, quartiles, ratios, limits."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class Options:
    """How thoroughly to measure.

    Args:
        rounds: Interleaved rounds; each variant runs once in each.
        seconds: How long a variant runs in a round.
        quick: Whether to leave out what takes long.
        full: Whether to measure also what takes very long.
        peers: Whether the clients of others take part.
        match: Only settings whose words hold this text.
    """

    rounds: int = 11
    seconds: float = 0.2
    quick: bool = False
    full: bool = False
    peers: bool = True
    match: str = ""


@attrs.frozen
class Row:
    """One measured thing in one setting.

    Args:
        name: What was measured.
        setting: In which setting.
        unit: Unit of the values.
        values: One a round, as measured.
        ratios: One a round, against what the row is compared with in the same round; none for the reference itself.
        limit: What the median ratio must keep, or where there are no ratios the median value.
        higher_is_better: Whether the limit is a floor.
        against: What the ratios are against, where it is not the reference of the result.
    """

    name: str
    setting: str
    unit: str
    values: list[float]
    ratios: list[float] = attrs.field(factory=list)
    limit: float | None = None
    higher_is_better: bool = False
    against: str = ""

    @property
    def judged(self) -> float:
        """The median that the limit speaks of."""
        return statistics.median(self.ratios or self.values)

    @property
    def kept(self) -> bool | None:
        """Whether the limit is kept; None where there is none."""
        if self.limit is None:
            return None
        return self.judged >= self.limit if self.higher_is_better else self.judged <= self.limit


@attrs.frozen
class Result:
    """One line of what is to be shown: one table, one JSON, one plot.

    Args:
        slug: Name of its files.
        title: Its heading.
        reference: What ratios are against, in words.
        rows: What was measured.
        notes: What a reader must know.
        points: A line plot in place of bars: labels `x` and `y`, and `series`, each with `name`, `x`, `y` and
            perhaps `fit`, the fitted line at the same `x`; `log` names the logarithmic axes: `x`, `y` or `xy`.
            Several plots beside each other are `panels`, each such a mapping with a `title`.
    """

    slug: str
    title: str
    reference: str
    rows: list[Row]
    notes: list[str] = attrs.field(factory=list)
    points: dict[str, Any] = attrs.field(factory=dict)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def against_neighbours(values: Sequence[float], references: Sequence[float]) -> list[float]:
    """Return the ratio of each value to the mean of the references measured before and after it.

    Args:
        values: In the order in which they were measured.
        references: The one before the first value, and the one after each.
    """
    pairs = itertools.pairwise(references)
    return [2 * value / (before + after) for value, (before, after) in zip(values, pairs, strict=True)]


def divided(ratios: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return, round by round, how the first compares with the second, both being ratios to the same reference."""
    return [one / other for one, other in zip(ratios, others, strict=True)]
