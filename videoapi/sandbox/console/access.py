"""Who may look and who may act. Pure.

Every page that is open in a browser on this machine can send requests to loopback. `Host` shows a page whose name was
rebound to loopback, `Origin` and `Sec-Fetch-Site` show a page from elsewhere. The credentials are never sent by the
browser on its own: they are in a header that only a script of this origin can set, and that needs a preflight
request, which is always denied, from anywhere else.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping

import attrs
from multidict import CIMultiDictProxy


@attrs.frozen
class Denial:
    """Why a request is denied: an HTTP status, and a text for the person who sees it."""

    status: int
    text: str


@attrs.frozen
class Access:
    """The rules of one sandbox.

    Args:
        origin: Its scheme, host and port.
        app_id: The user name of actions.
        app_key: The password of actions.
    """

    origin: str
    app_id: str
    app_key: str = attrs.field(repr=False)

    def look(self, headers: CIMultiDictProxy[str], *, page: bool) -> Denial | None:
        """Return why a GET is denied, or None.

        Args:
            headers: The request's headers.
            page: Whether the page itself is requested, which a link on any other page may open.
        """
        denial = self._host(headers)
        if denial is not None:
            return denial
        opened = page and headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
        if opened or headers.get("Sec-Fetch-Site") == "none":
            return None
        return self._site(headers)

    def act(self, headers: CIMultiDictProxy[str]) -> Denial | None:
        """Return why a POST is denied, or None."""
        denial = self._host(headers) or self._site(headers)
        if denial is not None:
            return denial
        if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            return Denial(415, "Send the action as application/json")
        if not self._credentials(headers):
            return Denial(401, "APP_ID or APP_KEY is wrong: use those of this sandbox, which its terminal shows")
        return None

    def hosts(self) -> frozenset[str]:
        """Return the values of `Host` under which the console can be reached."""
        scheme, _, bound = self.origin.partition("://")
        host, _, port = bound.rpartition(":")
        names = {host, "127.0.0.1", "localhost", "[::1]"}
        implied = port == ("443" if scheme == "https" else "80")
        return frozenset(f"{name}:{port}" for name in names) | (names if implied else frozenset())

    def _host(self, headers: CIMultiDictProxy[str]) -> Denial | None:
        hosts = headers.getall("Host", [])
        if len(hosts) == 1 and hosts[0].lower() in self.hosts():
            return None
        return Denial(403, f"The console is at {self.origin}/ and not under other names or ports")

    def _site(self, headers: CIMultiDictProxy[str]) -> Denial | None:
        scheme = self.origin.partition("://")[0]
        own = f"{scheme}://{headers['Host'].lower()}"
        if headers.get("Sec-Fetch-Site", "same-origin") == "same-origin" and headers.get("Origin", own) == own:
            return None
        return Denial(403, "Other pages cannot use the console")

    def _credentials(self, headers: Mapping[str, str]) -> bool:
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        try:
            sent = base64.b64decode(given.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        right = hmac.compare_digest(sent, f"{self.app_id}:{self.app_key}".encode())
        return scheme.lower() == "basic" and right
