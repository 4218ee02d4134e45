"""The format of IDs in URL paths."""

import re

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def is_id(text: str) -> bool:
    """Return whether the text is safe as a path segment without quoting."""
    return _ID.fullmatch(text) is not None
