"""The HTTP transport: connections, permits, deadlines, and one attempt on the wire.

The only client code that uses aiohttp; knows no rooms, no retries and no accounts.
"""
