"""The log of the sandbox's HTTP server, in which a client's mistake is not an error of the sandbox."""

import logging

from aiohttp import web
from aiohttp.http import HttpProcessingError

log: logging.Logger = logging.getLogger("videoapi.sandbox.http")

_CLIENT_ERRORS = (HttpProcessingError, web.RequestPayloadError, ConnectionError)


def _is_error(record: logging.LogRecord) -> bool:
    """Return whether to log a record; what the client did wrong is logged without a traceback, at DEBUG."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, _CLIENT_ERRORS):
        return True
    log.debug("a request is broken off, or is not HTTP (%s)", type(error).__name__)
    return False


log.addFilter(_is_error)
