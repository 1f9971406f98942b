"""Links out of docs/ into the repository: to pages that the site includes, or to copies of files.

GitHub follows `../checkpoints/compact/README.md` to the file. The site has a page of its own for such a file, whose
`{include}` names it; a link to it leads to that page. Any other file is copied and offered as it is. A link to what is
not there is a warning, by which the build fails.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

INCLUDE = re.compile(r"^```\{include\} +(\S+)", re.MULTILINE)


@cache
def pages_of_files(docs: Path) -> dict[Path, str]:
    """Names of the pages that include files from outside of `docs`, by these files."""
    found = {}
    for page in docs.rglob("*.md"):
        for name in INCLUDE.findall(page.read_text(encoding="utf-8")):
            file = Path(os.path.normpath(page.parent / name))
            if not file.is_relative_to(docs):
                found[file] = page.relative_to(docs).with_suffix("").as_posix()
    return found


class ToPages(SphinxTransform):
    """Turns links to Markdown outside of docs/ into links to the pages that include it, or to a copy."""

    default_priority = 5

    def apply(self) -> None:
        """See the class."""
        for node in [*self.document.findall(addnodes.pending_xref)]:
            file = Path(f"{node.get('reftarget')}.md")
            if node.get("refdomain") != "doc" or not file.is_absolute():
                continue
            page = pages_of_files(Path(self.app.srcdir)).get(file)
            if page is not None:
                node["reftarget"] = page
            elif file.is_file():
                here = Path(self.env.doc2path(self.env.docname)).parent
                target = os.path.relpath(file, here)
                copy = addnodes.download_reference("", "", *node.children, reftarget=target, refdoc=self.env.docname)
                node.replace_self(copy)


def without_front_matter(app: Sphinx, path: Path, parent: str, content: list[str]) -> None:
    """Take off the YAML that model cards begin with."""
    content[0] = re.sub(r"\A---\n.*?\n---\n", "", content[0], flags=re.DOTALL)


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the transform."""
    app.add_transform(ToPages)
    app.connect("include-read", without_front_matter)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
