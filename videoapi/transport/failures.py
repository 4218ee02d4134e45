"""Why a connection or a response failed, in words that contain no secrets."""

from __future__ import annotations

import os
import ssl
from typing import Final

import aiohttp

from videoapi.config import address
from videoapi.protocol.types import ErrorKind

# OpenSSL's codes for an issuer that is not trusted: self-signed, or without a known authority.
_UNKNOWN_ISSUER: Final = frozenset({2, 18, 19, 20, 21})
_PROXY: Final = "Check the proxy and its credentials."
_CA_FILE: Final = "For a private CA, pass ca_file=."


class MalformedResponse(Exception):
    """The response is not valid HTTP."""


class ConnectionDropped(Exception):
    """The connection was lost; raised under this name so that aiohttp does not repeat the request."""


TRANSPORT_ERRORS: Final = (aiohttp.ClientError, MalformedResponse, ConnectionDropped, OSError, TimeoutError)
"""Exceptions that mean the connection or the response failed."""


def never_connected(error: BaseException) -> bool:
    """Return whether an error proves that there was no connection."""
    return isinstance(
        error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientHttpProxyError
    )


def system_text(error: BaseException) -> str:
    """Return what the system said about a network error, such as `Connection refused (errno 111)`."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        # asyncio's own text repeats the address.
        return f"{os.strerror(error.errno)} (errno {error.errno})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # Several addresses were tried; the text names them and holds nothing else.
    return str(error) if type(error) is OSError and str(error) else error_name(error)


def describe_drop(error: BaseException) -> str:
    """Return how a connection was lost, to follow the name of the host."""
    return f": {system_text(error)}" if isinstance(error, OSError) and error.errno else ""


def describe_cut(error: BaseException, host: str) -> str:
    """Return why a body is incomplete."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return f"the body from {host} broke off: {system_text(cause)}"


def error_name(error: BaseException) -> str:
    """Return the class name of an error, whose text may contain a header or a URL."""
    return "ConnectionDropped" if isinstance(error, ConnectionDropped) else type(error).__name__


def describe_lost(error: BaseException, host: str) -> str:
    """Return why a connection was lost before the response."""
    if isinstance(error, ConnectionDropped):
        return f"{host} closed the connection before responding{error}"
    if isinstance(error, OSError) and error.strerror:
        return f"lost the connection to {host} before the response: {system_text(error)}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return f"{host} closed the connection before responding"
    return f"lost the connection to {host} before the response ({error_name(error)})"


def describe_connect(
    error: BaseException, host: str, seconds: float | None, proxy: str | None = None
) -> tuple[ErrorKind, str, str]:
    """Return why connecting failed: the kind, the reason, and advice.

    Args:
        error: What aiohttp raised.
        host: Host and port of the API.
        seconds: The connect timeout.
        proxy: Host and port of the proxy, if there is one.
    """
    if isinstance(error, aiohttp.ClientHttpProxyError):
        by = error.request_info.real_url
        reason = f"the proxy {address(by.host, by.port)} rejected the connection to {host}"
        return ErrorKind.PROXY, reason, _PROXY
    if isinstance(error, aiohttp.ClientConnectorError):
        # The proxy's, where a proxy could not be reached.
        api = host
        host = address(error.host, error.port)
        if isinstance(error, aiohttp.ClientProxyConnectionError) or (
            isinstance(error, aiohttp.ClientConnectorDNSError) and host != api
        ):
            host = f"the proxy {host}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _describe_certificate(error.certificate_error, host)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        advice = "Check the proxy and DNS." if host.startswith("the proxy") else "Check base_url and DNS."
        return ErrorKind.CONNECTION, f"cannot resolve {host}: {system_text(error.os_error)}", advice
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _describe_certificate(cause, host)
        if isinstance(cause, ssl.SSLError):
            reason = cause.reason or system_text(cause)
            return (
                ErrorKind.CONNECTION,
                f"TLS handshake with {host} failed: {reason}",
                "Does the port serve TLS?",
            )
        advice = _refused(host) if isinstance(cause, ConnectionRefusedError) else ""
        return ErrorKind.CONNECTION, f"cannot connect to {host}: {system_text(cause)}", advice
    if isinstance(error, TimeoutError):
        limit = f" within {seconds:g} s (connect_timeout)" if seconds is not None else " in time"
        return ErrorKind.CONNECTION, f"cannot connect to {through(host, proxy)}{limit}", ""
    return ErrorKind.CONNECTION, f"cannot connect to {host}: {system_text(error)}", ""


def _refused(host: str) -> str:
    if host.startswith("the proxy"):
        return "Check the proxy's host and port, and that it runs."
    return "Check base_url: host and port, and that the service runs."


def through(host: str, proxy: str | None) -> str:
    """Return where a connection leads to, and through which proxy."""
    return host if proxy is None else f"{host} through the proxy {proxy}"


def _describe_certificate(error: Exception, host: str) -> tuple[ErrorKind, str, str]:
    reason, code = getattr(error, "verify_message", None), getattr(error, "verify_code", None)
    advice = _CA_FILE if code in _UNKNOWN_ISSUER else ""
    return ErrorKind.CERTIFICATE, f"TLS verification failed for {host}: {reason or error_name(error)}", advice
