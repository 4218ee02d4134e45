"""The response to a request that has no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from videoapi.errors import ProtocolError
from videoapi.protocol.envelope import InvalidJSON, parse

OperationName = Literal["read", "update", "create", "delete"]
"""What a repeated request would do."""


@attrs.frozen(kw_only=True)
class Response:
    """A successful response to `client.request`.

    Args:
        status: HTTP status.
        headers: Response headers.
        request_id: The service's ID of the request, if it sent one.
        body: The response body.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    request_id: str | None
    body: bytes = attrs.field(repr=False)

    def json(self) -> Any:
        """Return the parsed body, with U+FFFD in place of values nested deeper than 65 levels.

        Raises:
            ProtocolError: If the body is not JSON.
        """
        try:
            return parse(self.body)
        except InvalidJSON as error:
            problem = str(error)
        raise ProtocolError(f"The response body is not JSON: {problem}.", status=self.status)
