"""Checks of this machine: versions, variables, the profile, the account, the base URL, proxy and CA file."""

from __future__ import annotations

import difflib
import platform
import re
import ssl
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from videoapi.cli.account import named
from videoapi.cli.doctor import masking
from videoapi.cli.doctor.examination import Examination
from videoapi.cli.doctor.report import Check
from videoapi.cli.terminal import for_people
from videoapi.config import BaseUrl, Credentials, __version__, recording_login
from videoapi.errors import ConfigurationError
from videoapi.session import SessionManager

_VERSION_DIRECTORY: Final = re.compile(r"v\d+", re.ASCII)
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_LOGIN: Final = "Set VIDEOAPI_APP_ID and VIDEOAPI_APP_KEY, or run `videoapi login`."


async def versions(examination: Examination) -> Check:
    """List the versions that a bug report needs."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    facts = {
        "videoapi": __version__,
        "python": platform.python_version(),
        "aiohttp": _installed("aiohttp"),
        "msgspec": _installed("msgspec"),
        "openssl": ssl.OPENSSL_VERSION.split()[1],
        "os": system,
    }
    names = {"python": "Python", "openssl": "OpenSSL"}
    listed = [f"{names.get(name, name)} {found}" for name, found in facts.items() if name != "os"]
    return Check(name="versions", status="ok", text=", ".join([*listed, system]), facts=facts)


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


async def variables(examination: Examination) -> Check:
    """List the variables found, without secrets, and report those that are probably mistakes."""
    found = {name: value for name, value in examination.environment.items() if name.startswith("VIDEOAPI_")}
    shown = {name: mask(found[name]) for name, mask in masking.SHOWN.items() if found.get(name)}
    unknown = sorted(set(found) - set(masking.SHOWN))
    text = ", ".join(f"{name} {value}" if value[0] == "(" else f"{name}={value}" for name, value in shown.items())
    # Values of unknown variables are not shown: any of them may be the key.
    facts = {"found": shown, "unknown": unknown}
    notes = [*map(_unknown, unknown), *(note for name in shown for note in _odd(name, found[name]))]
    return Check(
        name="variables",
        status="warn" if notes else "ok",
        text=text or "no VIDEOAPI_ variable is set",
        remedy=" ".join(notes),
        facts=facts,
    )


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, masking.SHOWN, n=1)
    return f"{name} is not a variable of videoapi" + (f"; did you mean {close[0]}?" if close else ".")


def _odd(name: str, value: str) -> list[str]:
    if value != value.strip():
        return [f"{name} begins or ends with a space or a line end."]
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return [f"{name} has quotes that belong to its value; remove them."]
    return []


async def profile(examination: Examination) -> Check:
    """Read the profile, and choose each setting from options, the environment and the profile."""
    from videoapi.cli.profiles import ProfileFile

    access = examination.access
    path = str(ProfileFile.of(examination.environment).path)
    try:
        stored = access.stored
        examination.account = access.account
    except ConfigurationError as error:
        reason, _, remedy = for_people(error).partition(" Run: ")
        remedy = f"Run: {remedy}" if remedy else "Correct what the message names."
        return Check(name="profile", status="fail", text=reason, remedy=remedy, facts={"file": path})
    if stored is None:
        return Check(
            name="profile",
            status="skipped",
            text=f"because none is named, and {path} has no profile default",
            facts={"file": path, "profile": None},
        )
    from videoapi.cli.account import overruled

    facts = {"file": path, "profile": stored.name, "keys": sorted(stored.values)}
    text = f"{stored.name} of {path}: {', '.join(sorted(stored.values))}"
    if variables := list(overruled(examination.account)):
        remedy = f"These variables override it: {', '.join(variables)}. Unset them to use the profile."
        return Check(name="profile", status="warn", text=text, remedy=remedy, facts={**facts, "overridden": variables})
    return Check(name="profile", status="ok", text=text, facts=facts)


async def account(examination: Examination) -> Check:
    """Check that there are credentials that can be sent."""
    chosen = examination.account
    app_id, app_key = chosen.value("app_id"), chosen.value("app_key")
    facts = {
        "app_id": None if app_id is None else masking.app_id(app_id),
        "app_id_source": examination.source("app_id"),
        "app_key_length": None if app_key is None else len(app_key),
        "app_key_source": examination.source("app_key"),
    }
    if not app_id or not app_key:
        missing = [name for name, value in (("APP_ID", app_id), ("APP_KEY", app_key)) if not value]
        return Check(name="account", status="fail", text=f"{' and '.join(missing)} not set", remedy=_LOGIN, facts=facts)
    try:
        Credentials(app_id, app_key)
        recording_login(chosen.recording_auth)
    except ConfigurationError as error:
        remedy = "Correct the value that the message names."
        return Check(name="account", status="fail", text=for_people(error), remedy=remedy, facts=facts)
    text = (
        f"APP_ID {masking.app_id(app_id)} ({examination.source('app_id')}), "
        f"APP_KEY {masking.secret(app_key)} ({examination.source('app_key')})"
    )
    return Check(name="account", status="ok", text=text, facts=facts)


async def base_url(examination: Examination) -> Check:
    """Check the form of the base URL."""
    source = examination.source("base_url")
    facts = {"base_url": masking.url(examination.base_url), "source": source}
    allow_http = examination.environment.get("VIDEOAPI_ALLOW_HTTP", "").lower() in _TRUE
    try:
        base = BaseUrl.parse(examination.base_url, allow_http=allow_http)
    except ConfigurationError as error:
        # The library names its variable; the value may come from elsewhere.
        text = str(error).replace("Invalid base_url: ", "").replace("base_url ", "").replace("allow_http=True (", "")
        remedy = f"Correct {source}, such as https://api.enablex.io/video/v2."
        return Check(name="base_url", status="fail", text=text.replace("=1)", "=1"), remedy=remedy, facts=facts)
    examination.base = base
    text = f"{base} ({source})"
    credentials = examination.source("app_key")
    if _VERSION_DIRECTORY.fullmatch(base.prefix.rpartition("/")[2]) is None:
        remedy = f"It has no version directory; most end in /video/v2, as in {base.origin}/video/v2."
    elif base.origin.startswith("http://") and not _is_local(base):
        remedy = "Plain http sends the APP_KEY unencrypted; use https."
    elif "default" not in (source, credentials) and source.startswith("profile") != credentials.startswith("profile"):
        remedy = f"The credentials are from elsewhere ({credentials}): do they belong to this host?"
    else:
        return Check(name="base_url", status="ok", text=text, facts=facts)
    return Check(name="base_url", status="warn", text=text, remedy=remedy, facts=facts)


def _is_local(base: BaseUrl) -> bool:
    try:
        BaseUrl.parse(str(base), allow_http=False)
    except ConfigurationError:
        return False
    return True


async def settings(examination: Examination) -> Check:
    """Check the proxy's URL and the CA file, and create the client that the other checks use."""
    proxy, ca_file = examination.proxy, examination.account.value("ca_file")
    shown = "no proxy" if proxy is None else f"proxy {masking.url(proxy)} ({examination.source('proxy')})"
    trusted = "the system's authorities" if ca_file is None else f"{ca_file} ({examination.source('ca_file')})"
    facts = {"proxy": None if proxy is None else masking.url(proxy), "ca_file": ca_file}
    try:
        examination.manager = SessionManager(connect_timeout=examination.patience, ca_file=ca_file, proxy=proxy)
    except ConfigurationError as error:
        text = for_people(named(error, examination.account))
        wrong = "proxy" if "proxy" in str(error) else "ca_file"
        remedy = f"Correct the {'proxy' if wrong == 'proxy' else 'CA file'} ({examination.source(wrong)})."
        return Check(name="settings", status="fail", text=text, remedy=remedy, facts=facts)
    examination.manager.pool.bind()
    return Check(name="settings", status="ok", text=f"{shown}, trusts {trusted}", facts=facts)
