"""Links that work in the repository and on the site, and links from names in the text to their pages."""

from __future__ import annotations

import re
from os.path import relpath
from pathlib import Path
from typing import Any, Final

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.intersphinx import resolve_reference_detect_inventory

from _site.names import by_home, by_short

# Pages of the repository outside of docs/, and the pages of the site that include them.
ROOT_PAGES: Final = {
    "CHANGELOG.md": "changelog.txt",
    "CONTRIBUTING.md": "contributing.txt",
    "SECURITY.md": "security.txt",
    "README.md": "index.md",
    "benchmarks/README.md": "benchmarks.txt",
}
_LINK: Final = re.compile(r"\]\(([^)#\s:]+)(#[^)\s]*)?\)")
_FENCE: Final = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)
_CALL: Final = re.compile(r"\(.*\)$", re.DOTALL)
_SECTIONS: Final = {"rooms": "Rooms", "tokens": "Tokens", "cdr": "Reports", "archives": "Archives", "dialin": "DialIns"}


def rewrite(app: Sphinx, page: str, source: list[str]) -> None:
    """Point links that leave docs/ to the pages that show their target, or to the repository.

    A page of docs/ that shows a page of the repository holds nothing but its path.
    """
    shown = path = Path(app.env.doc2path(page)).resolve()
    if path.suffix == ".txt":
        path = (path.parent / source[0].strip()).resolve()
        app.env.note_dependency(str(path))
        source[0] = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        source[0] = _rewritten(source[0], path, shown, app)


def _rewritten(text: str, original: Path, shown: Path, app: Sphinx) -> str:
    docs = Path(app.srcdir).resolve()

    def moved(link: re.Match[str]) -> str:
        target = (original.parent / link[1]).resolve()
        page = ROOT_PAGES.get(target.relative_to(docs.parent).as_posix())
        if page is not None:
            path = f"/{page}"
        elif target.is_relative_to(docs):
            path = f"/{target.relative_to(docs).as_posix()}"
        elif target.suffix in (".svg", ".png"):
            path = relpath(target, shown.parent)
        else:
            kind = "tree" if target.is_dir() else "blob"
            path = f"{app.config.repository}/{kind}/main/{target.relative_to(docs.parent).as_posix()}"
        return f"]({path}{link[2] or ''})"

    parts = _FENCE.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(moved, part) for part in parts)


def link_names(app: Sphinx, doctree: nodes.document) -> None:
    """Link each literal that is a public name, or a method of the client, to its page."""
    page = app.env.docname
    for literal in list(doctree.findall(nodes.literal)):
        if isinstance(literal.parent, nodes.reference | pending_xref | nodes.title) or _inside_title(literal):
            continue
        target = _target(literal.astext())
        if target is None or page == f"reference/api/{target.split('#')[0]}":
            continue
        reference = pending_xref(
            "", literal.deepcopy(), refdomain="py", reftype="obj", reftarget=target, refdoc=page, refexplicit=True
        )
        reference["videoapi_optional"] = True
        literal.replace_self(reference)


def _inside_title(node: nodes.Node) -> bool:
    parent = node.parent
    while parent is not None:
        if isinstance(parent, nodes.title | nodes.reference | pending_xref):
            return True
        parent = parent.parent
    return False


def _target(text: str) -> str | None:
    path = _CALL.sub("", text).removeprefix("await ").removeprefix("videoapi.")
    first, _, rest = path.partition(".")
    if first == "client" and rest:
        first, _, rest = rest.partition(".")
        if first not in _SECTIONS:
            return f"videoapi.VideoClient.{first}" if not rest else None
    if first in _SECTIONS and rest and "." not in rest:
        return f"{by_short()[_SECTIONS[first]].full}.{rest}"
    if first in by_short() and not (rest and "." in rest):
        full = by_short()[first].full
        return f"{full}.{rest}" if rest else full
    return None


def resolve_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> Any:
    """Resolve the path of an object's definition to its public name; text that only looks like a name stays text."""
    if node.get("refdomain") != "py":
        return None
    target = node.get("reftarget", "")
    if target.startswith("aiohttp.") and target.count(".") > 1:
        # aiohttp documents its classes as names of the package itself.
        node["reftarget"] = f"aiohttp.{target.rpartition('.')[2]}"
        return resolve_reference_detect_inventory(env, node, content)
    name = by_home().get(target) or by_short().get(target)
    if name is not None:
        found = env.domains.python_domain.resolve_xref(
            env, node["refdoc"], app.builder, "obj", name.full, node, content
        )
        if found is not None:
            return found
    return content if node.get("videoapi_optional") else None
