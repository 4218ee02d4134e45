"""The sandbox: the service on a socket of this machine, with its switches, faults and ledger."""

import asyncio
import ipaddress
import os
import random
import secrets
import string
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from typing import Any, Self, TypeVar, Unpack

from aiohttp import web

from videoapi.sandbox.app import Service
from videoapi.sandbox.faults import Fault, FaultOptions, Faults, FaultStep, planned, scripted
from videoapi.sandbox.files import Files
from videoapi.sandbox.handler import SandboxHandler
from videoapi.sandbox.history import Generated
from videoapi.sandbox.ledger import Ledger
from videoapi.sandbox.listener import SocketListener
from videoapi.sandbox.persistence import State
from videoapi.sandbox.records import Records
from videoapi.sandbox.reports import ReportService
from videoapi.sandbox.routing import selected
from videoapi.sandbox.store import Store
from videoapi.sandbox.switches import Switches
from videoapi.sandbox.threads import in_thread

T = TypeVar("T")

# How long closing waits for answers under way, in seconds.
_PATIENCE = 1.0


class Sandbox:
    """The Video API on loopback: `async with Sandbox() as sandbox:`, or `with Sandbox().in_thread()`.

    Args:
        app_id: the project's id, 24 hexadecimal digits; made up when absent.
        app_key: the project's key; made up when absent.
        host: where to listen; only loopback, unless `allow_remote` is true.
        port: where to listen; 0 for any free port.
        seed: makes ids, history and fault dice repeatable.
        calls: how many call records the generated history has.
        rooms: how many generated rooms the list begins with.
        tls: serve https with a made certificate, whose CA is written to `ca_file` (extra `testing`).
        clock: the service's time, an aware datetime; the machine's by default.
        recording_user: the user name for files; made up when absent.
        recording_password: the password for files; made up when absent.
        today: the last day of the generated history, UTC.
        days: over how many days the history is spread.
        allow_remote: listen on an address that other machines can reach.
        state: a file that keeps rooms and ledger: a sandbox that was killed goes on with the same file, port and
            credentials. Tokens, sessions, call records, faults and switches are not kept.
        switches: the switches of the contract by name, such as `status_mode="legacy200"`.

    Raises:
        ValueError: an unknown switch or value, an address that other machines can reach, or a file that is no state.

    Source: docs/contract.md 10.
    """

    def __init__(
        self,
        *,
        app_id: str | None = None,
        app_key: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int | str | None = None,
        calls: int = 0,
        rooms: int = 0,
        tls: bool = False,
        clock: Callable[[], datetime] | None = None,
        recording_user: str | None = None,
        recording_password: str | None = None,
        today: date | None = None,
        days: int = 31,
        allow_remote: bool = False,
        state: str | os.PathLike[str] | None = None,
        **switches: Any,
    ) -> None:
        if not allow_remote and not _loopback(host):
            raise ValueError(f"{host} can be reached from other machines; allow_remote=True if that is meant")
        self.app_key = app_key or _word(36)
        self.recording_auth = (recording_user or "recordings", recording_password or _word(16))
        self.switches = Switches.of(switches)
        clock = clock or _now
        dice = random.Random(seed)  # noqa: S311 - made-up ids and scripted faults, no secrets
        self.app_id = app_id or f"{dice.getrandbits(96):024x}"
        past = Generated(
            self.app_id,
            seed=secrets.token_hex(8) if seed is None else repr(seed),
            calls=calls,
            rooms=rooms,
            today=today or clock().astimezone(UTC).date(),
            days=days,
        )
        self._listener = SocketListener(host, port, tls=tls)
        self._state = State(state)
        self._store = Store(
            self.app_id,
            switches=self.switches,
            clock=clock,
            dice=dice,
            generated=past,
            host=self._address,
            state=self._state,
        )
        self._faults = Faults(dice)
        reports = ReportService(self._store.records, self.switches, clock, self.app_id, self._origin)
        self._exchange = SandboxHandler(
            service=Service(
                self._store,
                switches=self.switches,
                app_id=self.app_id,
                app_key=self.app_key,
                reports=reports.answer,
            ),
            files=Files(self._store.records, self.switches, clock, self.recording_auth),
            scripted=self._faults,
            ledger=self.ledger,
            listener=self._listener,
            switches=self.switches,
            state=self._state,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: web.Server | None = None

    @property
    def port(self) -> int:
        """The port that the sandbox listens on; 0 before it does, unless one was given."""
        return self._listener.port

    @property
    def base_url(self) -> str:
        """The base URL of the current version, for a client."""
        return f"{self._origin()}/video/v2"

    @property
    def ca_file(self) -> str | None:
        """The file with the CA of the made certificate while the sandbox runs with `tls=True`."""
        return self._listener.ca_file

    @property
    def history(self) -> Records:
        """The generated and the simulated calls, with counts to compare with."""
        return self._store.records

    @property
    def ledger(self) -> Ledger:
        """What was received and what was executed."""
        return self._store.ledger

    @property
    def late(self) -> int:
        """How many executions are still to come, of requests that met `late` or `late_status`."""
        return self._exchange.late

    async def start(self) -> Self:
        """Listen.

        Raises:
            RuntimeError: it runs already.
            OSError: the port is taken, or the state's file cannot be made.
        """
        if self._server is not None:
            raise RuntimeError("the sandbox runs already")
        self._loop = asyncio.get_running_loop()
        self._exchange.open()
        self._server = web.Server(self._exchange.handle, access_log=None)
        try:
            self._state.open()
            await self._listener.open(self._connected)
        except BaseException:
            self._server = None
            self._state.close()
            raise
        return self

    async def aclose(self) -> None:
        """Stop listening and end every connection; safe to call twice."""
        server, self._server = self._server, None
        if server is None:
            return
        self._exchange.close()
        self._listener.close()
        # First those who wait for nothing, so that only answers under way are waited for.
        server.pre_shutdown()
        await asyncio.sleep(0)
        await server.shutdown(_PATIENCE)
        self._state.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def in_thread(self) -> AbstractContextManager[Self]:
        """Run on an event loop in a thread of its own, for programs and tests that have none."""
        return in_thread(self.start, self.aclose)

    def set(self, **switches: Any) -> None:
        """Change switches while it runs.

        Raises:
            ValueError: an unknown switch or value; nothing was changed.
        """
        self._step(lambda: self.switches.set(switches))

    def fault(
        self,
        route: str,
        kind: str | int,
        times: int | None = 1,
        **told: Unpack[FaultOptions],
    ) -> Fault:
        """Script trouble for requests to come. The first fault in force that a request meets is the only one.

        Args:
            route: a route's name (`rooms.create`), a glob (`cdr.*`, `*`) or `METHOD /template`.
            kind: one of `videoapi.sandbox.KINDS`, or a status as a number.
            times: how many requests meet it; None for all.
            rate: the probability, from 0 to 1, with which a request meets it.
            seconds: how long, for `delay` and `refuse`; how much later, for `late`, `late_status` and `stray`.
            status: the HTTP status, for those kinds that answer one.
            retry_after: the header `Retry-After`, in seconds or as text.
            code: the `result` in a body that says one.
            body: the whole body in place of the kind's own; for `stray` all its bytes, head included.
            at: where `cut` and `truncated` cut: below 1 a share of the body (default half), else bytes.
            after: how many requests pass before the first one meets it.
            location: where `redirect` points.

        `refuse` on `*` with neither `rate` nor `after` begins at once where the sandbox runs; else with the
        request that meets it, which is answered as usual. While it lasts every answer says `Connection: close`.

        Raises:
            ValueError: an unknown route or kind, or a number that makes no sense.
        """
        fault = scripted(route, kind, times, **told)
        if self._server and fault.kind == "refuse" and route == "*" and fault.rate is None and not fault.after:
            fault.hits, fault.times = 1, 1
            self._step(lambda: self._listener.refuse(fault.seconds or 1.0))
            return fault
        return self._faults.add(fault)

    def plan(self, steps: Iterable[FaultStep], route: str = "rooms.create") -> list[Fault | None]:
        """Say of the next requests of a route, in order of arrival, which fault each one meets.

        Args:
            steps: a kind, a kind with what `fault` would be told, or None for a request that the plan leaves alone
                (it may meet a fault of `fault`); after the last step there is no plan.
            route: one route, named as in `fault`.

        Returns:
            The faults, whose `hits` tell how far the plan went.

        Raises:
            ValueError: an unknown route or kind, several routes, or a number that makes no sense; nothing was planned.
        """
        name, *others = selected(route)
        if others:
            raise ValueError(f"a plan is for one route, and {route!r} means several")
        faults = [planned(name, step) for step in steps]
        self._faults.plan(name, faults)
        return faults

    def add_room(self, item: bytes) -> None:
        """Put a foreign item into the list of rooms, behind the others and byte for byte as given.

        Args:
            item: what stands there, such as a room with a number for its `owner_ref`; nothing checks it.
        """
        self._step(lambda: self._store.rooms.add_foreign(item))

    def clear_faults(self) -> None:
        """Cancel every fault and every plan."""
        self._faults.clear()

    def join(self, token: str) -> str:
        """Let a token's user into its room; returns the session's `conf_num`.

        Raises:
            ValueError: the token is unknown, used up or too old.
        """
        return self._step(lambda: self._store.join(token))

    def leave(self, token: str) -> None:
        """Let a token's user leave; the last one ends the session, whose call records then exist.

        Raises:
            ValueError: the user is not inside.
        """
        self._step(lambda: self._store.leave(token))

    def conference(
        self,
        room_id: str,
        *,
        users: int = 2,
        minutes: float = 30,
        start: datetime | None = None,
        recorded: bool | None = None,
        files: bool = True,
    ) -> str:
        """Simulate a session that is over: one call record a user, and an archive when it was recorded.

        Args:
            room_id: the room.
            users: how many took part, the first as moderator.
            minutes: how long it lasted.
            start: when it began; by default it has just ended.
            recorded: whether there is an archive; by default what the room's `auto_recording` says.
            files: whether the archive has files.

        Returns:
            The session's `conf_num`.

        Raises:
            ValueError: there is no such room.
        """
        return self._step(
            lambda: self._store.conference(
                room_id, users=users, minutes=minutes, start=start, recorded=recorded, files=files
            )
        )

    def _step(self, step: Callable[[], T]) -> T:
        """Take a step on the sandbox's loop, from whatever thread."""
        loop = self._loop

        def taken() -> T:
            done = step()
            self._state.commit()
            return done

        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if loop is None or loop is here or self._server is None or not loop.is_running():
            return taken()

        async def there() -> T:
            return taken()

        return asyncio.run_coroutine_threadsafe(there(), loop).result()

    def _connected(self) -> asyncio.Protocol:
        assert self._server is not None
        protocol = self._server()
        self._exchange.connected(protocol)
        return protocol

    def _origin(self) -> str:
        return self._listener.origin

    def _address(self) -> str:
        return f"{self._listener.host}:{self.port}"


def _now() -> datetime:
    return datetime.now(UTC)


def _word(length: int) -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
