"""Redaction of secrets in reprs."""

from urllib.parse import urlsplit


def redact(value: object) -> str:
    """Return a placeholder that reveals nothing about the value."""
    return "'***'"


def redact_url(url: object) -> str:
    """Return the repr of a URL without its query, fragment and credentials."""
    try:
        split = urlsplit(str(url))
        host = split.netloc.rpartition("@")[2]
    except ValueError:
        return redact(url)
    tail = "?…" if split.query or split.fragment else ""
    return repr(f"{split.scheme}://{host}{split.path}{tail}" if split.scheme else f"{host}{split.path}{tail}")


def redact_urls(value: object) -> str:
    """Return the repr of a URL, or of a list of URLs and link objects, each URL redacted."""
    if isinstance(value, str):
        return redact_url(value)
    if isinstance(value, (list, tuple)):
        return f"({', '.join(redact_urls(item) for item in value)})"
    return repr(value)
