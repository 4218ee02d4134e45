"""The types of a measurement, and the arithmetic of rounds: medians, quartiles, ratios, limits."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class Options:
    """The scope of a benchmark run.

    Args:
        rounds: Interleaved rounds; each variant runs once in each.
        seconds: Duration of a variant in a round.
        quick: Whether to skip long benchmarks.
        full: Whether to include the longest benchmarks.
        peers: Whether to include other vendors' clients.
        match: Run only settings that contain this text.
    """

    rounds: int = 11
    seconds: float = 0.2
    quick: bool = False
    full: bool = False
    peers: bool = True
    match: str = ""


@attrs.frozen
class Row:
    """One measurement in one setting.

    Args:
        name: The name of what was measured.
        setting: The setting.
        unit: Unit of the values.
        values: The measured values, one per round.
        ratios: Ratios to the reference of the same round, one per round; empty for the reference itself.
        limit: The limit for the median ratio, or for the median value if `ratios` is empty.
        higher_is_better: Whether the limit is a minimum.
        against: What the ratios refer to, if not to the reference of the result.
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
        """The median that the limit applies to."""
        return statistics.median(self.ratios or self.values)

    @property
    def kept(self) -> bool | None:
        """Whether the limit is kept; None without a limit."""
        if self.limit is None:
            return None
        return self.judged >= self.limit if self.higher_is_better else self.judged <= self.limit


@attrs.frozen
class Result:
    """The result of one benchmark: one table, one JSON file, one plot.

    Args:
        slug: Base name of its files.
        title: The heading.
        reference: What ratios refer to, in words.
        rows: The measurements.
        notes: Remarks that readers need.
        points: A line plot instead of bars: labels `x` and `y`, and `series`, each with `name`, `x`, `y` and
            optionally `fit`, the fitted line at the same `x`; `log` names the logarithmic axes: `x`, `y` or `xy`.
            `panels` is a list of such mappings, each with a `title`, for several plots in one figure.
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
        values: Values in the order of measurement.
        references: The reference before the first value, then the one after each value.
    """
    pairs = itertools.pairwise(references)
    return [2 * value / (before + after) for value, (before, after) in zip(values, pairs, strict=True)]


def divided(ratios: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return the quotients per round of two series of ratios to the same reference."""
    return [one / other for one, other in zip(ratios, others, strict=True)]
