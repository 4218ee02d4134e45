"""`client.dialin`: the account's telephone numbers."""

from __future__ import annotations

from typing import Final, cast

from videoapi.models.codec import Reader
from videoapi.models.dialin import DialIn
from videoapi.pipeline.pipeline import Caller
from videoapi.protocol.routes import DIALIN, Request

NUMBERS: Final[Reader[DialIn]] = Reader(None, DialIn)


class DialIns:
    """Read the account's dial-in numbers."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self) -> DialIn:
        """Read the dial-in numbers and the SIP configuration of the account.

        The answer holds passwords: no repr shows them.

        Raises:
            AuthenticationFailed: The credentials are wrong.

        Source: contract 5.5.
        """
        request = Request(route=DIALIN, path=DIALIN.path(), options=self._caller.options, reader=NUMBERS)
        return cast(DialIn, await self._caller.call(request))
