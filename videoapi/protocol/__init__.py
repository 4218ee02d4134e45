"""The service's protocol as pure functions and tables: routes, HTTP statuses, result codes, whether to retry.

Independent of the event loop, the clock, randomness and sockets.
"""
