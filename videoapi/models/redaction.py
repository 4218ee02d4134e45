"""How a repr shows values that are secret, or that may hold one."""

from urllib.parse import urlsplit


def redact(value: object) -> str:
    """Show that there is a secret, and nothing of it."""
    return "'***'"


def redact_url(url: object) -> str:
    """Show where a URL leads, without the query, the fragment and the credentials it may carry."""
    try:
        split = urlsplit(str(url))
        host = split.netloc.rpartition("@")[2]
    except ValueError:
        return redact(url)
    tail = "?…" if split.query or split.fragment else ""
    return repr(f"{split.scheme}://{host}{split.path}{tail}" if split.scheme else f"{host}{split.path}{tail}")


def redact_urls(value: object) -> str:
    """Show a list of URLs, or of objects that hold one, each without its query."""
    if isinstance(value, str):
        return redact_url(value)
    if isinstance(value, (list, tuple)):
        return f"({', '.join(redact_urls(item) for item in value)})"
    return repr(value)
