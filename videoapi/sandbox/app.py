"""The service's routes: turn a request into a response. Source: docs/contract.md 2, 4, 5 and 10."""

import base64
import json
import math
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import chain, islice

import attrs

from videoapi.sandbox import serializers
from videoapi.sandbox.rate_limit import SlidingLimiter
from videoapi.sandbox.responses import HttpResponse, Refusal, dump, refuse, unauthorised
from videoapi.sandbox.rooms import StoredRoom
from videoapi.sandbox.routing import RouteMatch
from videoapi.sandbox.sessions import User
from videoapi.sandbox.settings import Json
from videoapi.sandbox.store import Store
from videoapi.sandbox.switches import Switches
from videoapi.sandbox.wire import blocks

_TALKS = {"publish": True, "subscribe": True, "record": False, "stats": True, "controlhandlers": True}
_PERMISSIONS = {"moderator": {**_TALKS, "record": True}, "participant": _TALKS}
_WATCHES = {"publish": False, "subscribe": True, "record": False, "stats": False, "controlhandlers": False}


class Service:
    """The API's request handlers, backed by a store.

    Args:
        store: The rooms, tokens and sessions.
        switches: The switches, read for each request.
        app_id: The expected user name.
        app_key: The expected password.
        reports: The handler of CDR and archive requests.
        limiter: Decides which requests exceed the switch `rate_limit`.
    """

    def __init__(
        self,
        store: Store,
        *,
        switches: Switches,
        app_id: str,
        app_key: str,
        reports: Callable[[str, tuple[str, ...]], HttpResponse],
        limiter: SlidingLimiter,
    ) -> None:
        self._store = store
        self._switches = switches
        self._app_id = app_id
        self._app_key = app_key
        self._login = base64.b64encode(f"{app_id}:{app_key}".encode()).decode()
        self._reports = reports
        self._dialin_password = secrets.token_urlsafe(12)
        self._limiter = limiter
        self._routes: dict[str, Callable[[tuple[str, ...], Json], HttpResponse]] = {
            "rooms.create": self._create,
            "rooms.list": self._list,
            "rooms.get": self._get,
            "rooms.update": self._update,
            "rooms.delete": self._delete,
            "rooms.users": self._users,
            "tokens.create": self._token,
            "dialin.get": self._dialin,
        }

    def limited(self, authorization: str | None) -> HttpResponse | None:
        """Count a request that has arrived; return the response 429 if it exceeds the limit."""
        return self._limited() if self.authorized(authorization) else None

    def answer(
        self, call: RouteMatch, authorization: str | None, body: bytes, limited: HttpResponse | None
    ) -> HttpResponse:
        """Execute a request and return its response, which may be a refusal.

        Args:
            call: The route of the request.
            authorization: Its `Authorization` header.
            body: Its body.
            limited: What `limited` has returned for it.
        """
        if not self.authorized(authorization):
            return unauthorised(self._switches)
        if limited is not None and not self._switches.limited_executes:
            return limited
        answer = self._done(call, body)
        return answer if limited is None else limited

    def authorized(self, authorization: str | None) -> bool:
        """Return whether an `Authorization` header has the project's credentials."""
        scheme, _, login = (authorization or "").partition(" ")
        return scheme.lower() == "basic" and login.strip() == self._login

    def _done(self, call: RouteMatch, body: bytes) -> HttpResponse:
        try:
            if call.refusal is not None:
                raise call.refusal
            answer = self._execute(call, body)
        except Refusal as refusal:
            return refuse(self._switches, refusal)
        if call.route not in _WRITES:
            self._store.ledger.executed(call.route)
        return answer

    def _execute(self, call: RouteMatch, body: bytes) -> HttpResponse:
        route = self._routes.get(call.route)
        return route(call.args, _object(body)) if route else self._reports(call.route, call.args)

    def _limited(self) -> HttpResponse | None:
        limit = self._switches.rate_limit
        if limit is None:
            return None
        wait = self._limiter.refuse(limit)
        if wait is None:
            return None
        headers = {}
        if self._switches.retry_after == "seconds":
            headers = {"Retry-After": str(math.ceil(wait))}
        elif self._switches.retry_after == "date":
            # The header has whole seconds, and a client that comes too early is refused again.
            then = datetime.fromtimestamp(math.ceil(time.time() + wait), UTC)
            headers = {"Retry-After": format_datetime(then, usegmt=True)}
        return HttpResponse(b"Too Many Requests", 429, "text/plain; charset=utf-8", headers)

    def _create(self, args: tuple[str, ...], body: Json) -> HttpResponse:
        room = self._store.create(body)
        shown = serializers.created(
            room.body, room.room_id, self._app_id, serializers.stamp(room.created), self._switches
        )
        return HttpResponse(dump({"result": 0, "room": shown}), self._created())

    def _list(self, args: tuple[str, ...], body: Json) -> HttpResponse:
        size = 600 * len(self._store.rooms)
        return HttpResponse(blocks(self._items(), before=b'{"result":0,"rooms":[', after=b"]}"), size=size)

    def _items(self) -> Iterable[bytes]:
        switches = self._switches
        if switches.list_echo != "exact":
            switches = attrs.evolve(switches, echo=switches.list_echo)
        items = chain((self._item(room, switches) for room in self._store.listed()), self._store.rooms.foreign())
        if switches.list_cap is None:
            return items
        if switches.list_keeps == "newest":
            return deque(items, maxlen=switches.list_cap)
        return islice(items, switches.list_cap)

    def _item(self, room: StoredRoom, switches: Switches) -> bytes:
        item = self._shown(room, switches)
        item.pop(switches.list_omits, None)
        return dump(item)

    def _get(self, args: tuple[str, ...], body: Json) -> HttpResponse:
        room = self._store.visible(args[0])
        return HttpResponse(dump({"result": 0, "room": self._shown(room, self._switches)}))

    def _update(self, args: tuple[str, ...], body: Json) -> HttpResponse:
        self._store.update(args[0], body)
        return HttpResponse(dump({"result": 0}))

    def _delete(self, args: tuple[str, ...], body: Json) -> HttpResponse:
        self._store.delete(args[0])
        return HttpResponse(dump({"result": 0}))

    def _users(self, args: tuple[str, ...], body: Json) -> HttpResponse:
        self._store.find(args[0])
        users = self._store.sessions.inside(args[0])
        answer: Json = {"result": 0, "total": len(users)}
        if users:
            answer["users"] = [_user(user) for user in users]
        elif self._switches.idle_users != "absent":
            answer["users"] = None if self._switches.idle_users == "null" else []
        return HttpResponse(dump(answer))

    def _token(self, args: tuple[str, ...], body: Json) -> HttpResponse:
        text = self._store.issue(args[0], body)
        return HttpResponse(dump({"result": 0, "token": text}), self._created())

    def _dialin(self, args: tuple[str, ...], body: Json) -> HttpResponse:
        answer: Json = {} if self._switches.dialin_result == "absent" else {"result": 0}
        answer |= {
            "_id": self._app_id,
            "app_key": self._app_key,
            "settings": {"sip": True},
            "sip": {
                "server_url": "sip://sip.sandbox.invalid:5060",
                "username": f"sip-{self._app_id[:8]}",
                "password": self._dialin_password,
                "sig_servers": ["192.0.2.10"],
                "media_servers": ["192.0.2.20"],
            },
            "dialin": [
                {"country": "India", "country_code": "IN", "phone": "+91 22 5550 0100", "toll": True},
                {"country": "Singapore", "country_code": "SG", "phone": "+65 5550 0100", "toll": False},
            ],
        }
        return HttpResponse(dump(answer))

    def _created(self) -> int:
        return 200 if self._switches.status_mode == "legacy200" else self._switches.create_status

    def _shown(self, room: StoredRoom, switches: Switches) -> Json:
        return serializers.shown(
            room.body,
            room.room_id,
            self._app_id,
            serializers.stamp(room.created),
            switches,
            updated=serializers.stamp(room.updated) if room.updated else None,
            controller=room.controller,
        )


_WRITES = frozenset(("rooms.create", "rooms.update", "rooms.delete", "tokens.create"))


def _object(body: bytes) -> Json:
    # A body that is not a JSON object counts as an empty one.
    try:
        value = json.loads(body, parse_constant=_no_json) if body else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _user(user: User) -> Json:
    permissions = _PERMISSIONS.get(user.role, _WATCHES)
    return {"name": user.name, "user_ref": user.user_ref, "role": user.role, "permissions": permissions}
