"""Opens one connection for a diagnosis, and describes it, or why it failed."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from aiohttp import ClientConnectorError, ClientHttpProxyError, ClientProxyConnectionError
from aiohttp.connector import Connection
from yarl import URL

from videoapi.config import address
from videoapi.protocol.types import ErrorKind
from videoapi.transport.failures import TRANSPORT_ERRORS, describe_connect
from videoapi.transport.pool import ConnectionPool
from videoapi.transport.prewarm import open_connection


@attrs.frozen(kw_only=True)
class PeerCertificate:
    """A certificate of a verified chain: its subject's and issuer's names, and when it expires (POSIX time)."""

    subject: str
    issuer: str
    expires: float


@attrs.frozen(kw_only=True)
class ConnectionProbe:
    """What became of one connection.

    Args:
        kind: The kind of failure; `NONE` if it was opened.
        reason: Why it failed, without secrets.
        verify_code: OpenSSL's code for a certificate that was not accepted.
        status: The HTTP status with which a proxy refused.
        tls: TLS version and cipher; empty without TLS.
        chain: The verified certificates, the server's first.
    """

    kind: ErrorKind = ErrorKind.NONE
    reason: str = ""
    verify_code: int | None = None
    status: int | None = None
    tls: str = ""
    chain: Sequence[PeerCertificate] = ()


async def probe(pool: ConnectionPool, base_url: str) -> ConnectionProbe:
    """Open a connection as calls do, through the proxy if one is set, and leave it in the pool.

    Raises:
        ConfigurationError: If the pool is closed or belongs to another event loop.
    """
    pool.check()
    url = URL(base_url)
    held: list[Connection] = []
    try:
        await open_connection(pool, url, held)
        transport = held[0].transport if held else None
        secured = None if transport is None else transport.get_extra_info("ssl_object")
        return ConnectionProbe() if secured is None else _secured(secured)
    except TRANSPORT_ERRORS as error:
        return _failed(error, pool, url)
    finally:
        for connection in held:
            connection.release()


def _failed(error: BaseException, pool: ConnectionPool, url: URL) -> ConnectionProbe:
    kind, reason, _ = describe_connect(error, address(url.host, url.port), pool.connect_seconds, pool.proxy_name(url))
    beyond_proxy = isinstance(error, ClientConnectorError) and not isinstance(error, ClientProxyConnectionError)
    if pool.proxy_for(url) is not None and not (beyond_proxy or isinstance(error, TimeoutError)):
        kind = ErrorKind.PROXY
    elif isinstance(error, TimeoutError):
        kind = ErrorKind.TIMEOUT
    refused = error if kind is ErrorKind.CERTIFICATE else None
    cause = getattr(refused, "certificate_error", None) or getattr(refused, "os_error", None)
    return ConnectionProbe(
        kind=kind,
        reason=reason,
        verify_code=getattr(cause, "verify_code", None),
        status=error.status if isinstance(error, ClientHttpProxyError) else None,
    )


def _secured(secured: Any) -> ConnectionProbe:
    cipher = secured.cipher()
    parts = [secured.version() or "", cipher[0] if cipher else ""]
    return ConnectionProbe(tls=", ".join(filter(None, parts)), chain=[_certificate(it) for it in _chain(secured)])


def _chain(secured: Any) -> list[Mapping[str, Any]]:
    # Public only since Python 3.13, and there without names and dates.
    verified = getattr(getattr(secured, "_sslobj", None), "get_verified_chain", None)
    if verified is None:
        return [secured.getpeercert()]
    return [certificate.get_info() for certificate in verified()]


def _certificate(fields: Mapping[str, Any]) -> PeerCertificate:
    return PeerCertificate(
        subject=_name(fields.get("subject", ())),
        issuer=_name(fields.get("issuer", ())),
        expires=float(ssl.cert_time_to_seconds(fields["notAfter"])),
    )


def _name(parts: Sequence[Sequence[tuple[str, str]]]) -> str:
    """Return the common name of a subject or issuer, else its most specific part."""
    named = {key: value for part in parts for key, value in part}
    for key in ("commonName", "organizationalUnitName", "organizationName"):
        if key in named:
            return named[key]
    return ""
