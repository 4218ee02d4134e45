"""A name server on loopback, and an aiohttp resolver that queries it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from dnslib import QTYPE, RCODE, RR, A, DNSRecord

Answers = Callable[[int], "list[str] | str | None"]
"""Returns the response to the n-th address query: addresses, `NXDOMAIN`, `SERVFAIL`, or None for no response."""


class _NameServer(asyncio.DatagramProtocol):
    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._asked = 0
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        question = DNSRecord.parse(data)
        reply = question.reply()
        if question.q.qtype == QTYPE.A:
            self._asked += 1
            answer = self._answers(self._asked)
            if answer is None:
                return
            if isinstance(answer, str):
                reply.header.rcode = getattr(RCODE, answer)
            else:
                for address in answer:
                    reply.add_answer(RR(question.q.qname, QTYPE.A, rdata=A(address), ttl=0))
        self._transport.sendto(reply.pack(), peer)


@asynccontextmanager
async def name_server(answers: Answers, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[tuple[str, int]]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _NameServer(answers), local_addr=(host, port))
    try:
        yield transport.get_extra_info("sockname")
    finally:
        transport.close()


class _Question(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        self.answer.set_result(data)


class Resolver(AbstractResolver):
    """A resolver that queries one name server and raises the same errors as aiohttp's own resolvers."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        transport, question = await loop.create_datagram_endpoint(_Question, remote_addr=self._server)
        try:
            transport.sendto(DNSRecord.question(host).pack())
            reply = DNSRecord.parse(await question.answer)
        finally:
            transport.close()
        if reply.header.rcode != RCODE.NOERROR:
            raise OSError(None, f"DNS server answered {RCODE.get(reply.header.rcode)}")
        return [
            ResolveResult(hostname=host, host=str(record.rdata), port=port, family=socket.AF_INET, proto=0, flags=0)
            for record in reply.rr
        ]

    async def close(self) -> None:
        """Do nothing; no connection stays open."""
