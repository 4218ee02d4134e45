"""Accounts: which calls share one, and how long its state lives."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType

import attrs
import pytest
from support.script import ORIGIN, ScriptedTransport, Time, ask

from videoapi.config import Credentials
from videoapi.pipeline.accounts import AccountRegistry, ClientAccounts
from videoapi.pipeline.call import Call
from videoapi.pipeline.credentials import CredentialsProvider
from videoapi.pipeline.reporting import Reporter
from videoapi.pipeline.retry import Retries
from videoapi.protocol.outcome import Outcome, answered
from videoapi.protocol.routes import Request
from videoapi.protocol.types import Verdict
from videoapi.transport.deadlines import DeadlineTimer

OTHER_ORIGIN = "https://other.example.com"


@attrs.define
class Accounts:
    """The accounts of a manager in virtual time."""

    time: Time = attrs.field(factory=lambda: Time(0.0))
    registry: AccountRegistry = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.registry = AccountRegistry(self.time.clock())

    def client(self, interval: float = 0.0, origin: str = ORIGIN) -> ClientAccounts:
        return ClientAccounts(self.registry, origin, interval)


# Identity.


def test_account_is_an_origin_and_an_app_id() -> None:
    accounts = Accounts()
    first, second, elsewhere = accounts.client(), accounts.client(), accounts.client(origin=OTHER_ORIGIN)
    account = first.use("id")
    assert first.use("id") is account
    assert second.use("id") is account
    other = second.use("other")
    assert other.budget is not account.budget
    assert other.throttle is not account.throttle
    assert other.gate.rate is not account.gate.rate
    assert elsewhere.use("id").budget is not account.budget
    assert len(accounts.registry) == 3


def test_accounts_of_an_origin_share_its_connect_pause() -> None:
    accounts = Accounts()
    client = accounts.client()
    connect = client.use("id").connect
    assert client.use("other").connect is connect
    assert accounts.client(origin=OTHER_ORIGIN).use("id").connect is not connect


def test_current_account_is_that_of_the_latest_attempt() -> None:
    client = Accounts().client()
    one, two = client.use("one"), client.use("two")
    assert client.current is two
    assert client.use("one") is client.current is one


def retries_with(accounts: Accounts, credentials: CredentialsProvider, transport: ScriptedTransport) -> Retries:
    return Retries(
        transport=transport,
        accounts=accounts.client(),
        credentials=credentials,
        clock=accounts.time.clock(),
        reporter=Reporter("api.example.com:443"),
    )


async def send(accounts: Accounts, retries: Retries) -> Outcome:
    timer, request = DeadlineTimer(lambda: accounts.time.now), ask(attempts=1)
    began = accounts.time.now
    call = Call(request, began, began + request.timeout, timer.start(began + request.timeout))
    try:
        return await retries.send(call, request)
    finally:
        timer.stop(call.limit)


class Tenants:
    """A service that limits some APP_IDs for 299 s; the test names the tenant of the next request."""

    def __init__(self, *limited: str) -> None:
        self.tenant = ""
        self.limited = limited
        self.transport = ScriptedTransport(self._respond)

    async def _respond(self, request: Request, deadline: float) -> Outcome:
        if self.tenant in self.limited:
            return answered(request, 429, {"Retry-After": "299"}, b"")
        return answered(request, 200, {}, b'{"result":0}')


async def test_pause_of_one_tenant_does_not_reach_later_callables() -> None:
    accounts, service = Accounts(), Tenants("tenant-0")
    verdicts = []
    for number in range(20):
        service.tenant = f"tenant-{number}"
        # Each callable is gone before the next one exists, so that its `id` can be used again.
        provider = CredentialsProvider(lambda tenant=service.tenant: (tenant, "key"))  # type: ignore[misc]
        retries = retries_with(accounts, provider, service.transport)
        verdicts.append((await send(accounts, retries)).verdict)
        retries.accounts.leave()
        del retries, provider
    assert verdicts == [Verdict.THROTTLED] + [Verdict.DONE] * 19


async def test_one_bound_method_is_one_account() -> None:
    class Vault:
        def current(self) -> Credentials:
            return Credentials("tenant-0", "key")

    accounts, service, vault = Accounts(), Tenants("tenant-0"), Vault()
    service.tenant = "tenant-0"
    first, second = (retries_with(accounts, CredentialsProvider(vault.current), service.transport) for _ in range(2))
    await send(accounts, first)
    refused = await send(accounts, second)
    assert (refused.attempts, refused.verdict) == (0, Verdict.THROTTLED)
    assert first.accounts.current is second.accounts.current
    assert len(accounts.registry) == 1


async def test_attempt_belongs_to_the_app_id_that_it_sends() -> None:
    accounts, service = Accounts(), Tenants("old")
    app_ids = iter(["old", "new", "old"])

    async def rotating() -> tuple[str, str]:
        service.tenant = next(app_ids)
        return service.tenant, "key"

    retries = retries_with(accounts, CredentialsProvider(rotating), service.transport)
    verdicts = [((outcome := await send(accounts, retries)).verdict, outcome.attempts) for _ in range(3)]
    assert verdicts == [(Verdict.THROTTLED, 1), (Verdict.DONE, 1), (Verdict.THROTTLED, 0)]


# Lifetime.


def test_state_ends_when_the_last_client_leaves() -> None:
    accounts = Accounts()
    first, second = accounts.client(), accounts.client()
    account = first.use("id")
    account.budget.spend(Verdict.UNKNOWN)
    second.use("id")
    first.leave()
    assert len(accounts.registry) == 1
    assert accounts.client().use("id") is account
    second.leave()
    gc.collect()
    third = accounts.client()
    assert third.use("id") is not account
    assert third.current.budget.left == 500


def test_leaving_twice_changes_nothing() -> None:
    accounts = Accounts()
    first, second = accounts.client(), accounts.client()
    account = first.use("id")
    second.use("id")
    first.leave()
    first.leave()
    assert len(accounts.registry) == 1
    assert second.use("id") is account


def test_client_leaves_every_account_that_it_used() -> None:
    accounts = Accounts()
    client = accounts.client()
    for number in range(50):
        client.use(f"tenant-{number}")
    assert len(accounts.registry) == 50
    client.leave()
    assert len(accounts.registry) == 0


def test_short_lived_clients_leave_no_entries() -> None:
    accounts = Accounts()
    for number in range(1000):
        client = accounts.client()
        client.use(f"tenant-{number}").succeeded(accounts.time.now, 0.0)
        client.leave()
        assert len(accounts.registry) == 0


def test_rate_of_a_client_that_was_never_closed_does_not_stay() -> None:
    accounts = Accounts()
    for number in range(100):
        accounts.client(interval=10.0).use(f"tenant-{number % 10}")
    gc.collect()
    assert accounts.client().use("tenant-0").gate.rate.interval == 0


def test_entries_of_clients_that_were_never_closed_are_bounded() -> None:
    accounts, kept = Accounts(), list[ClientAccounts]()
    for number in range(10_000):
        client = accounts.client()
        client.use(f"tenant-{number}")
        if number % 100 == 0:
            kept.append(client)
    assert len(accounts.registry) < 1000
    # What open clients use is never dropped.
    assert all(client.use(f"tenant-{100 * number}") is client.current for number, client in enumerate(kept))
    states = [accounts.client().use(f"tenant-{100 * number}") for number in range(len(kept))]
    assert states == [client.current for client in kept]


def test_running_pause_is_kept_until_it_ends() -> None:
    accounts = Accounts()
    client = accounts.client()
    account = client.use("id")
    account.gate.pause(60)
    client.leave()
    accounts.time.now += 59
    assert accounts.client().use("id") is account
    assert account.throttle.pause_left() == 1
    gc.collect()
    accounts.time.now += 2
    other = accounts.client()
    other.use("other")
    assert len(accounts.registry) == 1
    assert other.use("id") is not account


def test_paused_accounts_do_not_accumulate() -> None:
    accounts = Accounts()
    for number in range(1000):
        client = accounts.client()
        client.use(f"tenant-{number}").gate.pause(60)
        client.leave()
        accounts.time.now += 1
        assert len(accounts.registry) <= 61


def test_connect_pause_is_kept_until_it_ends() -> None:
    accounts = Accounts()
    client = accounts.client()
    connect = client.use("id").connect
    connect.pause(60)
    client.leave()
    assert accounts.client().use("id").connect is connect


# The rate.


def interval_of(client: ClientAccounts) -> float:
    return client.current.gate.rate.interval


def test_rate_is_the_strictest_of_the_open_clients() -> None:
    accounts = Accounts()
    fast, slow, free = accounts.client(0.05), accounts.client(10.0), accounts.client()
    for client, interval in ((free, 0.0), (fast, 0.05), (slow, 10.0)):
        client.use("id")
        assert interval_of(free) == interval
    slow.leave()
    assert interval_of(free) == 0.05
    fast.leave()
    assert interval_of(free) == 0.0
    assert free.current.gate.is_open()


def test_rate_of_a_closed_client_does_not_bind_later_ones() -> None:
    accounts = Accounts()
    client = accounts.client(10.0)
    # The pause keeps the account.
    client.use("id").gate.pause(60)
    client.leave()
    later = accounts.client()
    later.use("id")
    assert interval_of(later) == 0.0


def test_rate_concerns_the_accounts_of_its_client_only() -> None:
    accounts = Accounts()
    limited, other = accounts.client(10.0), accounts.client()
    limited.use("id")
    other.use("other")
    assert (interval_of(limited), interval_of(other)) == (10.0, 0.0)


# What the clients of an account share.


def test_clients_of_an_account_share_its_budget() -> None:
    accounts = Accounts()
    first, second, other = accounts.client(), accounts.client(), accounts.client()
    for client, app_id in ((first, "id"), (second, "id"), (other, "other")):
        client.use(app_id)
    while first.current.budget.spend(Verdict.UNKNOWN):
        pass
    assert second.current.budget.spend(Verdict.UNKNOWN) is None
    assert other.current.budget.spend(Verdict.UNKNOWN) == 10


def test_success_refunds_the_retry_and_ends_the_pauses() -> None:
    accounts = Accounts()
    account = accounts.client().use("id")
    cost = account.budget.spend(Verdict.THROTTLED)
    account.gate.pause(7)
    account.connect.pause()
    began = accounts.time.now
    account.succeeded(began - 1, 0.0)
    # An attempt that began before the pause proves nothing.
    assert (account.throttle.closed, account.connect.closed) == (True, True)
    assert cost == 5
    account.succeeded(began, cost)
    assert (account.throttle.closed, account.connect.closed) == (False, False)
    assert account.budget.left == 500


# Cost.


def function_calls(job: Callable[[], object]) -> int:
    """Return how many Python functions a job calls."""
    count = 0

    def profile(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        job()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("origins", [1, 2000])
def test_cost_of_a_client_does_not_grow_with_the_open_accounts(origins: int) -> None:
    def come_and_go() -> None:
        client = accounts.client()
        client.use("newcomer")
        client.leave()

    accounts, clients, costs = Accounts(), list[ClientAccounts](), list[int]()
    for count in (100, 1000):
        for number in range(len(clients), count):
            clients.append(accounts.client(origin=f"https://{number % origins}.example.com"))
            clients[-1].use(f"tenant-{number}")
        assert len(accounts.registry) == count
        costs.append(function_calls(come_and_go))
    assert costs[1] < 2 * costs[0]


def test_cost_of_a_client_does_not_grow_with_the_paused_accounts() -> None:
    def come_and_go(app_id: str = "newcomer") -> None:
        client = accounts.client()
        account = client.use(app_id)
        if app_id != "newcomer":
            account.throttle.pause(300)
        client.leave()

    accounts, costs = Accounts(), list[int]()
    for count in (50, 500):
        for number in range(len(accounts.registry), count):
            come_and_go(f"tenant-{number}")
        assert len(accounts.registry) == count
        costs.append(function_calls(come_and_go))
    assert costs[1] < 2 * costs[0]
    accounts.time.now += 1000
    come_and_go()
    assert len(accounts.registry) == 0


@pytest.mark.parametrize("interval", [0.0, 1.0])
def test_cost_of_a_new_client_does_not_grow_with_those_of_its_account(interval: float) -> None:
    def come() -> None:
        clients.append(accounts.client(interval))
        clients[-1].use("id")

    accounts, clients, costs = Accounts(), list[ClientAccounts](), list[int]()
    for count in (50, 500):
        while len(clients) < count:
            come()
        costs.append(function_calls(come))
    assert costs[1] < 2 * costs[0]
