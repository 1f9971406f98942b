"""A file is one idea, a function one step: no file over 300 lines, no function over 60 lines or 8 parameters."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "emotion2vec"

MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_PARAMETERS = 300, 60, 8

ALLOWED = {
    "settings.py option": "what can be said about a field: each parameter is one word of its declaration",
}
"""What is larger for a reason."""


def oversized(name: str, source: str) -> set[str]:
    """The file, and its functions, that are too large; parameters are counted without `self` and `cls`."""
    found = {name} if len(source.splitlines()) > MOST_LINES else set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            parameters = [one for one in taken if one.arg not in ("self", "cls")]
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > MOST_LINES_OF_A_FUNCTION or len(parameters) > MOST_PARAMETERS:
                found.add(f"{name} {node.name}")
    return found


def test_files_and_functions_are_small() -> None:
    paths = sorted(PACKAGE.rglob("*.py"))
    assert paths
    found = {fault for path in paths for fault in oversized(str(path.relative_to(PACKAGE)), path.read_text())}
    assert found == ALLOWED.keys()


def test_the_check_sees_what_is_large() -> None:
    parameters = ", ".join(f"p{number}" for number in range(9))
    assert oversized("a.py", f"def wide({parameters}): ...\n") == {"a.py wide"}
    assert oversized("a.py", "class A:\n    def f(self, b, *, c): ...\n") == set()
    assert oversized("a.py", "def long():\n" + "    pass\n" * 60) == {"a.py long"}
    assert oversized("a.py", "x = 1\n" * 301) == {"a.py"}
