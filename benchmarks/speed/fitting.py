"""Straight lines fitted to measured points."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import attrs


@attrs.frozen
class Line:
    """`fixed + each * x`."""

    fixed: float
    each: float

    def at(self, x: float) -> float:
        return self.fixed + self.each * x


def through(xs: Sequence[float], ys: Sequence[float], *, relative: bool = False) -> Line:
    """Return the least-squares line.

    Args:
        xs: The points.
        ys: The measured values.
        relative: Whether to minimize relative errors, as for durations: a millisecond matters at ten, not at
            ten thousand.
    """
    weights = [1 / y**2 if relative else 1.0 for y in ys]
    total = sum(weights)
    x0 = sum(weight * x for weight, x in zip(weights, xs, strict=True)) / total
    y0 = sum(weight * y for weight, y in zip(weights, ys, strict=True)) / total
    spread = sum(weight * (x - x0) ** 2 for weight, x in zip(weights, xs, strict=True))
    both = sum(weight * (x - x0) * (y - y0) for weight, x, y in zip(weights, xs, ys, strict=True))
    each = both / spread
    return Line(y0 - each * x0, each)


def middle(rounds: Sequence[Sequence[float]]) -> list[float]:
    """Return the median of each point over the rounds."""
    return [statistics.median(point) for point in zip(*rounds, strict=True)]
