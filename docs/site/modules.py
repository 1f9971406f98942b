"""A page for each package with all public classes and functions of its modules, out of their docstrings.

The pages are written into docs/reference/modules/ when a build begins, which git ignores.
"""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

FOLDER = "reference/modules"
GROUND = "ground"
"""Name of the page of the modules that lie in no package."""
ELSEWHERE = ("integrations.fairseq.", "integrations.s3prl.")
"""What can be imported inside another tool alone."""


def modules_by_page(package: Path) -> dict[str, list[str]]:
    """Names of all modules of a package but itself, by the page that they are on."""
    pages: dict[str, list[str]] = {}
    for file in sorted(package.rglob("*.py")):
        *above, name = file.relative_to(package).with_suffix("").parts
        if name == "__main__" or (name == "__init__" and not above):
            continue
        dotted = ".".join([*above, *([] if name == "__init__" else [name])])
        if not dotted.startswith(ELSEWHERE):
            pages.setdefault(above[0] if above else GROUND, []).append(f"{package.name}.{dotted}")
    return {page: sorted(modules) for page, modules in pages.items()}


def page_of(name: str, modules: list[str]) -> str:
    """The page of a package, as reStructuredText, in which docstrings are written."""
    title = "Modules by themselves" if name == GROUND else f"emotion2vec.{name}"
    lines = [title, "=" * len(title), ""]
    for module in modules:
        lines += [module, "-" * len(module), "", f".. automodule:: {module}", "   :members:", ""]
    return "\n".join(lines)


def write_pages(app: Sphinx) -> None:
    """Write the pages that are not there as they should be, and remove those of packages that are gone."""
    docs = Path(app.srcdir)
    folder = docs / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {
        folder / f"{name}.rst": page_of(name, modules)
        for name, modules in modules_by_page(docs.parent / "emotion2vec").items()
    }
    for file in set(folder.iterdir()) - wanted.keys():
        file.unlink()
    for file, text in wanted.items():
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before sources are looked for."""
    app.connect("config-inited", lambda app, config: write_pages(app))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
