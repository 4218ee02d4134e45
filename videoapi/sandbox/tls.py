"""A certificate generated for one run, and the CA file that clients trust. Source: docs/contract.md 10.9."""

import shutil
import ssl
import tempfile
from pathlib import Path

_NAMES = ("api.enablex.io", "localhost", "127.0.0.1")


class Certificate:
    """A server certificate for the service's name and this machine, with a CA of its own.

    Args:
        host: An additional address to include in the certificate.

    Raises:
        RuntimeError: If trustme is not installed; the extra `testing` includes it.
    """

    def __init__(self, host: str) -> None:
        try:
            import trustme
        except ImportError:
            raise RuntimeError("tls=True needs trustme: pip install 'videoapi[testing]'") from None
        authority = trustme.CA()
        self._folder = Path(tempfile.mkdtemp(prefix="videoapi-sandbox-"))
        file = self._folder / "ca.pem"
        authority.cert_pem.write_to_path(file)
        self.ca_file: str = str(file)
        self.context: ssl.SSLContext = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*dict.fromkeys((*_NAMES, host))).configure_cert(self.context)

    def remove(self) -> None:
        """Delete the CA file."""
        shutil.rmtree(self._folder, ignore_errors=True)
