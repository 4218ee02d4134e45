"""Checks and their report, as lines and as JSON. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import attrs

from videoapi.cli.exit_codes import DOCTOR
from videoapi.cli.terminal import clean

CheckStatus = Literal["ok", "warn", "fail", "skipped"]
_MARKS: Final[Mapping[CheckStatus, str]] = {"ok": "ok", "warn": "warn", "fail": "FAIL", "skipped": "skipped"}
_LABELS: Final = {"dns": "DNS", "tcp": "TCP", "tls": "TLS", "base_url": "base URL"}
_WIDTH: Final = 17


@attrs.frozen(kw_only=True)
class Check:
    """The result of one check.

    Args:
        name: Its name in the JSON report.
        status: `ok`, `warn`, `fail` or `skipped`.
        text: What was found, or why it failed or was skipped.
        remedy: What to do; empty if there is nothing to do.
        facts: Details for the JSON report.
        failed: The check that failed, if this one depends on it and was skipped.
        seconds: How long it took.
    """

    name: str
    status: CheckStatus
    text: str
    remedy: str = ""
    facts: Mapping[str, Any] = attrs.field(factory=dict)
    failed: str | None = None
    seconds: float = 0.0

    @property
    def label(self) -> str:
        return label(self.name)

    @property
    def mark(self) -> str:
        """The status as a word, which does not depend on color."""
        return _MARKS[self.status]

    @property
    def blocks(self) -> str | None:
        """The failed check on whose account the checks that depend on this one are skipped, or None."""
        return self.name if self.status == "fail" else self.failed

    def lines(self, width: int | None = None) -> Sequence[str]:
        """Return the check as a line, with a second one for the remedy.

        Args:
            width: Where to wrap both; None for not at all.
        """
        head = f"{self.mark:<8} {self.label:<{_WIDTH}} "
        blank = " " * len(head)
        found = _wrapped(self.text, head, blank, width)
        return [*found, *_wrapped(self.remedy, f"{blank}-> ", f"{blank}   ", width)] if self.remedy else found


def _wrapped(text: str, first: str, rest: str, width: int | None) -> list[str]:
    text = clean(text)
    if width is None:
        return [first + text]
    # Paths and URLs stay whole, to be copied.
    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=rest, **options)


def label(name: str) -> str:
    """Return the name of a check for people."""
    return _LABELS.get(name, name.replace("_", " "))


def skipped(name: str, failed: str) -> Check:
    """Return a check that was skipped because it depends on a failed one."""
    return Check(name=name, status="skipped", text=f"because {label(failed)} failed", failed=failed)


def first_failure(checks: Sequence[Check]) -> Check | None:
    """Return the first check that failed, or None."""
    return next((check for check in checks if check.status == "fail"), None)


def exit_code(checks: Sequence[Check]) -> int:
    """Return the exit code: that of the first failure, else 0."""
    failed = first_failure(checks)
    return 0 if failed is None else DOCTOR[failed.name]


def summary(checks: Sequence[Check]) -> str:
    """Return the last line for people."""
    failed, warnings = first_failure(checks), sum(check.status == "warn" for check in checks)
    noted = {0: "no warnings", 1: "1 warning"}.get(warnings, f"{warnings} warnings")
    if failed is not None:
        return f"Failed: {failed.label} (exit code {DOCTOR[failed.name]}), {noted}."
    return f"No check failed, {noted}."


def document(checks: Sequence[Check], seconds: float) -> dict[str, Any]:
    """Return the JSON report."""
    failed = first_failure(checks)
    return {
        "ok": failed is None,
        "exit_code": exit_code(checks),
        "failed": None if failed is None else failed.name,
        "seconds": round(seconds, 3),
        "checks": [
            {
                "name": check.name,
                "status": check.status,
                "text": check.text,
                "remedy": check.remedy or None,
                "because_of": check.failed,
                "seconds": round(check.seconds, 3),
                "facts": dict(check.facts),
            }
            for check in checks
        ],
    }
