"""The configuration of the site: `make docs`."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

from videoapi import __version__  # noqa: E402

_PROJECT = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "videoapi"
repository = _PROJECT["urls"]["Source"]
author = "The videoapi maintainers"
project_copyright = f"2026, {author}"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "_site",
]
# A .txt file holds the path of a page of the repository.
source_suffix = {".md": "markdown", ".txt": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_inventories", "_site", "openapi.yaml"]
suppress_warnings = [
    # Pages are named with their suffix, so that links work in the repository, too.
    "myst.xref_missing_extension",
    # A builtin such as `type` has the name of a field.
    "ref.python",
]

myst_heading_anchors = 4
myst_links_external_new_tab = False

# Every reference to a name must resolve. The inventories are files, so that the site builds without a network.
nitpicky = True
nitpick_ignore_regex = [
    # Type variables.
    ("py:.*", r"videoapi\.[\w.]+\._?[A-Z]"),
    # Seen in signatures of the few public classes that the library itself constructs, and not meant for programs.
    ("py:class", r"videoapi\.blocking\.derivation\.(_Context|Blocking)"),
    ("py:class", r"videoapi\.(pipeline\.clock\.Clock|transport\.deadlines\.DeadlineTimer)"),
    ("py:class", r"videoapi\.sandbox\.(faults\.FaultOptions|records\.Records)"),
    ("py:class", r"videoapi\.(models\.base\.UnknownFields|protocol\.redaction\.HasAuthorization)"),
    # Newer than Debian's inventory of aiohttp.
    ("py:class", r"aiohttp\.(client_reqrep\.)?ClientRequest"),
    # Types of optional libraries, whose inventories Debian does not have.
    ("py:class", r"videoapi\.telemetry\.settings\.(Tracer|Meter)Provider"),
    ("py:class", r"AioHandler|distributed\.client\.Client"),
    ("py:class", r"pyarrow\.RecordBatch|Schema|dataframe\.DataFrame|taskiq_redis\.redis_broker\.RedisStreamBroker"),
    # In signatures with a type that only a type checker imports, no name is resolved.
    ("py:class", r"date|By|collections\.abc\.Callable\[\[\]"),
]
intersphinx_mapping = {
    "python": ("https://docs.python.org/3/", str(DOCS / "_inventories" / "python.inv")),
    "aiohttp": ("https://docs.aiohttp.org/en/stable/", str(DOCS / "_inventories" / "aiohttp.inv")),
    "attrs": ("https://www.attrs.org/en/stable/", str(DOCS / "_inventories" / "attrs.inv")),
}

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_type_aliases = {
    name: f"videoapi.{home}"
    for name, home in {
        "BulkProgress": "bulk.report.BulkProgress",
        "CredentialsSource": "config.CredentialsSource",
        "Listener": "Listener",
        "Middleware": "Middleware",
        "Send": "Send",
    }.items()
}
# Defaults of attrs classes would be names of the generated constructor.
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_rtype = False
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "videoapi"
html_favicon = "_site/static/icon.svg"
html_static_path = ["_site/static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
