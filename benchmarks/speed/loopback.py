"""A handle of the server process."""

from __future__ import annotations

import http.client
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs

from benchmarks.speed.children import child


@attrs.frozen
class Server:
    """A running server.

    Args:
        ports: Ports by scheme.
        ca_file: PEM file of the authority that issued its certificate, if it serves TLS.
    """

    ports: dict[str, int]
    ca_file: str | None

    def origin(self, scheme: str) -> str:
        return f"{scheme}://127.0.0.1:{self.ports[scheme]}"

    def forget(self) -> None:
        """Make the server forget its rooms."""
        self._request("POST", "/forget")

    def seconds(self) -> float:
        """Return the processor time that the server has used, in seconds."""
        return float(self._request("GET", "/usage")["seconds"])

    def _request(self, method: str, path: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["http"], timeout=10)
        try:
            connection.request(method, path)
            decoded: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return decoded


@contextmanager
def serving(*, tls: bool = True) -> Iterator[Server]:
    """Run the server, with TLS if requested and trustme is installed."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, ca_file = _certificate(Path(folder)) if tls and find_spec("trustme") else (None, None)
        arguments = ["--certificate", certificate] if certificate else []
        with child("server", *arguments) as process:
            assert process.stdout is not None
            yield Server(json.loads(process.stdout.readline()), ca_file)


def _certificate(folder: Path) -> tuple[str, str]:
    import trustme

    authority = trustme.CA()
    chain, ca_file = folder / "chain.pem", folder / "ca.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(chain)
    authority.cert_pem.write_to_path(ca_file)
    return str(chain), str(ca_file)
