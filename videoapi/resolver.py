"""The resolver for hosts that only a suffix lets in: what it returns lies on the public internet.

It acts when a connection is made, so that a name which passed a check and then changes its address
gains nothing.
"""

from __future__ import annotations

import socket
import urllib.request
from typing import Final

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from videoapi.rules.hosts import is_public


class NotPublic(OSError):
    """A name resolves to no address of the public internet."""


class PublicOnly(AbstractResolver):
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
            raise NotPublic("no public address")
        return public

    async def close(self) -> None:
        await self._inner.close()


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
