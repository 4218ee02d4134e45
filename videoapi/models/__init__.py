"""The objects of the API, frozen, and both ways to decode them.

Knows no requests, no event loop and no sockets.
"""
