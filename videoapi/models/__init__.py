"""Frozen data models of the API, and the two decoders that build them.

Independent of requests, the event loop and sockets.
"""
