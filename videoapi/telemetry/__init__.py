"""Spans and metrics of calls, through OpenTelemetry's API.

Independent of HTTP, retries and rooms. OpenTelemetry is imported only if a client reports to it.
"""
