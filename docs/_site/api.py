"""The pages of the API reference, one per public class, and one per group for the functions and types."""

from __future__ import annotations

import inspect
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.typing import stringify_annotation

from _site.docstrings import LITERAL, bases_of
from _site.names import Name, documentation, public_names
from videoapi.client import VideoClient, _Namespace
from videoapi.models.base import Model

FOLDER = "reference/api"


def write_pages(app: Sphinx) -> None:
    """Write a page per public name; pages that are up to date stay as they are, and others are removed."""
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {f"{name.page}.rst": page(name) for name in public_names()}
    for old in folder.glob("*.rst"):
        if old.name not in wanted:
            old.unlink()
    for file, text in wanted.items():
        path = folder / file
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def page(name: Name) -> str:
    """Return the text of a name's page."""
    title = name.name if name.module != "videoapi.blocking" else f"{name.name} (blocking)"
    return f"{title}\n{'=' * len(title)}\n\n{_import_line(name)}{_directive(name)}"


def _import_line(name: Name) -> str:
    if name.module.count(".") > 1:
        return ""
    return f".. code-block:: python\n\n   from {name.module} import {name.name}\n\n"


def _directive(name: Name) -> str:
    if inspect.isclass(name.value):
        return _class(name)
    if inspect.isfunction(name.value):
        return f".. autofunction:: {name.full}\n"
    text = "\n   ".join(LITERAL.sub(r"``\1``", documentation(name)).splitlines())
    if name.name.isupper():
        return f".. py:data:: {name.full}\n   :type: {type(name.value).__name__}\n\n   {text}\n"
    alias = stringify_annotation(name.value, "smart")
    return f".. py:type:: {name.full}\n   :canonical: {alias}\n\n   {text}\n"


def _class(name: Name) -> str:
    options = [":members:", *([":show-inheritance:"] if bases_of(name.value) else [])]
    if issubclass(name.value, Model) and name.value is not Model:
        options.append(":inherited-members: object")
    namespaces = [key for key, value in vars(VideoClient).items() if isinstance(value, _Namespace)]
    lines = [f".. autoclass:: {name.full}"]
    if name.name == "VideoClient":
        options.append(f":exclude-members: {', '.join(namespaces)}")
    lines += [f"   {option}" for option in options]
    if name.name == "VideoClient":
        lines.append("")
        for key in namespaces:
            namespace = vars(VideoClient)[key]
            home = "videoapi.blocking" if name.module == "videoapi.blocking" else namespace._home
            kind = namespace._home[1]
            target = f"{home}.{kind}" if isinstance(home, str) else f"videoapi.resources.{home[0]}.{kind}"
            lines += [f"   .. py:attribute:: {key}", f"      :type: ~{target}", "", f"      {namespace.__doc__}", ""]
    return "\n".join(lines) + "\n"


def outdated(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Return the pages that depend on the public names, which are read again in each build."""
    return ["index", "reference/api"]
