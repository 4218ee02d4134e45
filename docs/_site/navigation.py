"""The navigation, from the lists of the index page: one source for readers of the repository and of the site."""

from __future__ import annotations

import re
from typing import Final

from sphinx.application import Sphinx

from _site.links import ROOT_PAGES
from _site.names import ORDER, public_names

_HEADING: Final = re.compile(r"^## (.+)$", re.MULTILINE)
_ITEM: Final = re.compile(r"^- \[[^\]]+\]\(([^)#\s]+\.md)\)", re.MULTILINE)


def add_toctrees(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the hidden toctrees of the index, and the tables of the API reference."""
    if page == "index":
        source[0] += "".join(_toctrees(source[0]))
    elif page == "reference/api":
        source[0] += "".join(_groups())


def _toctrees(text: str) -> list[str]:
    _, *sections = _HEADING.split(text)
    found = []
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        pages = [_page(link) for link in _ITEM.findall(body)]
        if pages:
            found.append(_toctree(title, pages))
    return found


def _page(link: str) -> str:
    # Pages outside of docs/ have a page of their own that includes them.
    return ROOT_PAGES[link.removeprefix("../")] if link.startswith("../") else link


def _toctree(caption: str, pages: list[str]) -> str:
    return f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _groups() -> list[str]:
    found = []
    for group in ORDER:
        names = [name for name in public_names() if name.group == group]
        # The class with which everything begins.
        names.sort(key=lambda name: name.name != "VideoClient")
        if not names:
            continue
        rows = "".join(f"| [{name.name}](api/{name.page}.rst) | {_cell(name.summary)} |\n" for name in names)
        pages = "\n".join(f"api/{name.page}" for name in names)
        found.append(
            f"\n\n## {group}\n\n| Name | What it is |\n|---|---|\n{rows}\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"
        )
    return found
