"""Which URLs files may be fetched from. URLs come from API responses and are not trusted. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, Self

import attrs
from yarl import URL

from videoapi.errors import ConfigurationError, DownloadFailed
from videoapi.protocol.redaction import redact_url

VENDOR: Final = ".enablex.io"
"""The service's own domain: allowed if the API itself is below it."""

_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_PRINTABLE: Final = re.compile(r"[!-~]+")
_PORTS: Final = {"https": 443, "http": 80}


def parse_url(text: str, base: URL | None = None) -> URL:
    """Parse a URL without changing any byte that may be signed.

    Args:
        text: The URL; may be relative if `base` is given.
        base: The URL that a redirect came from, or None.

    Raises:
        DownloadFailed: If the text is not a URL; `reason` is `host`.
    """
    try:
        url = URL(text, encoded=_PRINTABLE.fullmatch(text) is not None)
        if base is not None:
            url = base.join(url)
        host = url.raw_host or ""
        # Reject characters not valid in a host name: other layers may parse them differently.
        clean = text.isprintable() and (_HOST.fullmatch(_bare(url)) or (":" in host and _is_address(host)))
        if url.scheme and clean:
            return url.with_fragment(None) if url.raw_fragment else url
    except (ValueError, TypeError, LookupError):
        pass
    raise DownloadFailed("The file's address is not a URL. Nothing was sent there.", reason="host", method="GET")


@attrs.frozen(kw_only=True)
class HostPolicy:
    """The hosts that files may come from.

    Args:
        origin: Scheme, host and port of the API; always allowed, whatever its IP address.
        named: Allowed hosts with a port, or None for any port, whatever their IP address.
        suffixes: Domains with a leading dot; hosts below them must have a public IP address.
        http: Whether plain http is allowed beyond loopback and the API's origin.
    """

    origin: URL
    named: frozenset[tuple[str, int | None]]
    suffixes: tuple[str, ...]
    http: bool = False

    @classmethod
    def of(cls, origin: str, hosts: Iterable[str], *, http: bool) -> Self:
        """Build the policy from the API's origin and the configured hosts.

        Args:
            origin: The API's origin, such as `https://api.enablex.io`.
            hosts: Names such as `files.example.com`, `localhost:8080`, or suffixes such as `.example.com`.
            http: Whether plain http is allowed beyond loopback and the API's origin.

        Raises:
            ConfigurationError: If a host is not valid; the message includes it.
        """
        base = URL(origin)
        listed = [host.strip().lower() for host in hosts]
        if f".{_bare(base)}".endswith(VENDOR):
            listed.append(VENDOR)
        suffixes = tuple(_suffix(host) for host in listed if host.startswith("."))
        named = frozenset(_named(host) for host in listed if not host.startswith("."))
        return cls(origin=base.origin(), named=named, suffixes=suffixes, http=http)

    def check(self, url: URL) -> bool:
        """Check a URL before anything is sent to it.

        Returns:
            Whether the host must have a public IP address, because only a suffix allows it.

        Raises:
            DownloadFailed: If the URL is not allowed; `reason` is `host`.
        """
        if url.scheme not in _PORTS:
            raise _refused(url, "it is neither https nor http")
        if url.user is not None or url.password is not None:
            raise _refused(url, "it carries a user name; give recording_auth=(user, password) instead")
        named = self._is_named(url)
        if not named and not self._is_below(url):
            raise _refused(
                url,
                f"host {_bare(url)} is not allowed; if you trust it with your recordings, "
                f"name it in recording_hosts=[{_authority(url)!r}]",
            )
        if url.scheme == "http" and not (self.http or is_loopback_name(_bare(url)) or self._is_origin(url)):
            raise _refused(url, "it is plain http, over which recordings and credentials can be read; see allow_http=")
        if not named and url.port != _PORTS[url.scheme]:
            raise _refused(url, f"port {url.port} is not allowed; name it in recording_hosts=[{_authority(url)!r}]")
        return not named

    def _is_origin(self, url: URL) -> bool:
        return (url.scheme, _bare(url), url.port) == (
            self.origin.scheme,
            _bare(self.origin),
            self.origin.port,
        )

    def _is_named(self, url: URL) -> bool:
        host = _bare(url)
        return (host, None) in self.named or (host, url.port) in self.named or self._is_origin(url)

    def _is_below(self, url: URL) -> bool:
        host = _bare(url)
        # An IP address is never below a domain, even if its digits match a suffix.
        return _HOST.fullmatch(host) is not None and not _is_address(host) and host.endswith(self.suffixes)


def is_loopback_name(host: str) -> bool:
    """Return whether a host is `localhost` or a loopback address."""
    if host == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host.partition("%")[0]).is_loopback


def _bare(url: URL) -> str:
    return (url.raw_host or "").rstrip(".").lower()


def _authority(url: URL) -> str:
    host = _bare(url)
    if url.explicit_port is None:
        return host
    return f"[{host}]:{url.explicit_port}" if ":" in host else f"{host}:{url.explicit_port}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _suffix(text: str) -> str:
    suffix = text.rstrip(".")
    if not _HOST.fullmatch(suffix[1:]):
        raise ConfigurationError(f"recording_hosts: {text!r} is not a suffix such as .enablex.io.")
    return suffix


def _named(text: str) -> tuple[str, int | None]:
    try:
        url = URL(f"https://[{text}]" if text.count(":") > 1 and "[" not in text else f"https://{text}")
        host = _bare(url)
        if url.user is None and url.raw_path in ("", "/") and (_HOST.fullmatch(host) or _is_address(host)):
            return host, url.explicit_port
    except (ValueError, LookupError):
        pass
    raise ConfigurationError(
        f"recording_hosts: {text!r} is not a host such as portal.enablex.io, nor host:port or .suffix."
    ) from None


def _refused(url: URL, why: str) -> DownloadFailed:
    return DownloadFailed(
        f"The file at {redact_url(url)} was not fetched: {why}. Nothing was sent there.",
        reason="host",
        method="GET",
    )
