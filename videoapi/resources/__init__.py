"""The namespaces of the client: they validate arguments, build requests and return models.

Independent of HTTP and retries.
"""
