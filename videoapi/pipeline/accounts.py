"""What the calls of one account share (retry budget, pause, rate), and how long it is kept."""

from __future__ import annotations

import heapq
import weakref
from collections.abc import Iterable
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

import attrs

from videoapi.errors import ConfigurationError
from videoapi.pipeline.admission import Admission
from videoapi.pipeline.clock import Clock
from videoapi.pipeline.gate import AccountGates, Gate, LocalGate
from videoapi.pipeline.outage import Outage
from videoapi.pipeline.pause import PauseGate
from videoapi.pipeline.shared_gate import SharedGate
from videoapi.protocol.types import Verdict

_CAPACITY: Final = 500.0
BODY_COST: Final = 10.0
"""What a retry costs after a body that broke off."""
_COSTS: Final = {Verdict.UNKNOWN: BODY_COST, Verdict.NOT_SENT: 10.0, Verdict.THROTTLED: 5.0}


class RetryBudget:
    """The retry budget of an account: in a total outage, N calls send at most N + 50 requests.

    It holds 500. A retry costs 10, or 5 after HTTP 429. A success at the first attempt refunds 1, a
    success after retries what the last retry cost. A stream succeeds when its body has ended.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _CAPACITY

    @property
    def left(self) -> float:
        return self._left

    def spend(self, verdict: Verdict) -> float | None:
        """Spend the cost of a retry and return it; None if the budget is too low."""
        cost = _COSTS[verdict]
        if cost > self._left:
            return None
        self._left -= cost
        return cost

    def succeeded(self, last_cost: float) -> None:
        """Refund what the last retry cost, or 1 if the first attempt succeeded."""
        if self._left < _CAPACITY:
            self._left = min(_CAPACITY, self._left + (last_cost or 1.0))


@attrs.frozen(eq=False)
class AccountState:
    """What all calls of one account share: an APP_ID at one origin.

    Args:
        clock: Time, sleep and randomness.
        connect: Pauses the bulk runs of an origin that cannot be reached; all its accounts share it.
        budget: Limits retries.
        gate: The account's pause and rate within this process.
        admission: The line in which attempts wait for both.
        users: The open clients of the account, each with the interval of its `rate=`.
        shared: What other packages keep per account, by its type.
    """

    clock: Clock
    connect: PauseGate
    gate: LocalGate
    admission: Admission
    budget: RetryBudget = attrs.field(factory=RetryBudget)
    users: WeakKeyDictionary[ClientAccounts, float] = attrs.field(factory=WeakKeyDictionary)
    shared: dict[type, Any] = attrs.field(factory=dict)

    @property
    def throttle(self) -> PauseGate:
        """The account's pause after HTTP 429."""
        return self.gate.throttle

    def succeeded(self, began: float, last_cost: float | None) -> None:
        """Record a success: end the pauses, and refund the last retry unless its cost is None."""
        if last_cost is not None:
            self.budget.succeeded(last_cost)
        throttle = self.gate.throttle
        if throttle.closed:
            throttle.resume(began)
        if self.connect.closed:
            self.connect.resume(began)

    @property
    def shared_gate(self) -> SharedGate | None:
        """The gate that other processes share, if a client has one."""
        gate = self.admission.gate
        return gate if isinstance(gate, SharedGate) else None

    @property
    def rate(self) -> str:
        """The rate that counts now, to show."""
        shared = self.shared_gate
        return str(self.gate.rate) if shared is None else shared.rate

    def update_rate(self) -> None:
        """Apply the strictest rate of the clients that are open."""
        self.gate.rate.set(max(self.users.values(), default=0.0))

    def stop_sharing(self) -> SharedGate | None:
        """Return the shared gate, used no more, if no open client has it."""
        shared = self.shared_gate
        if shared is None or any(user.gate is not None for user in self.users):
            return None
        self.admission.gate = self.gate
        return shared


class AccountRegistry:
    """The accounts of one session manager.

    An account is kept while a client uses it, and after that until its pause ends.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._accounts: dict[tuple[str, str], AccountState] = {}
        self._unchecked: set[tuple[str, str]] = set()
        # Unused, but kept until a pause ends: when that is, in order, as there may be thousands.
        self._ends: list[tuple[float, tuple[str, str]]] = []
        self._paused: set[tuple[str, str]] = set()
        self._connects: WeakValueDictionary[str, PauseGate] = WeakValueDictionary()
        # By identity, as a gate of the user's may not be hashable; the value keeps it alive.
        self._outages: WeakValueDictionary[int, Outage] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._accounts)

    def join(self, client: ClientAccounts, app_id: str) -> AccountState:
        """Return the account of an APP_ID at the client's origin, kept until the client leaves.

        Raises:
            ConfigurationError: If another client of the account has another gate.
        """
        self._drop_unused()
        key = (client.origin, app_id)
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = self.new_account(client.origin)
        if client.gate is not None:
            self._share(account, client.gate, key)
        # In case the client is never closed.
        weakref.finalize(client, self._unchecked.add, key).atexit = False
        account.users[client] = client.interval
        rate = account.gate.rate
        rate.set(max(rate.interval, client.interval))
        return account

    def leave(self, client: ClientAccounts, app_ids: Iterable[str]) -> list[SharedGate]:
        """Forget a client, and those of its accounts that no other client uses.

        Returns:
            The gates that nothing uses any more, to be closed.
        """
        keys = [(client.origin, app_id) for app_id in app_ids]
        gates: list[SharedGate] = []
        for key in keys:
            account = self._accounts[key]
            account.users.pop(client, None)
            if (gate := account.stop_sharing()) is not None:
                gates.append(gate)
        self._drop_unused(keys)
        return gates

    def _share(self, account: AccountState, gate: Gate | AccountGates, key: tuple[str, str]) -> None:
        """Let a gate admit the requests of an account."""
        shared = account.shared_gate
        if shared is not None:
            if shared.user_gate is gate or shared.user_gate == gate:
                return
            raise ConfigurationError(
                "Another open client of this account on the same SessionManager has a different gate=. "
                "Give both the same one."
            )
        outage = self._outages.get(id(gate))
        if outage is None:
            outage = self._outages[id(gate)] = Outage(self._clock, gate)
        origin, app_id = key
        rate = account.gate.rate
        own = gate.for_account(origin, app_id, lambda: rate.interval) if isinstance(gate, AccountGates) else gate
        name = f"account {app_id} at {origin.partition('://')[2]}"
        account.admission.gate = SharedGate(self._clock, name, account.gate, own, outage)

    def new_account(self, origin: str) -> AccountState:
        """Return the initial state of an account."""
        connect = self._connects.get(origin)
        if connect is None:
            connect = self._connects[origin] = PauseGate(self._clock, base=0.1, cap=2.0)
        gate = LocalGate(self._clock)
        return AccountState(self._clock, connect, gate, Admission(self._clock, gate))

    def _drop_unused(self, left: Iterable[tuple[str, str]] = ()) -> None:
        """Drop the accounts that clients have left and that are not paused any more."""
        keys = [*left, *self._unchecked]
        self._unchecked.difference_update(keys)
        while self._ends and self._ends[0][0] <= self._clock.now():
            _, key = heapq.heappop(self._ends)
            self._paused.discard(key)
            keys.append(key)
        for key in keys:
            account = self._accounts.get(key)
            if account is None:
                continue
            if account.gate.rate.interval:
                account.update_rate()
                account.stop_sharing()
            if account.users or key in self._paused:
                continue
            pause = max(account.throttle.pause_left(), account.connect.pause_left())
            if not pause:
                del self._accounts[key]
                continue
            heapq.heappush(self._ends, (self._clock.now() + pause, key))
            self._paused.add(key)


class ClientAccounts:
    """The accounts that one client uses: one, or several if its credentials change the APP_ID.

    Args:
        registry: Where accounts are shared with other clients.
        origin: Scheme, host and port of the API.
        interval: Seconds between two requests of an account; 0 for no limit.
        gate: Shares the rate with other processes; None if this one has it alone.
    """

    def __init__(
        self, registry: AccountRegistry, origin: str, interval: float = 0.0, gate: Gate | AccountGates | None = None
    ) -> None:
        self._registry = registry
        self._joined: dict[str, AccountState] = {}
        self._left = False
        self.origin = origin
        self.interval = interval
        self.gate = gate
        self.current: AccountState = registry.new_account(origin)
        """The account of the latest attempt."""

    def use(self, app_id: str) -> AccountState:
        """Return the account of an attempt."""
        account = self._joined.get(app_id)
        if account is None:
            if self._left:
                # User code closed the client within a call, which will send nothing more.
                return self.current
            account = self._joined[app_id] = self._registry.join(self, app_id)
        self.current = account
        return account

    def leave(self) -> list[SharedGate]:
        """End the client's use of its accounts; return the gates that nothing uses any more, to be closed."""
        self._left = True
        gates = self._registry.leave(self, self._joined)
        self._joined.clear()
        return gates
