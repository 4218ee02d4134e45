"""`client.dialin`: the account's dial-in telephone numbers."""

from __future__ import annotations

from typing import Final, cast

from videoapi.models.codec import ResponseDecoder
from videoapi.models.dialin import DialIn
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.routes import DIALIN, Request

NUMBERS: Final[ResponseDecoder[DialIn]] = ResponseDecoder(None, DialIn)


class DialIns:
    """The account's dial-in numbers."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def get(self) -> DialIn:
        """Return the dial-in numbers and the SIP configuration of the account.

        The response contains passwords, which no repr shows.

        Raises:
            AuthenticationFailed: If the credentials are wrong.

        Source: docs/contract.md 5.5.
        """
        request = Request(route=DIALIN, path=DIALIN.path(), options=self._pipeline.options, decoder=NUMBERS)
        return cast(DialIn, await self._pipeline.run(request))
