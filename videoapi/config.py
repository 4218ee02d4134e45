"""The configuration of a client: credentials, base URL, limits."""

from __future__ import annotations

import base64
import ipaddress
import math
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Self

import attrs

from videoapi.errors import ConfigurationError

DEFAULT_BASE_URL: Final = "https://api.enablex.io/video/v2"


class Secret:
    """A string that only `.value` reveals; repr, str and format hide it, and it cannot be pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @property
    def value(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('…')"

    def __str__(self) -> str:
        return "…"

    def __format__(self, spec: str) -> str:
        return "…"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> Any:
        raise TypeError("A secret is not pickled; read it again from where it is kept.")


def _secret(value: str | Secret) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


@attrs.frozen
class Credentials:
    """APP_ID and APP_KEY, the user name and password for HTTP Basic. Source: docs/contract.md 1.1, RFC 7617."""

    app_id: str
    app_key: Secret = attrs.field(converter=_secret)

    def __attrs_post_init__(self) -> None:
        for name, text in (("app_id", self.app_id), ("app_key", self.app_key.value)):
            if not isinstance(text, str) or not text:
                raise ConfigurationError(f"{name} must be text that is not empty.")
            if any(ord(character) < 32 or ord(character) == 127 for character in text):
                raise ConfigurationError(f"{name} holds a control character, such as a line end.")
            # Check here, because Python's UnicodeEncodeError would contain the value.
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise ConfigurationError(f"{name} is no text that UTF-8 can hold.")
        if ":" in self.app_id:
            raise ConfigurationError("app_id holds a colon, which HTTP Basic cannot carry.")

    @property
    def authorization(self) -> str:
        """The value of the `Authorization` header, a secret."""
        pair = f"{self.app_id}:{self.app_key.value}"
        return "Basic " + base64.b64encode(pair.encode()).decode()


CredentialsSource = Callable[[], "Credentials | tuple[str, str] | Awaitable[Credentials | tuple[str, str]]"]
"""Called for each attempt, so that a rotated key does not require a new client."""


def credentials_from(
    app_id: str | None, app_key: str | Secret | None, environment: Mapping[str, str] = os.environ
) -> Credentials:
    """Return credentials from the arguments, or from VIDEOAPI_APP_ID and VIDEOAPI_APP_KEY.

    Raises:
        ConfigurationError: If a value is missing; the message names it.
    """
    app_id = app_id or environment.get("VIDEOAPI_APP_ID")
    app_key = app_key or environment.get("VIDEOAPI_APP_KEY")
    missing = [
        f"{argument}= or {variable}"
        for argument, variable, value in (
            ("app_id", "VIDEOAPI_APP_ID", app_id),
            ("app_key", "VIDEOAPI_APP_KEY", app_key),
        )
        if not value
    ]
    if not app_id or not app_key:
        raise ConfigurationError(f"No credentials: give {' and '.join(missing)}.")
    return Credentials(app_id, app_key)


def source_of(
    app_id: str | None, app_key: str | Secret | None, credentials: CredentialsSource | Credentials | None
) -> Credentials | CredentialsSource:
    """Return the source of a client's credentials: fixed ones, or a callable for each attempt.

    Raises:
        ConfigurationError: If they are missing, passed twice, or neither credentials nor callable.
    """
    if credentials is None:
        return credentials_from(app_id, app_key)
    if app_id is not None or app_key is not None:
        raise ConfigurationError("Give app_id= and app_key=, or credentials=, not both.")
    if not isinstance(credentials, Credentials):
        must_be_callable("credentials", credentials)
    return credentials


def recording_login(given: tuple[str, str] | None) -> Credentials | None:
    """Return the login for recordings, from the argument or the environment, or None if neither has one.

    Raises:
        ConfigurationError: If `given` is not a pair of non-empty strings.
    """
    if given is None:
        user = os.environ.get("VIDEOAPI_RECORDING_USER")
        password = os.environ.get("VIDEOAPI_RECORDING_PASSWORD")
        return Credentials(user, password) if user and password else None
    if not isinstance(given, tuple | list) or len(given) != 2 or not all(given):
        raise ConfigurationError("recording_auth must be (user, password), neither of them empty.")
    return Credentials(*given)


def host_rules(given: Sequence[str]) -> tuple[str, ...]:
    """Validate and lowercase the hosts and host suffixes that recordings may come from.

    Raises:
        ConfigurationError: If an entry is neither a host nor a suffix.
    """
    if isinstance(given, str):
        raise ConfigurationError("recording_hosts must be a list of hosts, not one text.")
    for host in given:
        if not host or "/" in host or "*" in host or host == ".":
            raise ConfigurationError(
                f"recording_hosts: {host!r} is no host such as portal.enablex.io, nor a suffix such as .enablex.io."
            )
    return tuple(host.lower() for host in given)


@attrs.frozen
class BaseUrl:
    """The base URL of the API: any origin and path prefix, without a trailing slash."""

    origin: str
    prefix: str

    @classmethod
    def parse(cls, text: str, *, allow_http: bool) -> Self:
        """Parse and validate a base URL.

        Plain http is accepted for loopback hosts, and for others only with `allow_http`, because each
        request carries the APP_KEY.

        Raises:
            ConfigurationError: If it is not http(s), has credentials, a query or a fragment, or must not be http.
        """
        from yarl import URL

        try:
            url = URL(text)
            host, user = url.host, url.user or url.password
        except (ValueError, TypeError, LookupError):
            raise ConfigurationError("base_url is no URL, such as https://api.enablex.io/video/v2.") from None
        if url.scheme not in ("http", "https") or not host:
            raise ConfigurationError("base_url must begin with https:// and name a host.")
        if user or url.query_string or url.fragment:
            raise ConfigurationError("base_url must hold no user, query or fragment.")
        if url.scheme == "http" and not (allow_http or is_loopback(host)):
            raise ConfigurationError(
                f"base_url http://{host} would send the APP_KEY in the clear. Use https, or allow_http=True "
                "(VIDEOAPI_ALLOW_HTTP=1) inside a network you trust."
            )
        return cls(str(url.origin()), url.raw_path.rstrip("/"))

    def __str__(self) -> str:
        return self.origin + self.prefix


def proxy_url(text: str | None) -> str | None:
    """Return the URL of an HTTP proxy unchanged, or None.

    Raises:
        ConfigurationError: If it is invalid; the message omits it, as it may contain a password.
    """
    if text is None:
        return None
    from yarl import URL

    try:
        url = URL(text)
        usable = url.scheme in ("http", "https") and bool(url.host)
    except (ValueError, TypeError):
        usable = False
    if not usable:
        raise ConfigurationError("proxy is no URL of an HTTP proxy, such as http://proxy.example.com:3128.")
    return text


def is_loopback(host: str) -> bool:
    """Return whether the host is a loopback address."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def positive_seconds(name: str, value: float | None) -> float | None:
    """Return a number of seconds as a float, or None unchanged.

    Raises:
        ConfigurationError: If it is not a finite number above 0.
    """
    if value is None:
        return None
    given: object = value
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < math.inf:
        raise ConfigurationError(f"{name}={value!r}: give seconds, more than 0 and finite.")
    return float(given)


def must_be_callable(name: str, *values: object) -> None:
    """Raise ConfigurationError if a value is not callable."""
    for value in values:
        if not callable(value):
            raise ConfigurationError(f"{name}: {type(value).__name__} is not callable.")
