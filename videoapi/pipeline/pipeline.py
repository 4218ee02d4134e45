"""One call: send, then a value or an error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from videoapi.errors import VideoAPIError
from videoapi.events import CallEvent, Listener, emit, log
from videoapi.pipeline.accounts import AccountState
from videoapi.pipeline.middleware import Send
from videoapi.protocol.backoff import Retry, decide
from videoapi.protocol.error_mapping import error_from_outcome
from videoapi.protocol.outcome import BufferedStream, Outcome, answered, no_response, truncated
from videoapi.protocol.routes import Options, Request
from videoapi.protocol.verdicts import ErrorKind, Phase, Verdict


class Pool(Protocol):
    """What calls need to know of the connections below them."""

    @property
    def max_connections(self) -> int: ...

    def check(self) -> None:
        """Raise ConfigurationError if the connections are closed or belong to another event loop."""
        ...

    def may_prefetch(self) -> bool:
        """Return whether a stream may be opened ahead of its use."""
        ...


@attrs.frozen(kw_only=True)
class Pipeline:
    """What every namespace is handed: a way to send, and the limits of its calls.

    Args:
        chain: The middleware down to the wire.
        options: Limits of each call.
        pool: The connections.
        pace: What the calls of this account share.
        listeners: Told of each call.
        guarded: Whether user middleware stands in the chain, so that `timeout` must bound it too.
        conceal: Strikes the credentials out of a streamed failure.
    """

    chain: Send
    options: Options
    pool: Pool
    account: AccountState
    listeners: Sequence[Listener] = ()
    has_middleware: bool = False
    redact: Callable[[Outcome], Outcome] = lambda outcome: outcome

    async def run(self, request: Request) -> Any:
        """Send a request and return its decoded payload.

        Raises:
            VideoAPIError: The class and its attributes tell what happened.
        """
        outcome = await self.send(request)
        if outcome.classification.verdict is Verdict.DONE:
            return outcome.value
        raise error_from_outcome(request, outcome)

    async def open_stream(self, request: Request) -> Outcome:
        """Send a request and return the outcome with its body still open; the retries cover its head.

        Raises:
            VideoAPIError: No successful head came.
        """
        outcome = await self.send(request)
        if outcome.verdict is Verdict.DONE:
            if outcome.stream is not None:
                return outcome
            # A middleware has answered by itself.
            whole = BufferedStream(outcome.status or 200, outcome.headers, outcome.body)
            return attrs.evolve(outcome, stream=whole)
        raise error_from_outcome(request, outcome)

    def send(self, request: Request) -> Awaitable[Outcome]:
        """Send a request and return what became of it, whatever that is."""
        watched = self.listeners or self.has_middleware or log.isEnabledFor(logging.DEBUG)
        return self._send_observed(request) if watched else self.chain(request)

    async def _send_observed(self, request: Request) -> Outcome:
        began = self.account.clock.now()
        outcome = await (self._send_bounded(request) if self.has_middleware else self.chain(request))
        emit(self.listeners, _event(request, outcome, self.account.clock.now() - began))
        return outcome

    async def _send_bounded(self, request: Request) -> Outcome:
        # A little later than the retries' own deadline, which knows more of what happened.
        limit = asyncio.timeout(request.timeout + 0.25)
        try:
            async with limit:
                return await self.chain(request)
        except TimeoutError:
            if not limit.expired():
                raise
        return no_response(request, Phase.SENT, ErrorKind.TIMEOUT, "a middleware did not end in time")

    def classify(self, request: Request, status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Judge the envelope that is left of a streamed body when its items are taken out."""
        return self.redact(answered(request, status, headers, body))

    def interrupted(self, request: Request, reason: str, timed_out: bool, status: int = 200) -> Outcome:
        """Judge a streamed body that broke."""
        return truncated(request, status, {}, reason, ErrorKind.TIMEOUT if timed_out else ErrorKind.CONNECTION)

    async def retry_read(self, request: Request, outcome: Outcome, attempt: int) -> bool:
        """Decide whether a read that broke in its body is made again, and wait the backoff.

        Args:
            request: The read.
            outcome: How it ended.
            attempt: How many bodies have broken in a row without a new record, from 1.
        """
        step = decide(
            self.options.retry,
            request.route.operation,
            outcome.classification,
            attempt=attempt,
            unknown=attempt,
            retry_after=outcome.retry_after,
            left=request.timeout,
            random=self.account.clock.random,
        )
        if not isinstance(step, Retry) or self.account.budget.spend(outcome.verdict) is None:
            return False
        await self.account.clock.sleep(step.delay)
        return True

    def error(self, outcome: Outcome, request: Request, attempts: int) -> VideoAPIError:
        """Return the error that tells a failed outcome."""
        return error_from_outcome(request, attrs.evolve(outcome, attempts=attempts))


def _event(request: Request, outcome: Outcome, seconds: float) -> CallEvent:
    return CallEvent(
        route=request.route.name,
        method=request.method,
        path=request.route.template,
        attempts=outcome.attempts,
        status=outcome.status,
        code=outcome.code,
        verdict=outcome.verdict.value,
        seconds=seconds,
        request_id=outcome.details.request_id if outcome.details else None,
    )
