"""What the console shows of texts that others wrote, and of tokens."""

from urllib.parse import quote

MASK = "•••"
LONGEST = 200
# A shorter secret would mask ordinary words, and its mask would give it away.
_SHORTEST = 6


class Masking:
    """Texts without the secrets of the sandbox.

    Args:
        secrets: What must not be shown, wherever it appears.
    """

    def __init__(self, *secrets: str) -> None:
        spelled = {form for secret in secrets for form in (secret, quote(secret, safe=""))}
        self._secrets = sorted((form for form in spelled if len(form) >= _SHORTEST), key=len, reverse=True)

    def text(self, value: object) -> str:
        """Return a value as text of limited length; empty for None."""
        text = self.message("" if value is None else str(value))
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"

    def message(self, text: str) -> str:
        """Return a text of our own, which may quote what a client sent."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


def masked_token(token_id: str) -> str:
    """Return the end of a token's id, from which the token cannot be rebuilt."""
    return f"…{token_id[-6:]}"
