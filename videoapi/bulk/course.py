"""The stop condition of a bulk run."""

from __future__ import annotations

from videoapi.bulk.report import BulkReport
from videoapi.errors import CallTimeout, VideoAPIError
from videoapi.pipeline.accounts import ClientAccounts


class Course:
    """The stop condition of a bulk run: its timeout, an account-level error, or `give_up_after` seconds of refusals.

    Args:
        accounts: The accounts of the client; their gates are closed during refusals.
        report: Receives the error that stopped the run.
        timeout: Limit of the whole run, in seconds, or None.
        give_up_after: Seconds of connect failures and throttling, without any other response, that end the run.
    """

    __slots__ = (
        "_accounts",
        "_clock",
        "_deadline",
        "_give_up_after",
        "_last_answer",
        "_report",
        "_timeout",
        "gave_up",
        "stopping",
    )

    def __init__(
        self, accounts: ClientAccounts, report: BulkReport, timeout: float | None, give_up_after: float
    ) -> None:
        self._accounts = accounts
        self._report = report
        self._timeout = timeout
        self._give_up_after = give_up_after
        self._clock = accounts.current.clock.now
        self._deadline: float | None = None
        self._last_answer = 0.0
        self.stopping = False
        self.gave_up = False

    def begin(self) -> None:
        """Start the timeout and the `give_up_after` period."""
        self._last_answer = now = self._clock()
        self._deadline = None if self._timeout is None else now + self._timeout

    def answered(self) -> None:
        """Record a response that is not a throttling response."""
        self._last_answer = self._clock()

    def stop(self, error: VideoAPIError) -> None:
        """End the run; `report.stopped` keeps the first error."""
        self.stopping = True
        self._report.stopped = self._report.stopped or error

    def must_stop(self) -> bool:
        """Return whether nothing more may be sent."""
        if self.stopping:
            return True
        account = self._accounts.current
        refused = account.connect.closed or account.throttle.closed
        if not refused and self._deadline is None:
            return False
        now = self._clock()
        self.gave_up = refused and now - self._last_answer > self._give_up_after
        if self._deadline is not None and now >= self._deadline:
            self.stop(CallTimeout(f"The run's timeout of {self._timeout:g} s ended.", retryable=True))
        self.stopping = self.stopping or self.gave_up
        return self.stopping
