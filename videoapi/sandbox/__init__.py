"""The service itself, embedded: a real server on loopback for tests, demonstrations and trying things out.

It shares nothing with the client but the table of documented codes, so that it cannot agree with the
client's mistakes.
"""

from videoapi.sandbox.faults import KINDS, Fault
from videoapi.sandbox.ledger import Ledger, LedgerEntry
from videoapi.sandbox.server import Sandbox
from videoapi.sandbox.switches import Switches

__all__ = ["KINDS", "Fault", "Ledger", "LedgerEntry", "Sandbox", "Switches"]
