"""Checks of the network: DNS, TCP, the proxy, TLS."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from videoapi.cli.doctor.examination import Examination
from videoapi.cli.doctor.report import Check
from videoapi.cli.terminal import for_people
from videoapi.config import address
from videoapi.protocol.types import ErrorKind
from videoapi.transport.probe import ConnectionProbe, PeerCertificate, probe

_MOST_SHOWN: Final = 4
_MOST_ADDRESSES: Final = 16
_DAY: Final = 86_400
_SOON: Final = 14
# OpenSSL's codes, from x509_vfy.h.
_UNKNOWN_ISSUER: Final = frozenset({2, 18, 19, 20, 21})
_NOT_YET_VALID, _EXPIRED = 9, 10
_WRONG_HOST: Final = frozenset({62, 64})


async def dns(examination: Examination) -> Check:
    """Resolve the name of the host that connections are opened to."""
    host, port = examination.target
    loop = asyncio.get_running_loop()
    is_address = _is_address(host)
    try:
        async with asyncio.timeout(examination.patience):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        text = f"{host}: no answer from DNS within {examination.patience:g} s"
        remedy = f"Check this machine's name servers.{examination.ignored_proxy}"
        return Check(name="dns", status="fail", text=text, remedy=remedy, facts={"host": host})
    except OSError as error:
        text = f"cannot resolve {host}: {error.strerror or type(error).__name__}"
        remedy = f"Check the host name in {examination.target_source}, and DNS.{examination.ignored_proxy}"
        return Check(name="dns", status="fail", text=text, remedy=remedy, facts={"host": host})
    examination.addresses = [(family, kind, number, place) for family, kind, number, _, place in found]
    addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
    facts = {"host": host, "addresses": addresses}
    if is_address:
        return Check(name="dns", status="skipped", text=f"because {host} is an address", facts=facts)
    return Check(name="dns", status="ok", text=f"{host} is {_some(addresses)}", facts=facts)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_SHOWN
    return ", ".join(names[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")


async def tcp(examination: Examination) -> Check:
    """Connect to each address."""
    host, port = examination.target
    where = address(host, port)
    tried = examination.addresses[:_MOST_ADDRESSES]
    reasons = await asyncio.gather(*(_connect(place, examination.patience) for place in tried))
    facts = {
        "host": host,
        "port": port,
        "addresses": [
            {"address": str(place[3][0]), "error": reason} for place, reason in zip(tried, reasons, strict=True)
        ],
    }
    failed = [f"{place[3][0]}: {reason}" for place, reason in zip(tried, reasons, strict=True) if reason is not None]
    if not failed:
        many = "" if len(tried) == 1 else f", all {len(tried)} addresses"
        return Check(name="tcp", status="ok", text=f"{where} accepts connections{many}", facts=facts)
    if len(failed) < len(tried):
        text = f"{where}: {len(failed)} of {len(tried)} addresses do not accept connections ({_some(failed)})"
        remedy = "Connections may be slow to open. If they are IPv6 addresses, does this machine have a route to IPv6?"
        return Check(name="tcp", status="warn", text=text, remedy=remedy, facts=facts)
    text = f"cannot connect to {where}: {_some(failed) if len(failed) > 1 else reasons[0]}"
    if any(reason is not None and reason.startswith("no answer") for reason in reasons):
        remedy = f"A firewall may drop packets to {where}.{examination.ignored_proxy}"
    else:
        remedy = f"Check host and port of {examination.target_source}.{examination.ignored_proxy}"
    return Check(name="tcp", status="fail", text=text, remedy=remedy, facts=facts)


async def _connect(place: tuple[int, int, int, tuple[str, int]], seconds: float) -> str | None:
    """Connect and close; return why it failed, or None."""
    family, kind, number, where = place
    try:
        with socket.socket(family, kind, number) as opened:
            opened.setblocking(False)
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().sock_connect(opened, where)
    except TimeoutError as error:
        # The system's own timeout has a number.
        return f"no answer within {seconds:g} s" if not error.errno else f"no answer ({os.strerror(error.errno)})"
    except OSError as error:
        return f"{os.strerror(error.errno)} (errno {error.errno})" if error.errno else type(error).__name__
    return None


async def proxy(examination: Examination) -> Check:
    """Open a connection to the API, through the proxy if there is one."""
    assert examination.manager is not None
    assert examination.base is not None
    limit = 2 * examination.patience
    try:
        async with asyncio.timeout(limit):
            examination.probe = await probe(examination.manager.pool, str(examination.base))
    except TimeoutError:
        examination.probe = ConnectionProbe(kind=ErrorKind.TIMEOUT, reason=f"no connection within {limit:g} s")
        if examination.proxy is not None:
            text = f"{address(*examination.target)} does not open a connection to {examination.base.host}: no answer"
            remedy = "Check that the proxy is an HTTP proxy that permits CONNECT to this host."
            return Check(name="proxy", status="fail", text=text, remedy=remedy)
    if examination.proxy is None:
        ignored = examination.ignored_proxy.rstrip(".")
        text = "because none is set" + (f";{ignored}" if ignored else "")
        return Check(name="proxy", status="skipped", text=text)
    found, where = examination.probe, address(*examination.target)
    if found.kind is ErrorKind.PROXY or found.status is not None:
        status = f" (HTTP {found.status})" if found.status is not None else ""
        with_user = "@" in examination.proxy
        remedy = {
            407: f"Check user and password of {examination.target_source}."
            if with_user
            else f"Set VIDEOAPI_PROXY=http://user:password@{where}{_instead(examination)}.",
            None: f"Check {examination.target_source}.",
        }.get(found.status, f"Have the proxy permit {examination.base.host}, or use another one.")
        return Check(
            name="proxy",
            status="fail",
            text=f"{for_people(found.reason)}{status}",
            remedy=remedy,
            facts={"proxy": where, "status": found.status},
        )
    text = f"{where} opens connections to {examination.base.host}"
    if examination.base.origin.startswith("http://"):
        text = f"{where} accepts connections; whether it forwards requests is shown by the response"
    return Check(name="proxy", status="ok", text=text, facts={"proxy": where, "status": None})


def _instead(examination: Examination) -> str:
    """Return what the variable takes the place of: arguments cannot have a password, as other users can read them."""
    return " instead of --proxy" if examination.source("proxy") == "--proxy" else ""


async def tls(examination: Examination) -> Check:
    """Report the handshake of the connection that was opened: version, chain, expiry."""
    found = examination.probe
    assert examination.base is not None
    assert found is not None
    host = examination.base.host
    if found.kind is not ErrorKind.NONE:
        return _not_secured(examination, found)
    if examination.base.origin.startswith("http://"):
        return Check(name="tls", status="skipped", text="because the base URL is plain http")
    now = examination.now()
    names = [it.subject for it in found.chain]
    if found.chain and found.chain[-1].issuer != found.chain[-1].subject:
        names.append(found.chain[-1].issuer)
    leaf, earliest = found.chain[0], min(found.chain, key=_expires)
    days = int((earliest.expires - now) // _DAY)
    until = datetime.fromtimestamp(earliest.expires, UTC)
    facts = {
        "version": found.tls,
        "chain": names,
        "expires": datetime.fromtimestamp(leaf.expires, UTC).isoformat(),
        "days_left": days,
        "verify_code": 0,
    }
    text = f"{found.tls}; {', issued by '.join(names)}; valid for {days} more days (until {until:%Y-%m-%d})"
    if days < _SOON:
        remedy = f"The operator of {host} must renew the certificate of {earliest.subject}."
        return Check(name="tls", status="warn", text=text, remedy=remedy, facts=facts)
    return Check(name="tls", status="ok", text=text, facts=facts)


def _expires(certificate: PeerCertificate) -> float:
    return certificate.expires


def _not_secured(examination: Examination, found: ConnectionProbe) -> Check:
    assert examination.base is not None
    host, url = examination.base.host, f"the base URL ({examination.source('base_url')})"
    ca_file = examination.account.value("ca_file")
    text, code = for_people(found.reason), found.verify_code
    if found.kind is ErrorKind.TIMEOUT:
        text = f"{host} accepts the connection, but does not complete the TLS handshake ({text})"
        remedy = "Does the port serve TLS? A firewall that inspects TLS may also drop it."
    elif found.kind is not ErrorKind.CERTIFICATE:
        remedy = f"Does the port serve TLS? Check the port of {url}."
    elif code in _UNKNOWN_ISSUER and ca_file is not None:
        remedy = f"{ca_file} ({examination.source('ca_file')}) lacks the authority that issued it; add it to the file."
    elif code in _UNKNOWN_ISSUER:
        remedy = "For a private authority, or a proxy that inspects TLS, give its PEM file with --ca-file."
    elif code in (_EXPIRED, _NOT_YET_VALID):
        now = f"{datetime.fromtimestamp(examination.now(), UTC):%Y-%m-%d %H:%M} UTC"
        remedy = f"The operator of {host} must renew it, unless this machine's clock is wrong: {now}."
    elif code in _WRONG_HOST:
        remedy = f"Check the host name in {url}: the certificate is for another one."
    else:
        remedy = f"Ask the operator of {host}."
    return Check(name="tls", status="fail", text=text, remedy=remedy, facts={"verify_code": code})
