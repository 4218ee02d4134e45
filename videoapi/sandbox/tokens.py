"""The format of join tokens: an ASCII JSON object in base64. Source: docs/contract.md 5.1."""

import base64
import binascii
import hashlib
import hmac
import json

from videoapi.sandbox.settings import Json


def write(token_id: str, room: Json, *, host: str) -> str:
    """Return the text of a token.

    Args:
        token_id: 24 hexadecimal digits.
        room: The stored room.
        host: The signaling host that the token is signed for.
    """
    digest = hmac.new(b"sandbox", f"{token_id},{host}".encode(), hashlib.sha1).hexdigest()
    body = {
        "tokenId": token_id,
        "roomMeta": room,
        "host": host,
        "secure": True,
        "logId": digest[:6],
        "gateway": "",
        "signature": base64.b64encode(digest.encode()).decode(),
        "eventServer": {"url": "es.enablex.io"},
    }
    return base64.b64encode(json.dumps(body, separators=(",", ":")).encode()).decode()


def read(text: str) -> str:
    """Return the id in a token's text.

    Raises:
        ValueError: If the text is not a token.
    """
    try:
        body = json.loads(base64.b64decode(text, validate=True))
        return str(body["tokenId"])
    except (binascii.Error, UnicodeDecodeError, LookupError, TypeError, ValueError):
        raise ValueError("this is not a token of the sandbox") from None
