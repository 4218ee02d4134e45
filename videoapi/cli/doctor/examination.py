"""What the checks of one `videoapi doctor` share: what is known so far, and how long each may wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import attrs

from videoapi.cli.account import Account
from videoapi.cli.client_options import ClientOptions
from videoapi.cli.doctor import masking
from videoapi.cli.trial import LastOutcome, Trial
from videoapi.client import VideoClient
from videoapi.config import DEFAULT_BASE_URL, BaseUrl
from videoapi.session import SessionManager
from videoapi.transport.probe import ConnectionProbe

_MOST_PATIENCE = 5.0
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


@attrs.define
class Examination:
    """The state of an examination; each check adds what it finds.

    Args:
        access: The options of the command.
        timeout: Limit of all checks, in seconds.
        environment: The environment's variables.
        now: The clock of this machine, in seconds since 1970.
    """

    access: ClientOptions
    timeout: float
    environment: Mapping[str, str]
    now: Callable[[], float]
    account: Account = attrs.Factory(lambda: Account({}))
    base: BaseUrl | None = None
    manager: SessionManager | None = None
    client: VideoClient | None = None
    addresses: Sequence[tuple[Any, ...]] = ()
    """What the name resolved to: the arguments of a socket, and the address to connect it to."""
    probe: ConnectionProbe | None = None
    trial: Trial | None = None
    last: LastOutcome = attrs.Factory(lambda self: LastOutcome(self.now), takes_self=True)

    @property
    def patience(self) -> float:
        """Limit of one step on the network, in seconds."""
        return min(_MOST_PATIENCE, self.timeout / 6)

    def source(self, name: str) -> str:
        """Return where a setting comes from."""
        found = self.account.settings.get(name)
        return "default" if found is None else found.source

    @property
    def base_url(self) -> str:
        """The base URL as given."""
        return self.account.value("base_url") or DEFAULT_BASE_URL

    @property
    def proxy(self) -> str | None:
        """The URL of the proxy, which may contain a password."""
        return self.account.value("proxy")

    @property
    def target(self) -> tuple[str, int]:
        """Host and port that connections are opened to: the proxy's, or the API's."""
        assert self.base is not None
        parts = urlsplit(self.proxy or self.base.origin)
        return parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]

    @property
    def target_source(self) -> str:
        """Where the target comes from, for a remedy."""
        return f"the proxy ({self.source('proxy')})" if self.proxy else f"the base URL ({self.source('base_url')})"

    @property
    def ignored_proxy(self) -> str:
        """A sentence about a proxy variable of other programs, which is not used; else empty."""
        name = next((name for name in _PROXIES if self.environment.get(name)), None)
        if name is None or self.proxy:
            return ""
        return f" {name} is set, but not used: to go through that proxy, set VIDEOAPI_PROXY or give --proxy."

    def hide(self, text: str) -> str:
        """Return a text without the keys and passwords that are known, which may be in a wrong variable."""
        known = [self.environment.get(name, "") for name in masking.SECRETS]
        known += [self.account.value(name) or "" for name in ("app_key", "recording_password")]
        known += [urlsplit(self.proxy).password or ""] if self.proxy else []
        return masking.hide(text, known)

    async def aclose(self) -> None:
        """Close the client and its connections."""
        if self.client is not None:
            await self.client.aclose()
        if self.manager is not None:
            await self.manager.aclose()
