"""The listening socket, which can be closed for a while and reopened on the same port."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable

from videoapi.sandbox.tls import Certificate

# In seconds; longer than a local connection takes to arrive once all clients are waiting for a response.
_QUIET = 0.002
_BACKLOG = 1024
_AT_ONCE = 64


class SocketListener:
    """A listening address that accepts connections.

    Args:
        host: An address of this machine.
        port: The port, or 0 for any free one, which is then kept from the first `open` on.
        tls: Whether to serve TLS with a generated certificate.
    """

    def __init__(self, host: str, port: int, *, tls: bool) -> None:
        self.host = host
        self.port: int = port
        self.refusing: bool = False
        self._tls = tls
        self._certificate: Certificate | None = None
        self._factory: Callable[[], asyncio.Protocol] | None = None
        self._socket: socket.socket | None = None
        self._adopting: set[asyncio.Task[None]] = set()
        self._again: asyncio.Task[None] | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    @property
    def is_on_every_address(self) -> bool:
        """Whether `host` means all addresses of this machine, and is not an address to connect to."""
        return self.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound

    @property
    def ca_file(self) -> str | None:
        """The file with the certificate's CA, while the listener is open."""
        return self._certificate.ca_file if self._certificate else None

    async def open(self, factory: Callable[[], asyncio.Protocol]) -> None:
        """Start listening; `factory` creates the protocol of each accepted connection."""
        self._factory = factory
        if self._tls and self._certificate is None:
            self._certificate = await asyncio.to_thread(Certificate, self.host)
        self._socket = self._bound()
        try:
            self._listen(self._socket)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop listening."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for task in self._adopting:
            task.cancel()
        if self._socket is not None:
            self._let_go(self._socket).close()
            self._socket = None
        if self._certificate is not None:
            self._certificate.remove()
            self._certificate = None
        self.refusing = False

    def refuse(self, seconds: float) -> None:
        """Close the listening socket for `seconds`, so that the kernel refuses connections.

        Connections already in the backlog are still served, so that no request is lost.
        """
        if self.refusing or self._socket is None:
            return
        self.refusing = True
        for accepted in _drain(self._let_go(self._socket)):
            self._adopt(accepted)
        self._socket.close()
        # Keep the port bound but not listening, so that no other process can take it.
        self._socket = self._bound()
        self._again = asyncio.get_running_loop().create_task(self._reopen(self._socket, seconds))

    def accept(self) -> None:
        """End `refuse` before its time."""
        if not self.refusing or self._socket is None:
            return
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self.refusing = False
        self._listen(self._socket)

    async def _reopen(self, bound: socket.socket, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.refusing = False
        self._listen(bound)

    def _listen(self, bound: socket.socket) -> None:
        # Not `loop.create_server()`: when closed, it drops connections that it accepted but does not serve yet.
        bound.listen(_BACKLOG)
        asyncio.get_running_loop().add_reader(bound, self._accept, bound)

    def _let_go(self, bound: socket.socket) -> socket.socket:
        asyncio.get_running_loop().remove_reader(bound)
        return bound

    def _accept(self, bound: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, _ = bound.accept()
            except OSError:
                return
            self._adopt(accepted)

    def _adopt(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._serve(accepted))
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    async def _serve(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(self._protocol, accepted, ssl=self._context())
        except BaseException as error:
            accepted.close()
            if not isinstance(error, OSError | asyncio.CancelledError):
                raise

    def _bound(self) -> socket.socket:
        bound = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((self.host, self.port))
        except BaseException:
            bound.close()
            raise
        bound.setblocking(False)
        self.port = bound.getsockname()[1]
        return bound

    def _protocol(self) -> asyncio.Protocol:
        if self._factory is None:
            raise RuntimeError("the listener was never opened")
        return self._factory()

    def _context(self) -> ssl.SSLContext | None:
        return self._certificate.context if self._certificate else None


def _drain(listening: socket.socket) -> list[socket.socket]:
    # Blocks the loop on purpose: without a response, no client opens another connection.
    accepted: list[socket.socket] = []
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < _QUIET:
        try:
            connection, _ = listening.accept()
        except OSError:
            continue
        accepted.append(connection)
        quiet_since = time.monotonic()
    return accepted
