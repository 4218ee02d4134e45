"""Announces the sessions of a sandbox: those that end, and any other on demand."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from videoapi.sandbox.files import Files
from videoapi.sandbox.notifications import TYPES, Notification, announcements, on_demand
from videoapi.sandbox.record_templates import file_urls
from videoapi.sandbox.records import Records
from videoapi.sandbox.webhook_sender import WebhookDelivery, WebhookSender


class Announcer:
    """Makes the notifications of a sandbox, and has them sent.

    Args:
        app_id: The project.
        records: The sessions that have ended.
        files: The files of the sessions.
        sender: Sends the notifications.
        clock: Returns the service's time, an aware datetime.
        origin: Returns the scheme, host and port of the files.
    """

    def __init__(
        self,
        app_id: str,
        *,
        records: Records,
        files: Files,
        sender: WebhookSender,
        clock: Callable[[], datetime],
        origin: Callable[[], str],
    ) -> None:
        self._app_id = app_id
        self._records = records
        self._files = files
        self._sender = sender
        self._clock = clock
        self._origin = origin

    def session_ended(self, room_id: str, conf_num: str) -> None:
        """Send what the service announces of a session that has ended, if the sandbox has a URL to send it to."""
        if self._sender.enabled:
            self._sender.send(self._announcements(room_id, conf_num))

    def notify(self, kind: str, room_id: str, conf_num: str) -> None:
        """Send one notification to the sandbox's own URL, in the background.

        Raises:
            ValueError: If the kind is unknown, or the sandbox has no URL.
        """
        notification = self._on_demand(kind, room_id, conf_num)
        if not self._sender.enabled:
            raise ValueError("the sandbox has no webhook_url")
        self._sender.send([notification])

    async def send(self, kind: str, room_id: str, conf_num: str, url: str | None = None) -> WebhookDelivery:
        """Send one notification once, to any URL, and return what became of it.

        Args:
            kind: A key of `TYPES`.
            room_id: The room; it need not exist.
            conf_num: The session; it need not exist.
            url: Where to; the sandbox's own URL by default. No other one is sent its credentials.

        Raises:
            ValueError: If the kind is unknown, the URL is not usable, or the sandbox was closed or cleared before
                the answer.
        """
        return await self._sender.post(self._on_demand(kind, room_id, conf_num), url)

    def _on_demand(self, kind: str, room_id: str, conf_num: str) -> Notification:
        if kind not in TYPES:
            raise ValueError(f"unknown notification {kind!r}; known are {', '.join(TYPES)}")
        for announced in self._announcements(room_id, conf_num):
            if announced.type == TYPES[kind]:
                return announced
        return on_demand(kind, app_id=self._app_id, room_id=room_id, conf_num=conf_num, at=self._clock())

    def _announcements(self, room_id: str, conf_num: str) -> list[Notification]:
        item = self._records.item(conf_num)
        urls = [] if item is None else file_urls(item, self._origin())
        return announcements(
            partial(self._notification, room_id, conf_num), urls, lambda url: self._files.size(urlsplit(url).path)
        )

    def _notification(self, room_id: str, conf_num: str, kind: str, **files: Any) -> Notification:
        return Notification(kind, self._app_id, room_id, conf_num, self._clock(), **files)
