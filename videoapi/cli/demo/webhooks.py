"""The webhooks that the demo receives, compared with those that the sandbox has sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from videoapi.cli.demo.results import DemoResults
from videoapi.sandbox import Sandbox
from videoapi.webhooks import SessionEnded, WebhookEvent, Webhooks

_PATIENCE: Final = 10.0
_LOOK: Final = 0.05


class DemoWebhooks:
    """Counts the events that a receiver gets from a sandbox."""

    def __init__(self, hooks: Webhooks, sandbox: Sandbox) -> None:
        self._hooks = hooks
        self._sandbox = sandbox
        self._events: list[WebhookEvent] = []

        @hooks.on(WebhookEvent)
        async def count(event: WebhookEvent) -> None:
            self._events.append(event)

    async def compare(self, found: DemoResults, conferences: Sequence[str]) -> None:
        """Wait until everything is delivered and handled, and compare the counts."""
        # If it takes longer, the counts differ, which the report shows.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                # The sandbox counts them in another thread.
                while self._sandbox.undelivered or self._hooks.waiting or self._hooks.running:  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK)
        ended = [event.conf_num for event in self._events if isinstance(event, SessionEnded)]
        accepted = sum(delivery.accepted for delivery in self._sandbox.deliveries)
        found.check("sessions announced by webhook", len(set(ended) & set(conferences)), len(conferences))
        found.check("webhooks received", len(self._events), accepted)
        found.check("webhooks not accepted", len(self._sandbox.deliveries) - accepted, 0)
