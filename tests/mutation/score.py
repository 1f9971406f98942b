"""How many small faults the tests notice (`make test-mutation`).

Cosmic Ray makes the faults, one at a time, in copies of the tree. Tests run in forks of a process that has imported
what they need, so that a fault costs seconds; the last line says how many were noticed.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import importlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
IMPORTED = "torch numpy scipy.stats sklearn.metrics sklearn.linear_model soundfile soxr safetensors.torch lhotse pytest"
# Of an operator that could be replaced by each of its kin, those that stand for all.
OPERATORS = re.compile(
    r"core/(ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_Mul|Pow_Mul|BitAnd_BitOr|BitOr_BitAnd)"
    r"|ReplaceComparisonOperator_(Eq_NotEq|NotEq_Eq|Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Is_IsNot|IsNot_Is)"
    r"|ReplaceUnaryOperator_(USub_UAdd|Delete_\w+)|Replace(True|False|And|Or|Break|Continue)With\w+"
    r"|AddNot|NumberReplacer|RemoveDecorator|ZeroIterationForLoop)"
)
GOAL = 90.0


@dataclass(frozen=True)
class Fault:
    """One change of one line, by what Cosmic Ray needs to make it."""

    area: str
    path: str
    line: int
    operator: str
    occurrence: int
    before: str
    """The line up to the change."""

    @property
    def is_guard(self) -> bool:
        """Whether it only lifts a guard against mistakes of our own calls, which those that there are do not make."""
        return self.before.endswith(("strict=", "kw_only=", "frozen="))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("areas", nargs="*", help="areas of areas.yaml; by default all")
    parser.add_argument("--most", type=int, default=1000, help="faults of an area at most")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    areas = yaml.safe_load(Path(__file__).with_name("areas.yaml").read_text())
    areas = {name: areas[name] for name in options.areas or areas}
    faults = [fault for name, area in areas.items() for fault in drawn(name, area, options.seed)[: options.most]]
    faults = [fault for fault in faults if not fault.is_guard]
    print(f"{len(faults)} faults in {len(areas)} areas", flush=True)
    counts: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(options.workers, get_context("spawn"), initializer=prepare, initargs=(folder,)) as pool,
    ):
        limits = dict(zip(areas, pool.map(seconds_unbroken, [area["tests"] for area in areas.values()]), strict=True))
        tests = [(areas[fault.area]["tests"], 3 * limits[fault.area] + 60) for fault in faults]
        for fault, (outcome, old, new) in zip(faults, pool.map(broken, faults, tests), strict=True):
            area = areas[fault.area]
            if outcome == "survived" and new in area.get("equivalent", ()):
                outcome = "equivalent"
            counts[outcome] += 1
            counts["strict"] += outcome == "survived" and area.get("strict", False)
            if outcome != "noticed":
                print(f"{outcome}: {fault.path}:{fault.line}\n  - {old}\n  + {new}", flush=True)
    share = 100 * counts["noticed"] / (len(faults) - counts["equivalent"])
    print(
        f"noticed {counts['noticed']} of {len(faults)} faults, {counts['equivalent']} of which change nothing: "
        f"{share:.1f} %; {counts['strict']} survivors in strict areas"
    )
    return int(share < GOAL or counts["strict"] > 0)


def drawn(name: str, area: dict[str, Any], seed: int) -> list[Fault]:
    """The faults of an area, each on a line of its own, in random order."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    operators = [one for one in operator_names() if OPERATORS.fullmatch(one)]
    found: list[Fault] = []
    for path in sorted({path for pattern in area["modules"] for path in ROOT.glob(pattern)}):
        source = path.read_text()
        nodes, hints, lines = list(ast_nodes(get_ast(source))), annotations(source), source.splitlines()
        for operator in operators:
            kind = get_operator(operator)()
            places = [start for node in nodes for start, _ in kind.mutation_positions(node)]
            found += [
                Fault(name, str(path.relative_to(ROOT)), line, operator, occurrence, lines[line - 1][:column])
                for occurrence, (line, column) in enumerate(places)
                if not any(first <= (line, column) < last for first, last in hints)
                and "@overload" not in lines[line - 1]
            ]
    random.Random(f"{seed} {name}").shuffle(found)
    by_line = {(fault.path, fault.line): fault for fault in reversed(found)}
    return sorted(by_line.values(), key=found.index)[: area["mutants"]]


def annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where type hints begin and end, which nothing evaluates."""
    hints: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            hints.append(node.returns)
        elif isinstance(node, ast.arg | ast.AnnAssign):
            hints.append(node.annotation)
    return [
        ((hint.lineno, hint.col_offset), (hint.end_lineno or 0, hint.end_col_offset or 0))
        for hint in hints
        if hint is not None
    ]


def prepare(folder: str) -> None:
    """Make this process one that tests can be forked from, in a copy of the tree."""
    os.environ["OMP_NUM_THREADS"] = "1"
    copy = Path(folder, str(os.getpid()), ROOT.name)
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in map(os.fsdecode, filter(None, files.split(b"\0"))):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    if (ROOT.parent / "shared").is_dir():
        (copy.parent / "shared").symlink_to((ROOT.parent / "shared").resolve())
    # Found again by their contents: two faults of one second and size would be taken for one by their times.
    compileall.compile_dir(copy / "emotion2vec", quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    os.chdir(copy)
    os.environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path[0] = str(copy)
    for module in IMPORTED.split():
        importlib.import_module(module)


def run(tests: list[str], limit: float) -> int | None:
    """Exit code of pytest on some tests; None where they ran longer than the limit, in s."""
    child = os.fork()
    if child == 0:
        os.setsid()
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        import pytest

        os._exit(int(pytest.main(["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-W", "ignore", *tests])))
    until = time.monotonic() + limit
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def seconds_unbroken(tests: list[str]) -> float:
    """How long tests take without a fault, which all must pass."""
    started = time.monotonic()
    code = run(tests, 3600)
    if code != 0:
        raise RuntimeError(f"{' '.join(tests)} fail without a fault:\n{Path('output.txt').read_text()[-3000:]}")
    return time.monotonic() - started


def broken(fault: Fault, tests: tuple[list[str], float]) -> tuple[str, str, str]:
    """What becomes of a fault, and the line that it changes, before and after."""
    from cosmic_ray.mutating import use_mutation
    from cosmic_ray.plugins import get_operator

    with use_mutation(Path(fault.path), get_operator(fault.operator)(), fault.occurrence) as (before, after):
        code = run(*tests)
    lines = zip(before.splitlines(), after.splitlines(), strict=False)
    old, new = next((old.strip(), new.strip()) for old, new in lines if old != new)
    return "survived" if code == 0 else "noticed", old, new


if __name__ == "__main__":
    sys.exit(main())
