"""How the pages of this folder become a site: `make docs`, or `sphinx-build -W --keep-going docs docs/_build/html`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "site")]

from emotion2vec.version import __version__  # noqa: E402 (after the path that it is found by)

project = "emotion2vec"
author = "The emotion2vec contributors"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "mathml",
    "modules",
    "outside",
    "tables_of_options",
]
exclude_patterns = ["_build"]

# Pages are Markdown that GitHub shows too; headings get the anchors that GitHub gives them.
myst_enable_extensions = ["amsmath", "attrs_inline", "dollarmath"]
myst_heading_anchors = 4

# Every name of ours that a page or a docstring links to must exist; those of other packages are not looked up, so that
# the site is built without a network.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!emotion2vec\.).*")]
default_role = "literal"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_inherit_docstrings = False
autodoc_mock_imports = ["ray"]
suppress_warnings = ["ref.python"]  # a bare name in a signature that several modules have
napoleon_use_ivar = True
napoleon_use_rtype = False

toc_object_entries = False  # the side bar lists pages and sections; names are found by search

html_theme = "furo"
html_title = f"emotion2vec {release}"
html_static_path = ["site/static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False


def keep_first_line(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep napoleon from taking the words before a colon in the first line about an attribute for its type."""
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # an empty comment


def setup(app: Any) -> None:
    """Go before napoleon."""
    app.connect("autodoc-process-docstring", keep_first_line, priority=400)
