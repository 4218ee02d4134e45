"""The service, embedded: a real HTTP server on loopback for tests, demonstrations and trying things out.

Knows nothing of the client but the table of result codes, so that it cannot repeat the client's mistakes.
"""

from videoapi.sandbox.faults import KINDS, Fault
from videoapi.sandbox.ledger import Ledger, LedgerEntry
from videoapi.sandbox.server import Sandbox
from videoapi.sandbox.switches import Switches

__all__ = ["KINDS", "Fault", "Ledger", "LedgerEntry", "Sandbox", "Switches"]
