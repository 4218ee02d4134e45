"""What the console shows of the sandbox's state: sections of JSON values, each of limited size."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import attrs

from videoapi.sandbox.console.masking import Masking, masked_token
from videoapi.sandbox.console.request_log import LoggedRequest, RequestLog
from videoapi.sandbox.faults import KINDS, WITH_SECONDS, WITH_STATUS, Fault, Faults
from videoapi.sandbox.ledger import Ledger, LedgerEntry
from videoapi.sandbox.record_templates import ArchiveRow, CallRow, iso
from videoapi.sandbox.rooms import StoredRoom
from videoapi.sandbox.routing import ROUTES
from videoapi.sandbox.sessions import Session
from videoapi.sandbox.settings import Json
from videoapi.sandbox.store import Store
from videoapi.sandbox.traffic import RouteTraffic, Traffic
from videoapi.sandbox.webhook_sender import WebhookDelivery, WebhookSender

# Rows per table, and users per session.
ROWS = 100
_USERS = 20


class Views:
    """The sections of the state, and the requests, as they are sent to viewers.

    Args:
        store: The rooms, tokens, sessions, records and ledger.
        faults: The active faults.
        webhooks: The attempts to deliver notifications.
        requests: The log of requests.
        masking: Masks secrets in texts that clients sent.
        refusing: Returns whether new connections are refused.
        traffic: Returns what has arrived.
        recent: Returns the most requests in a second for each of the last seconds.
    """

    def __init__(
        self,
        store: Store,
        faults: Faults,
        webhooks: WebhookSender,
        requests: RequestLog,
        masking: Masking,
        refusing: Callable[[], bool],
        traffic: Callable[[], Traffic],
        recent: Callable[[], list[int]],
    ) -> None:
        self._store = store
        self._faults = faults
        self._webhooks = webhooks
        self._requests = requests
        self._text = masking.text
        self._refusing = refusing
        self._traffic = traffic
        self._recent = recent
        self._references = _References()
        self._changes = -1
        self._records: dict[str, object] = {}

    def state(self) -> Mapping[str, object]:
        """Return all sections by name."""
        store = self._store
        if store.records.changes != self._changes:
            self._changes = store.records.changes
            self._records = self._latest_records()
        return {
            "log": {"forgotten": self._requests.forgotten},
            "traffic": self._arrived(self._traffic()),
            "ledger": self._ledger(store.ledger),
            "faults": {
                "rows": [self._fault(number, fault) for number, fault in self._faults.active().items()][-ROWS:],
                "planned": self._faults.planned(),
                "refusing": self._refusing(),
            },
            "rooms": {"total": len(store.rooms), "rows": [*map(self._room, store.latest_rooms(ROWS))]},
            "sessions": {
                "total": len(store.sessions.running()),
                "rows": [*map(self._session, store.sessions.running()[-ROWS:])],
            },
            **self._records,
            "tokens": {"total": store.ledger.count("tokens.create"), "rows": self._tokens()},
            "webhooks": {
                "total": self._webhooks.total,
                "rows": [self._delivery(number, delivery) for number, delivery in self._webhooks.latest(ROWS)],
            },
        }

    def request(self, request: LoggedRequest) -> Json:
        """Return what is shown of a request."""
        return {
            "number": request.number,
            "at": _moment(request.at),
            "method": self._text(request.method),
            "path": self._text(request.path),
            "route": request.route,
            "outcome": request.outcome,
            "status": request.status,
            "result": request.result,
            "fault": request.fault,
            "ms": None if request.milliseconds is None else round(request.milliseconds, 1),
        }

    def _latest_records(self) -> dict[str, object]:
        records = self._store.records
        calls, archives = records.totals()
        return {
            "calls": {"total": calls, "rows": [*map(self._call, records.latest_calls(ROWS))]},
            "archives": {"total": archives, "rows": [*map(self._archive, records.latest_archives(ROWS))]},
        }

    def _arrived(self, traffic: Traffic) -> Json:
        def row(route: str, counts: RouteTraffic) -> Json:
            return {"route": route, **attrs.asdict(counts)}

        return {
            "recent": self._recent(),
            "total": row("", traffic.total),
            "routes": [row(route, counts) for route, counts in traffic.routes.items()],
            "stalled": round(traffic.stalled, 2),
            "rate_limit": traffic.rate_limit,
        }

    def _ledger(self, ledger: Ledger) -> Json:
        routes = [
            {"route": route, "requests": requests, "executed": ledger.count(route)}
            for route in ROUTES
            if (requests := ledger.requests(route)) or ledger.count(route)
        ]
        return {
            "requests": ledger.requests(),
            "connections": ledger.connections,
            "created": ledger.count("rooms.create"),
            "tokens": ledger.count("tokens.create"),
            "duplicates": self._references.duplicates(ledger),
            "routes": routes,
        }

    def _fault(self, number: int, fault: Fault) -> Json:
        return {
            "number": number,
            "kind": fault.kind,
            "does": KINDS[fault.kind],
            "routes": _patterns(fault.routes),
            "left": None if fault.times is None else fault.times - fault.hits,
            "hits": fault.hits,
            "share": fault.rate,
            # A page keeps what was entered for another kind.
            "status": fault.status if fault.kind in WITH_STATUS else None,
            "seconds": fault.seconds if fault.kind in WITH_SECONDS else None,
        }

    def _delivery(self, number: int, delivery: WebhookDelivery) -> Json:
        return {
            "number": number,
            "at": _moment(delivery.at),
            "type": delivery.type,
            "url": self._text(delivery.url),
            "status": delivery.status,
            "error": delivery.error,
            "seconds": round(delivery.seconds, 3),
            "attempt": delivery.attempt,
        }

    def _room(self, room: StoredRoom) -> Json:
        settings = room.settings
        kind = "scheduled" if settings.get("scheduled") else "ad-hoc" if settings.get("adhoc") else "permanent"
        return {
            "id": room.room_id,
            "name": self._text(room.body.get("name")),
            "owner_ref": self._text(room.body.get("owner_ref")),
            "kind": kind,
            "created": _moment(room.created),
            "active": self._store.sessions.active(room.room_id),
        }

    def _session(self, session: Session) -> Json:
        users = list(session.inside.values())
        room = self._store.rooms.get(session.room_id)
        return {
            "conf_num": session.conf_num,
            "room_id": session.room_id,
            "room": self._text(room.body.get("name") if room else None),
            "since": _moment(min((user.since for user in users), default=datetime.now(UTC))),
            "users": [f"{self._text(user.name)} ({self._text(user.role)})" for user in users[:_USERS]],
            "more": max(0, len(users) - _USERS),
        }

    def _tokens(self) -> list[Json]:
        return [
            {
                "token": masked_token(token_id),
                "name": self._text(user.name),
                "role": self._text(user.role),
                "room_id": user.room_id,
                "state": state,
                "at": _moment(user.since),
            }
            for token_id, user, state in self._store.latest_tokens()
        ]

    def _call(self, row: CallRow) -> Json:
        return {
            "id": row.cdr_id,
            "conf_num": row.conf_num,
            "room": self._text(json.loads(row.room_name_json)),
            "user": self._text(json.loads(row.name_json)),
            "role": self._text(row.role),
            "joined": iso(row.connected),
            "minutes": round((row.left - row.connected) / 60_000, 1),
        }

    def _archive(self, row: ArchiveRow) -> Json:
        # Next to the recordings, a session has a transcoded file, its chat, and its metadata.
        files = row.streams + 3 if row.streams else 0
        return {
            "id": row.archive_id,
            "conf_num": row.conf_num,
            "room_id": row.room_id,
            "at": iso(row.at),
            "files": files,
        }


class _References:
    """How many references were executed more than once, counted as the ledger grows."""

    def __init__(self) -> None:
        self._last: LedgerEntry | None = None
        self._times: Counter[str] = Counter()
        self._duplicates = 0

    def duplicates(self, ledger: Ledger) -> int:
        """Return the number, reading only the entries that are new."""
        entries = ledger.entries_from(self._last)
        if self._last is not None and entries[:1] != [self._last]:
            # The ledger was cleared.
            self._times.clear()
            self._last, self._duplicates = None, 0
            entries = ledger.entries_from(None)
        elif self._last is not None:
            entries = entries[1:]
        for entry in entries:
            self._last = entry
            if entry.route == "rooms.create" and entry.reference is not None:
                self._times[entry.reference] += 1
                self._duplicates += self._times[entry.reference] == 2
        return self._duplicates


def _patterns(routes: frozenset[str]) -> str:
    if len(routes) == len(ROUTES):
        return "every route"
    found: list[str] = []
    for group in dict.fromkeys(route.partition(".")[0] for route in ROUTES):
        names = [route for route in ROUTES if route.startswith(f"{group}.")]
        complete = len(names) > 1 and routes.issuperset(names)
        found += [f"{group}.*"] if complete else [name for name in names if name in routes]
    return ", ".join(found)


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
