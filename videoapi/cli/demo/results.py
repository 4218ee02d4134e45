"""The results of the demo, for its report. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date

import attrs


@attrs.frozen
class DemoStep:
    """One step of the workflow: its count, unit and duration in seconds."""

    what: str
    count: int
    unit: str
    seconds: float

    @property
    def rate(self) -> float:
        """The count per second."""
        return self.count / self.seconds if self.seconds > 0 else 0.0


@attrs.frozen
class DemoCheck:
    """One count, according to the client and to the sandbox's ledger."""

    what: str
    client: int
    ledger: int

    @property
    def agrees(self) -> bool:
        """Whether the two counts are equal."""
        return self.client == self.ledger


@attrs.define
class DemoResults:
    """All results, collected step by step.

    Args:
        steps: The completed steps.
        checks: The counts to compare.
        survived: Number of requests that met a fault, by its name.
        minutes: Connected minutes of all users per UTC day.
        calls: Call records per UTC day.
    """

    steps: list[DemoStep] = attrs.field(factory=list)
    checks: list[DemoCheck] = attrs.field(factory=list)
    survived: Counter[str] = attrs.field(factory=Counter)
    minutes: defaultdict[date, float] = attrs.field(factory=lambda: defaultdict(float))
    calls: Counter[date] = attrs.field(factory=Counter)

    @property
    def agree(self) -> bool:
        """Whether every count agrees."""
        return all(check.agrees for check in self.checks)

    def check(self, what: str, client: int, ledger: int) -> None:
        """Add a count of the client and of the ledger."""
        self.checks.append(DemoCheck(what, client, ledger))
