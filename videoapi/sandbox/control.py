"""The routes of the sandbox itself, below `/_sandbox/`, for clients in other processes and languages."""

from collections.abc import Callable, Mapping

from videoapi.sandbox.responses import HttpResponse, dump
from videoapi.sandbox.traffic import Traffic

PREFIX = "/_sandbox/"
TRAFFIC = f"{PREFIX}traffic"


class ControlRoutes:
    """Handles the requests below `/_sandbox/`, which are not requests to the service: not counted, and without faults.

    Args:
        traffic: Returns what has arrived.
        clear_traffic: Counts it from 0 again.
        authorized: Returns whether an `Authorization` header has the sandbox's credentials.
    """

    def __init__(
        self,
        traffic: Callable[[], Traffic],
        clear_traffic: Callable[[], object],
        authorized: Callable[[str | None], bool],
    ) -> None:
        self._traffic = traffic
        self._clear_traffic = clear_traffic
        self._authorized = authorized

    def answer(self, method: str, path: str, headers: Mapping[str, str]) -> HttpResponse:
        """Return the response to a request below `/_sandbox/`."""
        if path != TRAFFIC:
            return _error(404, f"The sandbox has no {path}; known is {TRAFFIC}")
        if method not in ("GET", "HEAD", "DELETE"):
            return _error(405, "Use GET or DELETE", {"Allow": "GET, HEAD, DELETE"})
        if method == "DELETE" and not self._authorized(headers.get("Authorization")):
            return _error(401, "Send APP_ID and APP_KEY of this sandbox as HTTP Basic")
        traffic = self._traffic()
        if method == "DELETE":
            self._clear_traffic()
        return HttpResponse(dump(traffic.to_dict()), headers={"Cache-Control": "no-store"})


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
    return HttpResponse(dump({"error": text}), status, headers=headers or {})
