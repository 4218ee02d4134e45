"""Checks of the service: a response, its clock, the version directory, the credentials, latency, the fast path."""

from __future__ import annotations

import asyncio
import statistics
from email.utils import parsedate_to_datetime
from typing import Final

from videoapi.cli.client_options import client_for
from videoapi.cli.doctor.examination import Examination
from videoapi.cli.doctor.report import Check, skipped
from videoapi.cli.terminal import for_people
from videoapi.cli.trial import try_account
from videoapi.errors import AuthenticationFailed, ConfigurationError, PermissionDenied, VideoAPIError
from videoapi.protocol.backoff import RetryPolicy
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.types import ErrorKind

_CALLS: Final = 5
_SKEW_NOTED: Final = 30
_SKEW_WRONG: Final = 300
_STANDARD: Final = "/video/v2"


async def response(examination: Examination) -> Check:
    """Send one harmless read, and check that the response is of the Video API."""
    examination.client = client_for(
        examination.account,
        session=examination.manager,
        middleware=examination.last,
        # One attempt per call, so that the first failure is the one that is shown.
        retry=RetryPolicy(attempts=1),
        timeout=2 * examination.patience,
    )
    # So that no import is counted as time of the network.
    await examination.client.warm_up(0)
    examination.trial = await try_account(examination.client)
    error, outcome, route = examination.trial.error, examination.last.outcome, examination.trial.route
    status = None if outcome is None else outcome.status
    facts = {"route": route, "status": status, "code": None if outcome is None else outcome.code}
    if error is None or _of_service(error, outcome):
        text = f"HTTP {status} to {route} in {_milliseconds(examination.last.arrived - examination.last.sent)}"
        return Check(name="response", status="ok", text=text, facts=facts)
    return Check(
        name="response", status="fail", text=_reason(error, outcome), remedy=_remedy(examination, error), facts=facts
    )


def _of_service(error: VideoAPIError, outcome: Outcome | None) -> bool:
    """Return whether later checks explain the error: the address or the credentials."""
    return isinstance(error, AuthenticationFailed | PermissionDenied) or _missing(outcome)


def _missing(outcome: Outcome | None) -> bool:
    """Return whether the response says that the API's route does not exist there."""
    return outcome is not None and outcome.classification.kind is ErrorKind.BASE_URL


def _reason(error: VideoAPIError, outcome: Outcome | None) -> str:
    """Return what failed, with status and code, and without the library's advice."""
    if outcome is None:
        return for_people(error)
    text = (error.error or "").removeprefix("[Reason] ") or outcome.reason or _name(error)
    shown = [f"HTTP {outcome.status}"] if outcome.status is not None else []
    shown += [f"code {outcome.code}"] if outcome.code is not None else []
    shown += [f"request {error.request_id}"] if error.request_id else []
    return f"{text} ({', '.join(shown)})" if shown else text


def _name(error: VideoAPIError) -> str:
    if isinstance(error, AuthenticationFailed):
        return "credentials rejected"
    if isinstance(error, PermissionDenied):
        return "not permitted for this account"
    return "the service failed" if (error.status or 0) >= 500 else "unexpected response"


def _remedy(examination: Examination, error: VideoAPIError) -> str:
    assert examination.base is not None
    outcome, url = examination.last.outcome, f"the base URL ({examination.source('base_url')})"
    status, kind = error.status or 0, None if outcome is None else outcome.classification.kind
    if isinstance(error, ConfigurationError):
        return "Correct what the message names."
    if kind is ErrorKind.PROXY:
        return f"Check {examination.target_source}, or sign in to this network."
    if 300 <= status <= 399:
        return f"If you trust that address, set {url} to it. Redirects are not followed, as requests carry the APP_KEY."
    if status == 429:
        wait = f" in {error.retry_after:.0f} s" if error.retry_after else " later"
        return f"The account sends too many requests; run doctor again{wait}."
    if status >= 500:
        return "Run doctor again. If the error persists, give the operator of the service the time of the request."
    if status == 0:
        return f"Check that {url} is that of the Video API; a firewall or proxy may also drop requests."
    return f"Something other than the Video API responds: check {url}, and whether this network requires a sign-in."


async def clock(examination: Examination) -> Check:
    """Compare this machine's clock with the `Date` of the response."""
    outcome, last = examination.last.outcome, examination.last
    if outcome is None or outcome.status is None:
        return skipped("clock", "response")
    try:
        theirs = parsedate_to_datetime(outcome.headers.get("Date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return Check(name="clock", status="skipped", text="because the response has no readable Date header")
    # The date is whole seconds, and of some moment between request and response.
    earliest, latest = theirs - last.arrived, theirs + 1 - last.sent
    skew = earliest if earliest > 0 else min(latest, 0.0)
    facts = {"skew": round(skew, 1)}
    if outcome.headers.get("Age", "0").strip() != "0":
        text = "because the response is from a cache, whose Date is older"
        return Check(name="clock", status="skipped", text=text, facts=facts)
    if abs(skew) < _SKEW_NOTED:
        text = "agrees with the Date of the response" + (f" within {abs(skew):.0f} s" if abs(skew) >= 1 else "")
        return Check(name="clock", status="ok", text=text, facts=facts)
    direction = "slow" if skew > 0 else "fast"
    text = f"this machine's clock is {_span(abs(skew))} {direction}, compared with the Date of the response"
    remedy = "Synchronize this machine's clock (NTP): certificates, days of reports and token lifetimes depend on it."
    return Check(
        name="clock", status="fail" if abs(skew) >= _SKEW_WRONG else "warn", text=text, remedy=remedy, facts=facts
    )


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7_200 else f"{seconds / 3_600:.1f} hours"


async def version_directory(examination: Examination) -> Check:
    """Check that the base URL leads to the API's routes."""
    assert examination.base is not None
    assert examination.trial is not None
    base, outcome = examination.base, examination.last.outcome
    shown, facts = base.prefix or "/", {"directory": base.prefix}
    if examination.trial.error is not None and (outcome is None or outcome.code is None) and not _missing(outcome):
        # Gateways respond like this, too.
        text = f"{shown} responds without a result code, so it may be something else than the Video API"
        remedy = f"If the credentials are right, check the base URL ({examination.source('base_url')})."
        return Check(name="version_directory", status="warn", text=text, remedy=remedy, facts=facts)
    if outcome is None or not _missing(outcome):
        return Check(name="version_directory", status="ok", text=f"{shown} has the Video API", facts=facts)
    remedy = f"Check the path of the base URL ({examination.source('base_url')})"
    remedy += "." if base.prefix == _STANDARD else f"; most services have {base.origin}{_STANDARD}."
    text = f"{shown} does not have the Video API (HTTP {outcome.status})"
    return Check(name="version_directory", status="fail", text=text, remedy=remedy, facts=facts)


async def credentials(examination: Examination) -> Check:
    """Report whether the read was permitted."""
    trial, outcome = examination.trial, examination.last.outcome
    assert trial is not None
    if trial.error is None:
        return Check(name="credentials", status="ok", text=f"accepted for {trial.route}", facts={"route": trial.route})
    facts = {"route": trial.route, "status": trial.error.status, "code": trial.error.code}
    remedy = "Check that the project is active and permits this."
    if isinstance(trial.error, AuthenticationFailed):
        remedy = (
            f"Check that APP_ID and APP_KEY belong to one project, and that the key was not reset.{_odd(examination)}"
        )
    return Check(name="credentials", status="fail", text=_reason(trial.error, outcome), remedy=remedy, facts=facts)


def _odd(examination: Examination) -> str:
    """Return a hint if the lengths are unusual; all known APP_IDs have 24 characters, and APP_KEYs 36."""
    app_id, app_key = (examination.account.value(name) or "" for name in ("app_id", "app_key"))
    if (len(app_id), len(app_key)) == (36, 24):
        return " The two seem to be swapped."
    unusual = [
        f"the {name} has {len(value)} characters, not {usual}"
        for name, value, usual in (("APP_ID", app_id, 24), ("APP_KEY", app_key, 36))
        if len(value) != usual
    ]
    return f" Unusual: {'; '.join(unusual)}." if unusual else ""


async def latency(examination: Examination) -> Check:
    """Time five calls, one after the other, on the open connection; fewer if they are slow."""
    assert examination.client is not None
    assert examination.trial is not None
    times: list[float] = []
    failure: VideoAPIError | None = None
    loop = asyncio.get_running_loop()
    started, calls = loop.time(), 0
    while calls < _CALLS and loop.time() - started < examination.patience:
        began = loop.time()
        calls += 1
        try:
            await examination.trial.read(examination.client)
        except VideoAPIError as error:
            failure = error
            continue
        times.append(loop.time() - began)
    facts: dict[str, float] = {"calls": calls, "failed": calls - len(times)}
    if times:
        shown = {"min": min(times), "median": statistics.median(times), "max": max(times)}
        facts |= {name: round(seconds * 1000, 2) for name, seconds in shown.items()}
        text = ", ".join(f"{name} {_milliseconds(seconds)}" for name, seconds in shown.items())
        text = f"{text} ({len(times)} of {calls} calls of {examination.trial.route})"
    else:
        text = f"none of {calls} calls succeeded"
    if failure is None and calls < _CALLS:
        remedy = "The service or the network is slow: compare with another network, or ask the operator of the service."
        return Check(name="latency", status="warn", text=text, remedy=remedy, facts=facts)
    if failure is None:
        return Check(name="latency", status="ok", text=text, facts=facts)
    reason = _reason(failure, examination.last.outcome)
    return Check(
        name="latency",
        status="warn" if times else "fail",
        text=f"{text}; {reason}",
        remedy="The service or the network is unsteady: run doctor again.",
        facts=facts,
    )


def _milliseconds(seconds: float) -> str:
    return f"{max(0.0, seconds) * 1000:.{1 if seconds < 0.1 else 0}f} ms"


async def fast_path(examination: Examination) -> Check:
    """Report whether calls bypass aiohttp's session."""
    assert examination.manager is not None
    pool = examination.manager.pool
    if examination.proxy is not None:
        text = "not used, as calls go through a proxy"
        return Check(name="fast_path", status="ok", text=text, facts={"active": False})
    active = pool.fast_path if pool.fast_path is not None else await pool.check_fast_path()
    if active:
        return Check(name="fast_path", status="ok", text="active", facts={"active": True})
    text = "not active: the installed aiohttp behaves differently, so calls use its session and are slower"
    remedy = "Report the versions above to the maintainers of videoapi."
    return Check(name="fast_path", status="warn", text=text, remedy=remedy, facts={"active": False})
