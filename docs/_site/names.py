"""The public names, the groups of the API reference that they belong to, and where their objects are defined."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import attrs

MODULES: Final = (
    "videoapi",
    "videoapi.arrow",
    "videoapi.dask",
    "videoapi.taskiq",
    "videoapi.webhooks",
    "videoapi.blocking",
    "videoapi.sandbox",
    "videoapi.testing",
)

# Reached through public names, but not exported by a package.
REACHED: Final = (
    "videoapi.bulk.job_audit.AuditedSpec",
    "videoapi.bulk.report.BulkProgress",
    "videoapi.config.CredentialsSource",
    "videoapi.models.base.Model",
    "videoapi.resources.rooms.Rooms",
    "videoapi.resources.tokens.Tokens",
    "videoapi.resources.reports.Reports",
    "videoapi.resources.archives.Archives",
    "videoapi.resources.dialin.DialIns",
    "videoapi.protocol.outcome.ErrorDetails",
    "videoapi.protocol.outcome.Stream",
    "videoapi.protocol.routes.Decoder",
    "videoapi.protocol.routes.Options",
    "videoapi.protocol.routes.Route",
    "videoapi.protocol.types.Classification",
    "videoapi.protocol.types.ErrorKind",
    "videoapi.protocol.types.Operation",
    "videoapi.protocol.types.Phase",
    "videoapi.protocol.types.Scope",
    "videoapi.streaming.windows.Cursor",
    "videoapi.streaming.record_filter.Rejected",
    "videoapi.streaming.record_filter.Counts",
    "videoapi.models.archives.FileLink",
    "videoapi.models.cdr.CallRoom",
    "videoapi.models.cdr.CallUser",
    "videoapi.models.cdr.SignalServer",
    "videoapi.models.cdr.PublishedTrack",
    "videoapi.models.cdr.Usage",
    "videoapi.models.cdr.StatsQuality",
    "videoapi.models.cdr.DirectionQuality",
    "videoapi.models.cdr.MediaQuality",
    "videoapi.models.cdr.RoomDetails",
    "videoapi.models.cdr.Price",
    "videoapi.models.setting_parts.LiveRecording",
    "videoapi.models.setting_parts.LiveTranscription",
    "videoapi.models.setting_parts.RoleBasedRecording",
    "videoapi.models.tokens.Permissions",
    "videoapi.models.dialin.DialInSettings",
    "videoapi.streaming.windows.Ownership",
    "videoapi.streaming.windows.Window",
    "videoapi.pipeline.gate.AccountGates",
    "videoapi.redis.leases.RedisLease",
    "videoapi.sandbox.rate_limit.RateLimit",
)

# By the module that defines an object: the first prefix that matches.
_GROUPS: Final = (
    ("videoapi.blocking", "Blocking client"),
    ("videoapi.testing", "Sandbox and tests"),
    ("videoapi.sandbox", "Sandbox and tests"),
    ("videoapi.webhooks", "Webhooks"),
    ("videoapi.errors", "Errors"),
    ("videoapi.models.cdr", "Call records and recordings"),
    ("videoapi.models.archives", "Call records and recordings"),
    ("videoapi.streaming", "Call records and recordings"),
    ("videoapi.report", "Call records and recordings"),
    ("videoapi.arrow", "Call records and recordings"),
    ("videoapi.dask.records", "Call records and recordings"),
    ("videoapi.dask", "Several processes"),
    ("videoapi.taskiq", "Several processes"),
    ("videoapi.pipeline.gate", "Several processes"),
    ("videoapi.models", "Rooms and tokens"),
    ("videoapi.creation", "Rooms and tokens"),
    ("videoapi.redis", "Several processes"),
    ("videoapi.bulk.lease", "Several processes"),
    ("videoapi.bulk", "Bulk runs"),
    ("videoapi.resources", "Client"),
    ("videoapi.events", "Listeners and middleware"),
    ("videoapi.pipeline", "Listeners and middleware"),
    ("videoapi.protocol.backoff", "Client"),
    ("videoapi.protocol", "Listeners and middleware"),
    ("videoapi", "Client"),
)
ORDER: Final = tuple(dict.fromkeys(["Client", "Rooms and tokens", *(group for _, group in _GROUPS)]))


@attrs.frozen
class Name:
    """A public name: the module that exports it, and its object."""

    module: str
    name: str
    value: Any
    home: str

    @property
    def full(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def page(self) -> str:
        """The name of its page."""
        return self.full.removeprefix("videoapi.") if self.module != "videoapi" else self.name

    @property
    def group(self) -> str:
        where = "videoapi.blocking" if self.module == "videoapi.blocking" else self.home
        return next(group for prefix, group in _GROUPS if f"{where}.".startswith(f"{prefix}."))

    @property
    def summary(self) -> str:
        """The first sentence of its documentation."""
        paragraph = " ".join(documentation(self).split("\n\n")[0].split())
        return re.split(r"(?<=\.) (?=[A-Z])", paragraph)[0]


@cache
def public_names() -> tuple[Name, ...]:
    """Return all public names, by module."""
    found: list[Name] = []
    for module in MODULES:
        package = import_module(module)
        homes = getattr(package, "_HOME", {})
        for name in package.__all__:
            value = getattr(package, name)
            home = f"videoapi.{homes[name]}" if name in homes else getattr(value, "__module__", "")
            found.append(Name(module, name, value, home if home.startswith("videoapi") else _source(package, name)))
    for full in REACHED:
        module, _, name = full.rpartition(".")
        found.append(Name(module, name, getattr(import_module(module), name), module))
    return tuple(found)


def _source(package: ModuleType, name: str) -> str:
    """Return the module from which a package imports a constant; the package itself, if it defines it."""
    imports = [node for node in ast.walk(ast.parse(inspect.getsource(package))) if isinstance(node, ast.ImportFrom)]
    homes = [node.module for node in imports if any(alias.name == name for alias in node.names)]
    return homes[0] or package.__name__ if homes else package.__name__


def documentation(name: Name) -> str:
    """Return the docstring of a class or function, or the text below the definition of a type alias or constant."""
    if inspect.isclass(name.value) or inspect.isfunction(name.value):
        return inspect.getdoc(name.value) or ""
    from sphinx.pycode import ModuleAnalyzer

    for module in dict.fromkeys((name.home, name.module)):
        comments = ModuleAnalyzer.for_module(module).find_attr_docs()
        if ("", name.name) in comments:
            return "\n".join(comments["", name.name]).strip()
    return ""


@cache
def by_home() -> dict[str, Name]:
    """Return the public names by the dotted path of the object's definition, and by the path of their export."""
    found: dict[str, Name] = {}
    for name in public_names():
        if name.module == "videoapi.blocking":
            continue
        found.setdefault(f"{name.home}.{getattr(name.value, '__qualname__', name.name)}", name)
        found.setdefault(f"{name.home}.{name.name}", name)
    for name in public_names():
        found[name.full] = name
    # A `TypedDict` of what `RoomSettings` documents.
    found["videoapi.models.setting_parts.OtherSettings"] = found["videoapi.RoomSettings"]
    return found


@cache
def by_short() -> dict[str, Name]:
    """Return the public names by their last part: that of the package itself, if several have it."""
    found: dict[str, Name] = {}
    for name in public_names():
        if name.module != "videoapi.blocking":
            found.setdefault(name.name, name)
    return found
