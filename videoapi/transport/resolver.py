"""The resolver for hosts that only a suffix lets in: what it returns lies on the public internet.

It acts when a connection is made, so that a name which passed a check and then changes its address
gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from typing import Final

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

# Ranges that reach other addresses than they seem to: IPv4-mapped, NAT64, Teredo, 6to4.
_DISGUISES: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in ("::ffff:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")
)


class NonPublicAddress(OSError):
    """A name resolves to no address of the public internet."""


class PublicResolver(AbstractResolver):
    """Drops every address that is loopback, private, link-local or otherwise not public.

    Args:
        proxies: Names of proxies, which may have any address: behind one, it is the proxy that decides
            what can be reached.
    """

    def __init__(self, proxies: frozenset[str]) -> None:
        self._proxies: Final = proxies
        self._inner: Final = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if host in self._proxies:
            return found
        public = [result for result in found if is_public(result["host"])]
        if found and not public:
            raise NonPublicAddress("no public address")
        return public

    async def close(self) -> None:
        await self._inner.close()


def is_public(address: str) -> bool:
    """Tell whether an IP address belongs to the public internet and names no other one in disguise."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if not ip.is_global or ip.is_multicast or ip.is_reserved or ip.is_unspecified:
        return False
    return ip.version == 4 or not (ip.is_site_local or any(ip in network for network in _DISGUISES))


def proxy_hosts(proxy: str | None, trust_env: bool) -> frozenset[str]:
    """Return the host names of the proxies in use: the one given, and those of the environment if trusted."""
    addresses = [proxy] if proxy else []
    if trust_env:
        addresses += urllib.request.getproxies().values()
    hosts: set[str] = set()
    for address in addresses:
        try:
            hosts.add(URL(address).raw_host or "")
        except ValueError:
            continue
    return frozenset(hosts - {""})
