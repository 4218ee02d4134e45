"""What an id may look like where it goes into a path."""

import re

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def is_id(text: str) -> bool:
    """Whether the text can stand in a path as it is, and leads nowhere else."""
    return _ID.fullmatch(text) is not None
