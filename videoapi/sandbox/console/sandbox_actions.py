"""The actions that every sandbox offers: faults, simulated conferences, and clearing its state."""

from typing import TYPE_CHECKING, Any, Final

from videoapi.protocol.codes import TEXTS
from videoapi.sandbox.console.actions import Action, Field
from videoapi.sandbox.faults import KINDS, Faults
from videoapi.sandbox.responses import Refusal
from videoapi.sandbox.routing import ROUTES
from videoapi.sandbox.settings import Json
from videoapi.sandbox.store import Store

if TYPE_CHECKING:
    from videoapi.sandbox.server import Sandbox

_PATTERNS = {"*": "every route", "rooms.*": "", "tokens.*": "", "cdr.*": "", "archives.*": ""}
_ROUTES = {**_PATTERNS, **{name: f"{route.method} {route.template}" for name, route in ROUTES.items()}}
_ROOM = Field("room_id", "Room", "room")
_USERS = Field("users", "Users", "number", default=2, minimum=1, maximum=200, whole=True, required=True)
_MINUTES = Field("minutes", "Minutes", "number", default=30, minimum=1, maximum=10_000, required=True)
_LONGEST_REFUSAL: Final = 60
_RECORDED = Field("recorded", "Record it", "toggle", default=True)


class SandboxActions:
    """What the actions do.

    Args:
        sandbox: The sandbox that they act on.
        store: Its rooms and sessions.
        faults: Its active faults.
        webhook: The action that sends a webhook.
    """

    def __init__(self, sandbox: "Sandbox", store: Store, faults: Faults, webhook: Action) -> None:
        self._sandbox = sandbox
        self._store = store
        self._faults = faults
        self._webhook = webhook
        self._recorded: dict[str, bool] = {}

    def all(self) -> tuple[Action, ...]:
        """Return the actions, in the order in which the page shows them."""
        return (
            Action("check", "", "Use these", self._check),
            Action(
                "fault",
                "Inject a fault",
                "Inject",
                self._fault,
                (
                    Field("route", "Route", "choice", default="*", choices=_ROUTES, required=True),
                    Field("kind", "Fault", "choice", default="status", choices=KINDS, required=True),
                    Field("times", "Times", "number", default=1, minimum=1, whole=True, hint="Empty: no limit"),
                    Field("status", "HTTP status", "number", minimum=200, maximum=599, whole=True, hint="Such as 503"),
                    Field("seconds", "Seconds", "number", maximum=3600, hint="delay, refuse, late, stray"),
                    Field("share", "Share in percent", "number", maximum=100, hint="Empty: every request"),
                ),
            ),
            Action("cancel-fault", "", "Cancel", self._cancel, (Field("number", "Fault", "number", whole=True),)),
            Action("cancel-faults", "", "Cancel all faults", self._cancel_all),
            Action("start-session", "Start a conference", "Start", self._start, (_ROOM, _USERS, _RECORDED)),
            Action("end-session", "", "End", self._end, (Field("room_id", "Room", required=True),)),
            Action(
                "conference",
                "Add a conference that is over",
                "Add",
                self._conference,
                (_ROOM, _USERS, _MINUTES, _RECORDED),
            ),
            self._webhook,
            Action(
                "clear",
                "Clear the sandbox",
                "Clear",
                self._clear,
                confirm="Forget all rooms, tokens, sessions, call records, webhooks, faults and the ledger? "
                "Generated history and rooms stay.",
            ),
        )

    def _check(self) -> str:
        return "APP_ID and APP_KEY are right"

    def _fault(self, route: str, kind: str, times: int | None, share: float | None, **options: Any) -> str:
        given = {name: value for name, value in options.items() if value is not None}
        if kind == "refuse" and given.get("seconds", 0) > _LONGEST_REFUSAL:
            raise ValueError(f"refuse lasts at most {_LONGEST_REFUSAL} s here, as this page cannot end it")
        rate = None if share is None else share / 100
        self._sandbox.fault(route, kind, times, rate=rate, **given)
        return f"{kind} on {_ROUTES[route] if route == '*' else route}: {KINDS[kind]}"

    def _cancel(self, number: int) -> str:
        self._faults.cancel(number)
        return f"Fault {number} is cancelled"

    def _cancel_all(self) -> str:
        self._sandbox.clear_faults()
        return "All faults are cancelled"

    def _start(self, room_id: str | None, users: int, recorded: bool) -> str:
        room_id = room_id or self._room()
        conf_num = self._store.start_session(room_id, users)
        self._recorded[conf_num] = recorded
        return f"Conference {conf_num} has started in room {room_id}"

    def _end(self, room_id: str) -> str:
        running = {session.room_id: session.conf_num for session in self._store.sessions.running()}
        conf_num = self._store.end_session(room_id, recorded=self._recorded.pop(running.get(room_id, ""), None))
        return f"Conference {conf_num} is over; its call records are available"

    def _conference(self, room_id: str | None, users: int, minutes: float, recorded: bool) -> str:
        room_id = room_id or self._room()
        conf_num = self._sandbox.conference(room_id, users=users, minutes=minutes, recorded=recorded)
        return f"Conference {conf_num} of room {room_id} has {users} call records"

    def _clear(self) -> str:
        self._recorded.clear()
        self._sandbox.clear()
        return "The sandbox is cleared"

    def _room(self) -> str:
        settings: Json = {"scheduled": False, "adhoc": False, "mode": "group", "moderators": "1", "participants": "0"}
        body: Json = {"name": "Console room", "owner_ref": f"console-{self._store.new_id()}", "settings": settings}
        try:
            return self._store.create(body).room_id
        except Refusal as refusal:
            raise ValueError(f"the room was refused: {TEXTS.get(refusal.code, refusal.code)}") from None
