"""An embedded Video API service: a real HTTP server on loopback, for tests, demos and experiments.

Independent of the client except for the texts of the result codes and the file locks, so that it cannot repeat the
client's mistakes.
"""

from videoapi.sandbox.faults import KINDS, Fault
from videoapi.sandbox.ledger import Ledger, LedgerEntry
from videoapi.sandbox.server import Sandbox
from videoapi.sandbox.switches import Switches
from videoapi.sandbox.traffic import RouteTraffic, Traffic
from videoapi.sandbox.webhook_sender import WebhookDelivery

__all__ = [
    "KINDS",
    "Fault",
    "Ledger",
    "LedgerEntry",
    "RouteTraffic",
    "Sandbox",
    "Switches",
    "Traffic",
    "WebhookDelivery",
]
