"""The namespaces of the client: arguments in, checked requests out, models back.

Knows no HTTP and no retries.
"""
