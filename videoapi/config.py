"""The configuration of a client: credentials, base URL, limits."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

import attrs

from videoapi.errors import ConfigurationError

if TYPE_CHECKING:
    from yarl import URL

__version__ = "0.1.0"
DEFAULT_BASE_URL: Final = "https://api.enablex.io/video/v2"
_ADDRESS: Final = re.compile(r"[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?", re.ASCII)
_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)


class Secret:
    """A string that only `.value` reveals; repr, str and format hide it, and it cannot be pickled.

    Args:
        value: The text to hide.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value: str = exact_text(value)

    @property
    def value(self) -> str:
        """The hidden text."""
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


def exact_text(value: Any) -> Any:
    """Return the text of an instance of a subclass of `str`, such as an enum, which may format and hash differently."""
    return str.__str__(value) if isinstance(value, str) else value


def _secret(value: str | Secret) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def hidden(value: str | Secret | None) -> str | Secret | None:
    """Return a value as a secret, for a variable: error reporters store the variables of the frames of an error.

    A value of another type may be a secret, too, such as the key as bytes; an empty one is returned unchanged.
    """
    return _secret(value) if value else value


def _problem(text: object) -> str | None:
    if not isinstance(text, str) or not text:
        return "must be text that is not empty"
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        return "holds a control character, such as a line end"
    # Check here, because Python's UnicodeEncodeError would contain the value.
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "cannot be encoded as UTF-8"
    return None


@attrs.frozen(init=False)
class Credentials:
    """An APP_ID and its APP_KEY: user name and password for HTTP Basic.

    Args:
        app_id: The user name: the project's APP_ID. A colon is invalid.
        app_key: The password: the project's APP_KEY. Text becomes a `Secret`.

    Source: docs/contract.md 1.1.
    """

    app_id: str
    app_key: Secret

    def __init__(self, app_id: str, app_key: str | Secret) -> None:
        # Not that of attrs: error reporters store the variables of the frames of an error.
        app_key = _secret(app_key)
        object.__setattr__(self, "app_id", exact_text(app_id))
        object.__setattr__(self, "app_key", app_key)
        for name, problem in (("app_id", _problem(app_id)), ("app_key", _problem(app_key.value))):
            if problem is not None:
                raise ConfigurationError(f"{name} {problem}.")
        if ":" in app_id:
            raise ConfigurationError("app_id holds a colon, which HTTP Basic cannot carry.")

    @property
    def authorization(self) -> str:
        """The value of the `Authorization` header, a secret."""
        return "Basic " + base64.b64encode(f"{self.app_id}:{self.app_key.value}".encode()).decode()


CredentialsSource = Callable[[], Credentials | tuple[str, str] | Awaitable[Credentials | tuple[str, str]]]
"""A callable that returns credentials, called for each attempt: a rotated key does not require a new client."""


def credentials_from(
    app_id: str | None, app_key: str | Secret | None, environment: Mapping[str, str] | None = None
) -> Credentials:
    """Return credentials from the arguments, or from VIDEOAPI_APP_ID and VIDEOAPI_APP_KEY.

    Raises:
        ConfigurationError: If a value is missing; the message names it.
    """
    environment = os.environ if environment is None else environment
    app_id = app_id or environment.get("VIDEOAPI_APP_ID")
    app_key = hidden(app_key or environment.get("VIDEOAPI_APP_KEY"))
    # Error reporters store the variables of the frames of an error.
    del environment
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
    both = app_id is not None or app_key is not None
    if both or not (isinstance(credentials, Credentials) or callable(credentials)):
        kind = type(credentials).__name__
        # It may be a pair with the key, and error reporters store the variables of the frames of an error.
        del credentials
        raise ConfigurationError(
            "Give app_id= and app_key=, or credentials=, not both." if both else f"credentials: {kind} is not callable."
        )
    return credentials


def recording_login(given: tuple[str, str] | None) -> Credentials | None:
    """Return the login for recordings, from the argument or the environment, or None if neither has one.

    Raises:
        ConfigurationError: If `given` is not a pair of non-empty strings, or only one variable is set.
    """
    if given is None:
        user = os.environ.get("VIDEOAPI_RECORDING_USER")
        password = hidden(os.environ.get("VIDEOAPI_RECORDING_PASSWORD"))
        if bool(user) != bool(password):
            raise ConfigurationError("Set both VIDEOAPI_RECORDING_USER and VIDEOAPI_RECORDING_PASSWORD, or neither.")
        return Credentials(user, password) if user and password else None
    usable = isinstance(given, tuple | list) and len(given) == 2 and all(given)
    user, password = (given[0], hidden(given[1])) if usable else (None, None)
    del given
    if not user or not password:
        raise ConfigurationError("recording_auth must be (user, password), neither of them empty.")
    return Credentials(user, password)


def host_rules(given: Sequence[str] | str) -> tuple[str, ...]:
    """Validate and lowercase the hosts and host suffixes that recordings may come from; one text is the only host.

    Raises:
        ConfigurationError: If an entry is neither a host nor a suffix.
    """
    try:
        hosts = (given,) if isinstance(given, str) else tuple(given)
    except TypeError:
        raise ConfigurationError(f"recording_hosts: expected hosts, not {type(given).__name__}.") from None
    for host in hosts:
        if not isinstance(host, str) or not host or "/" in host or "*" in host or host == ".":
            raise ConfigurationError(
                f"recording_hosts: {host!r} is neither a host (portal.enablex.io) nor a suffix (.enablex.io)."
            )
    return tuple(host.lower() for host in hosts)


@attrs.frozen
class BaseUrl:
    """The base URL of the API: any origin and path prefix, without a trailing slash."""

    origin: str
    prefix: str
    host: str
    """Host and port, to show."""

    @classmethod
    def parse(cls, text: str, *, allow_http: bool) -> Self:
        """Parse and validate a base URL.

        Plain http is accepted for loopback hosts, and for others only with `allow_http`, because each
        request carries the APP_KEY.

        Raises:
            ConfigurationError: If it is not http(s), has credentials, a query or a fragment, or must not be http.
        """
        is_empty = isinstance(text, str) and not text.strip()
        parsed = _without_secrets(text)
        # It may have a password, and error reporters store the variables of the frames of an error.
        del text
        if is_empty:
            raise ConfigurationError(f"base_url is empty: expected a URL such as {DEFAULT_BASE_URL}.")
        if parsed is None:
            raise ConfigurationError(f"Invalid base_url: expected a URL such as {DEFAULT_BASE_URL}.")
        url, port, has_more = parsed
        host = url.host
        if url.scheme not in ("http", "https") or not host:
            raise ConfigurationError(
                "Invalid base_url: it must begin with https:// (or http:// for a server on this machine) and name "
                "a host."
            )
        if not _is_host(url.raw_host or ""):
            raise ConfigurationError(f"Invalid base_url: {host!r} cannot be a host name.")
        if port == 0:
            raise ConfigurationError("Invalid base_url: the port must be 1 to 65535, not 0.")
        if has_more:
            raise ConfigurationError("Invalid base_url: it must have no user, query or fragment.")
        if url.scheme == "http" and not (allow_http or is_loopback(host)):
            raise ConfigurationError(
                f"base_url http://{address(host)} would send the APP_KEY unencrypted. Use https, or allow_http=True "
                "(VIDEOAPI_ALLOW_HTTP=1) on a trusted network."
            )
        return cls(str(url.origin()), url.raw_path.rstrip("/"), address(host, port))

    def __str__(self) -> str:
        return self.origin + self.prefix


def _without_secrets(text: Any) -> tuple[URL, int | None, bool] | None:
    """Return a URL without user, query and fragment, its port, and whether it has any of them; None if it is invalid.

    Returns None rather than raise, as the frames of the error would hold the text.
    """
    from yarl import URL

    try:
        url = URL(text.strip() if isinstance(text, str) else text)
        has_user = bool(url.user or url.password)
        bare = (url.with_user(None) if has_user else url).with_query(None).with_fragment(None)
        return bare, url.port, has_user or bool(url.query_string or url.fragment)
    except (ValueError, TypeError, LookupError):
        return None


def address(host: str | None, port: int | None = None) -> str:
    """Return a host and port as a URL shows them, with brackets around an IPv6 address."""
    shown = f"[{host}]" if ":" in (host or "") else f"{host}"
    return shown if port is None else f"{shown}:{port}"


def proxy_url(text: str | Secret | None) -> Secret | None:
    """Return the URL of an HTTP proxy as a secret, as it may contain a password; or None.

    Raises:
        ConfigurationError: If it is invalid; the message omits it.
    """
    if text is None:
        return None
    # Error reporters store the variables of the frames of an error.
    text = hidden(text)
    shown = "http://proxy.example.com:3128"
    if isinstance(text, Secret) and isinstance(text.value, str):
        if _is_proxy(text.value):
            return text
        if _ADDRESS.fullmatch(text.value) is not None:
            shown = f"http://{text.value}"
    raise ConfigurationError(f"Invalid proxy: expected the URL of an HTTP proxy, such as {shown}.")


def _is_proxy(text: str) -> bool:
    from yarl import URL

    try:
        url = URL(text)
        # A header and a host name are made of it.
        usable = url.scheme in ("http", "https") and _is_host(url.raw_host or "") and _is_printable(text)
        return usable and url.port != 0
    except (ValueError, TypeError):
        return False


def is_loopback(host: str) -> bool:
    """Return whether the host is a loopback address."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_MOST_SECONDS: Final = 1e9


def positive_seconds(name: str, value: float | None) -> float | None:
    """Return a number of seconds as a float, or None unchanged.

    Raises:
        ConfigurationError: If it is not a finite number above 0.
    """
    if value is None:
        return None
    given: object = value
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= _MOST_SECONDS:
        raise ConfigurationError(f"{name}={value!r}: give seconds, more than 0 and finite.")
    return float(given)


def _is_printable(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _is_host(host: str) -> bool:
    """Return whether a host, in ASCII, is an IP address or a name of non-empty labels."""
    if ":" in host:
        return True
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in host.removesuffix(".").split("."))


def one_or_more(name: str, given: Any) -> tuple[Any, ...]:
    """Return callables given as a sequence, or as a single one.

    Raises:
        ConfigurationError: If they are neither.
    """
    try:
        values = (given,) if callable(given) else tuple(given)
    except TypeError:
        raise ConfigurationError(
            f"{name}: expected a callable or a sequence of them, not {type(given).__name__}."
        ) from None
    must_be_callable(name, *values)
    return values


def must_be_callable(name: str, *values: object) -> None:
    """Raise ConfigurationError if a value is not callable."""
    for value in values:
        if not callable(value):
            raise ConfigurationError(f"{name}: {type(value).__name__} is not callable.")


def one_of(name: str, given: str, known: tuple[str, ...]) -> None:
    """Raise ConfigurationError if a value is not one of those known."""
    if given not in known:
        raise ConfigurationError(f"{name}={given!r}: give one of {', '.join(known)}.")
