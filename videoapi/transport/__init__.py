"""The HTTP transport: connections, permits, deadlines, the headers of a request, and one attempt on the wire.

The only client code that uses aiohttp. Independent of rooms, retries and accounts.
"""
