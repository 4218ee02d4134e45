"""The service's protocol as pure functions and tables: routes, results, what an attempt proves, when to retry.

Knows no event loop, no clock, no randomness and no sockets.
"""
