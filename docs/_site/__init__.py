"""The Sphinx extension of the site: navigation, the API reference, and links that work in the repository, too."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

from _site import api, docstrings, links, navigation


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the parts to the events of a build."""
    app.add_config_value("repository", "", "env", str)
    app.connect("builder-inited", api.write_pages)
    app.connect("env-get-outdated", api.outdated)
    app.connect("source-read", navigation.add_toctrees)
    app.connect("source-read", links.rewrite)
    # Before napoleon, which has the priority 500.
    app.connect("autodoc-process-docstring", docstrings.convert, priority=400)
    app.connect("autodoc-process-signature", docstrings.signature)
    app.connect("autodoc-process-bases", docstrings.public_bases)
    app.connect("autodoc-skip-member", docstrings.skip)
    app.connect("doctree-read", links.link_names)
    app.connect("missing-reference", links.resolve_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
