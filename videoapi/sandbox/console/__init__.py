"""The sandbox's console: a page that shows live what the service receives and holds, and can act on it.

Served at `/` of a sandbox that listens on loopback. It changes no response of the API.
"""

from videoapi.sandbox.console.actions import Action, Field
from videoapi.sandbox.console.server import Console

__all__ = ["Action", "Console", "Field"]
