"""What the demo found out, for its report. Pure."""

from __future__ import annotations

from collections import Counter
from datetime import date

import attrs


@attrs.frozen
class DemoStep:
    """One part of the job: how many of what in how many seconds."""

    what: str
    count: int
    unit: str
    seconds: float

    @property
    def rate(self) -> float:
        """How many a second."""
        return self.count / self.seconds if self.seconds > 0 else 0.0


@attrs.frozen
class DemoCheck:
    """One count, as the client has it and as the sandbox's ledger has it."""

    what: str
    client: int
    ledger: int

    @property
    def agrees(self) -> bool:
        """Whether the two are the same."""
        return self.client == self.ledger


@attrs.define
class DemoResults:
    """Everything found out; it grows step by step.

    Args:
        steps: What was done.
        checks: Counts to compare.
        survived: How many requests met which trouble.
        minutes: Connected minutes a UTC day.
        calls: Call records a UTC day.
    """

    steps: list[DemoStep] = attrs.field(factory=list)
    checks: list[DemoCheck] = attrs.field(factory=list)
    survived: Counter[str] = attrs.field(factory=Counter)
    minutes: Counter[date] = attrs.field(factory=Counter)
    calls: Counter[date] = attrs.field(factory=Counter)

    @property
    def agree(self) -> bool:
        """Whether every count agrees."""
        return all(check.agrees for check in self.checks)

    def check(self, what: str, client: int, ledger: int) -> None:
        """Note a count of the client and the ledger's."""
        self.checks.append(DemoCheck(what, client, ledger))
