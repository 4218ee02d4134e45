"""The resolver for hosts allowed only by a suffix: returns only public IP addresses.

It runs when a connection is opened, so a host name cannot pass an earlier check and then change its
address (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from typing import Final

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

# Ranges whose addresses embed another address: IPv4-mapped, NAT64, Teredo, 6to4.
_DISGUISES: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in ("::ffff:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")
)


class NonPublicAddress(OSError):
    """A host name has no public IP address."""


class PublicResolver(AbstractResolver):
    """A resolver that drops loopback, private, link-local and other non-public addresses.

    Args:
        proxies: Host names of proxies. They may have any address; what is reachable through a proxy is
            decided by the proxy.
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
    """Return whether an IP address is public and does not embed another address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if not ip.is_global or ip.is_multicast or ip.is_reserved or ip.is_unspecified:
        return False
    return ip.version == 4 or not (ip.is_site_local or any(ip in network for network in _DISGUISES))


def proxy_hosts(proxy: str | None, trust_env: bool) -> frozenset[str]:
    """Return the host names of the proxies in use: `proxy`, and those of the environment if trusted."""
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
