"""The attempts of one call: credentials, admission, sending, and whether to retry."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import attrs

from videoapi.errors import ConfigurationError, VideoAPIError
from videoapi.pipeline.accounts import AccountState, ClientAccounts
from videoapi.pipeline.admission import Ready
from videoapi.pipeline.call import Call, Wait
from videoapi.pipeline.clock import Clock
from videoapi.pipeline.credentials import CredentialsProvider
from videoapi.pipeline.reporting import Reporter
from videoapi.protocol.backoff import FINAL, GiveUp, Retry, decide
from videoapi.protocol.classify import DONE
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request
from videoapi.protocol.types import Classification, ErrorKind, Phase, Verdict
from videoapi.transport.attempt import Attempt
from videoapi.transport.permits import Permits

_POLL: Final = 0.5
_EXPIRIES: Final = 3
"""How often connecting may outlast a slot before the attempt is sent anyway."""
_FENCED: Final = Classification(Verdict.NOT_SENT, ErrorKind.CONNECTION)


class AttemptSender(Protocol):
    """What sends one attempt."""

    def check(self) -> object:
        """Raise ConfigurationError if the client is closed or belongs to another event loop."""
        ...

    def permits_for(self, request: Request) -> Permits:
        """Return the permits of which an attempt needs one."""
        ...

    async def send(self, request: Request, attempt: Attempt) -> Outcome:
        """Send an attempt whose permit is held, and release it."""
        ...


@attrs.frozen(kw_only=True)
class Retries:
    """Sends the attempts of a call until one is final, or policy, budget or time end it.

    Args:
        transport: Sends one attempt.
        accounts: The accounts of the client.
        credentials: Asked before each attempt.
        clock: Time, sleep and randomness.
        reporter: Reports each attempt.
    """

    transport: AttemptSender
    accounts: ClientAccounts
    credentials: CredentialsProvider
    clock: Clock
    reporter: Reporter

    async def send(self, call: Call, request: Request) -> Outcome:
        """Send attempts until one is final.

        Raises:
            ConfigurationError: If the client is closed, or its credentials callable fails.
        """
        now = self.clock.now
        record, fence = call.record, request.fence
        attempt = unknown = 0
        spent = 0.0
        expired = 0
        while True:
            began = waits_from = now()
            try:
                credentials = self.credentials.fixed
                if credentials is None:
                    credentials = await self.credentials.ask(call)
                    began = now()
                account = self.accounts.use(credentials.app_id)
                permits = self.transport.permits_for(request)
                ready: Ready = account.gate.is_open
                if not (ready() and permits.acquire_nowait()):
                    admitted = await self._admit(account, permits, call, request)
                    if isinstance(admitted, Outcome):
                        return attrs.evolve(admitted, attempts=attempt, may_have_executed=unknown > 0)
                    ready, began = admitted, now()
                if call.over:
                    # A middleware started this task and ended without it.
                    permits.release()
                    raise ConfigurationError("A middleware's call ended before its request was sent. Not sent.")
                may_write = ready if expired < _EXPIRIES else None
                if fence is not None:
                    may_write = partial(_may_write, may_write, fence)
                this = Attempt(credentials, call.limit, call.deadline, began, permits, may_write)
                if record is None:
                    outcome = await self.transport.send(request, call.begin(this))
                else:
                    record.waited(began - waits_from)
                    outcome = await record.attempt(self.transport.send, request, call.begin(this))
            except VideoAPIError as error:
                # It could not be sent, for example because the client was closed; earlier attempts were.
                executed = call.attempt is not None and call.attempt.protocol is not None
                error.attempts, error.may_have_executed = attempt, unknown > 0 or executed
                if not executed:
                    call.attempt = None
                error.message = error.message.replace("Not sent.", call.state)
                raise
            if this.expired:
                # Connecting took so long that the account was paused, or the slot of its rate passed.
                expired += 1
                call.attempt = None
                if fence is not None and not fence():
                    lost = Outcome(classification=_FENCED, phase=Phase.NOT_SENT, reason="the lease of the run ended")
                    return attrs.evolve(lost, attempts=attempt, may_have_executed=unknown > 0)
                continue
            attempt += 1
            verdict = outcome.classification.verdict
            if outcome.stream is not None:
                call.streams.append(outcome.stream)
            if attempt > 1 or verdict is not Verdict.DONE:
                outcome = _with_history(outcome, request, attempt, unknown)
            if began - waits_from > 0.001:
                outcome = attrs.evolve(outcome, waited=began - waits_from)
            step: Retry | GiveUp = FINAL
            if outcome.classification.verdict is Verdict.DONE:
                # An opened stream gets back what its last retry cost; it earns more when its body has ended.
                account.succeeded(began, spent or None if request.stream else spent)
            else:
                unknown += verdict is Verdict.UNKNOWN
                self._update_gates(account, credentials.app_id, outcome, began)
                step, cost = self._next_step(account, request, outcome, attempt, unknown, call.deadline - now())
                spent = cost or spent
            call.end(verdict, outcome.phase)
            if call.reported:
                self.reporter.attempted(call, request, outcome, attempt, now() - began, step)
            if isinstance(step, GiveUp):
                return outcome
            must_stop = request.options.must_stop
            if must_stop is not None and must_stop():
                return outcome
            self.reporter.retrying(request, outcome, attempt, step.delay)
            call.wait_for(Wait.BACKOFF)
            if not await self._back_off(step.delay, must_stop):
                return outcome

    async def _back_off(self, seconds: float, must_stop: Callable[[], bool] | None) -> bool:
        """Wait before a retry; return whether the call's run has not ended."""
        if must_stop is None:
            await self.clock.sleep(seconds)
            return True
        # In short sleeps, so that a run that ends does not wait for a long Retry-After.
        end = self.clock.now() + seconds
        while (left := end - self.clock.now()) > 0 and not must_stop():
            await self.clock.sleep(min(left, _POLL))
        return not must_stop()

    async def _admit(self, account: AccountState, permits: Permits, call: Call, request: Request) -> Outcome | Ready:
        """Wait for a permit and the account's turn; return the outcome of an attempt that cannot wait so long."""
        if account.gate.is_open():
            call.wait_for(Wait.CONNECTION)
            await permits.acquire()
            must_stop = request.options.must_stop
            # The account may have been paused since, or the run may have ended.
            if account.gate.is_open() and not (must_stop is not None and must_stop()):
                return account.gate.is_open
            permits.release()
        return await account.admission.enter(permits, call, request)

    def _next_step(
        self, account: AccountState, request: Request, outcome: Outcome, attempt: int, unknown: int, left: float
    ) -> tuple[Retry | GiveUp, float]:
        """Return what to do after a failure, and what that costs of the budget."""
        step = decide(
            request.options.retry,
            request.route.operation,
            outcome.classification,
            attempt=attempt,
            unknown=unknown,
            retry_after=outcome.retry_after,
            left=left,
            random=self.clock.random,
        )
        if isinstance(step, GiveUp):
            return step, 0.0
        cost = account.budget.spend(outcome.verdict)
        return (GiveUp("budget"), 0.0) if cost is None else (step, cost)

    def _update_gates(self, account: AccountState, app_id: str, outcome: Outcome, began: float) -> None:
        # A rate limiter asks for a pause, whether or not its response proves that nothing was executed.
        if outcome.verdict is Verdict.THROTTLED or outcome.status in (425, 429):
            was_paused = account.throttle.pause_left() > 0
            account.admission.pause(outcome.retry_after)
            if not was_paused:
                self.reporter.paused(app_id, account.throttle.pause_left(), outcome)
        elif outcome.verdict is Verdict.NOT_SENT and outcome.classification.kind is ErrorKind.CONNECTION:
            account.connect.pause()
        elif outcome.phase is Phase.ANSWERED:
            # The origin responds again, whatever it says.
            account.connect.resume(began)
            if outcome.verdict is not Verdict.UNKNOWN:
                account.throttle.resume(began)


def _may_write(ready: Callable[[], bool] | None, fence: Callable[[], bool]) -> bool:
    # The fence last, so that nothing comes between it and the write.
    return (ready is None or ready()) and fence()


def _with_history(outcome: Outcome, request: Request, attempt: int, unknown: int) -> Outcome:
    """Add to an outcome what the attempts before it left open."""
    if outcome.verdict is Verdict.DONE:
        return attrs.evolve(outcome, attempts=attempt)
    gone = outcome.classification.kind is ErrorKind.NOT_FOUND and outcome.verdict is Verdict.REJECTED
    if gone and unknown and request.method == "DELETE":
        # An earlier attempt, whose response was lost, deleted it.
        return attrs.evolve(outcome, classification=DONE, attempts=attempt, may_have_executed=True)
    return attrs.evolve(outcome, attempts=attempt, may_have_executed=outcome.may_have_executed or unknown > 0)
