from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "emotion2vec"

LEAVES = ("errors", "documents", "parquet", "expressions", "cells", "version", "seeding", "units", "progress", "assets")
LEAVES += ("guesses", "notebooks", "settings", "owners", "stopping", "disk", "places", "files", "lines", "locks")
LEAVES += ("devices", "processors", "hardware", "environment")
ORDER = (*LEAVES, "audio", "corpora", "tasks", "model", "checkpoint", "exporting", "data", "training", "pretrain")
ORDER += (
    "distil",
    "clusters",
    "extraction",
    "serve",
    "probe",
    "finetune",
    "iterate",
    "report",
    "systems",
    "__init__",
    "cli",
    "__main__",
    "integrations",
)
"""The parts of the package: each imports from those before it."""

PLACE = {part: place for place, part in enumerate(ORDER)}

BRIDGED = {"extraction": {"data", "training", "pretrain", "finetune", "iterate", "distil", "clusters", "systems"}}
BRIDGED |= {name: BRIDGED["extraction"] for name in ("probe", "report", "serve")}
"""Parts that meet only through a checkpoint on disk."""

LIGHT = ["errors", "seeding", "assets", "units", "settings", "files", "audio.samples", "pretrain.config", "cli"]
LIGHT += [
    "distil.config",
    "clusters.config",
    "probe.options",
    "probe.benchmark.plan",
    "report.options",
    "corpora.lists.manifests",
    "extraction.engine",
    "extraction.predict",
]


def part_of(module: str) -> str:
    """The part of the package that a dotted module belongs to: emotion2vec.data.crops -> data."""
    return module.split(".")[1] if "." in module else "__init__"


def imported_modules(source: str, package: str, modules: set[str]) -> set[str]:
    """Modules of emotion2vec that a source file imports anywhere, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join(parents[: len(parents) - node.level + 1] + ([base] if base else []))
            names = {alias.name for alias in node.names} - {"__version__"}  # the version is no code
            submodules = {name for name in names if f"{base}.{name}" in modules}
            found |= {f"{base}.{name}" for name in submodules} | ({base} if names - submodules else set())
    return {name for name in found if name.split(".")[0] == "emotion2vec"}


def violations(sources: dict[str, str]) -> list[str]:
    """Imports that the layout forbids, given dotted module names (packages end in .__init__) and their source."""
    modules = {name.removesuffix(".__init__") for name in sources}
    faults = []
    for name, source in sources.items():
        own = part_of(name)
        package = name.rpartition(".")[0]
        for target in sorted(imported_modules(source, package, modules)):
            other = part_of(target)
            if other == own:
                continue
            if PLACE[other] > PLACE[own] or other in BRIDGED.get(own, set()):
                faults.append(f"{name} imports {target}")
    return faults


def circles(sources: dict[str, str]) -> set[str]:
    """Imports on the way from a module back to itself, for type checking alone too; a package is its `__init__`."""
    modules = {name.removesuffix(".__init__") for name in sources}
    imports = {
        name.removesuffix(".__init__"): imported_modules(source, name.rpartition(".")[0], modules) & modules
        for name, source in sources.items()
    }

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            ahead += imports[(module := ahead.pop())] - seen
            seen |= imports[module]
        return seen

    ways = {module: reached(module) for module in imports}
    return {f"{name} imports {other}" for name in imports for other in imports[name] if name in ways[other]}


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    paths = sorted(PACKAGE.rglob("*.py"))
    assert paths
    return {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path.read_text() for path in paths}


def test_modules_import_in_no_circle(sources: dict[str, str]) -> None:
    assert not circles(sources)


def test_the_check_sees_a_circle() -> None:
    layout = {
        "emotion2vec.model.__init__": "from emotion2vec.model.a import f",
        "emotion2vec.model.a": "def f():\n    from .b import g",
        "emotion2vec.model.b": "from emotion2vec.model import f\nimport emotion2vec.errors",
        "emotion2vec.errors": "",
    }
    assert circles(layout) == {
        "emotion2vec.model imports emotion2vec.model.a",
        "emotion2vec.model.a imports emotion2vec.model.b",
        "emotion2vec.model.b imports emotion2vec.model",
    }


def test_modules_import_only_from_their_left(sources: dict[str, str]) -> None:
    assert not violations(sources)


def test_every_part_has_a_place_in_the_layout(sources: dict[str, str]) -> None:
    assert {part_of(name) for name in sources} == set(ORDER)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("emotion2vec.model.encoder", "from emotion2vec.checkpoint.native import read_native"),
        ("emotion2vec.model.encoder", "import emotion2vec.data.crops"),
        ("emotion2vec.extraction.engine", "def f():\n    from emotion2vec import training"),
        ("emotion2vec.extraction.engine", "from ..pretrain import masking"),
        ("emotion2vec.probe.heads", "from emotion2vec.pretrain.losses import distance"),
        ("emotion2vec.training.trainer", "from emotion2vec.cli import main"),
        ("emotion2vec.exporting.convert", "from emotion2vec.integrations.huggingface import Emotion2vecModel"),
        ("emotion2vec.errors", "from .seeding import keyed_seed"),
        ("emotion2vec.audio.samples", "from emotion2vec.model.config import model_config"),
        ("emotion2vec.report.tables", "from emotion2vec import __version__, load_model"),
    ],
)
def test_the_check_sees_a_forbidden_import(sources: dict[str, str], module: str, line: str) -> None:
    layout = dict.fromkeys(
        ["emotion2vec.training.__init__", "emotion2vec.pretrain.__init__", "emotion2vec.errors", "emotion2vec.cli"], ""
    )
    assert len(violations({**layout, module: line})) == 1


def test_importing_the_package_is_light_and_touches_nothing() -> None:
    script = """
import builtins, json, logging, os, random, signal, sys, threading, warnings

def state():
    found = [sys.meta_path, sys.path, sys.path_hooks, warnings.filters, logging.root.handlers, threading.enumerate()]
    found = [list(one) for one in found] + [dict(os.environ), set(logging.root.manager.loggerDict), set(vars(builtins))]
    found += [sys.excepthook, sys.displayhook, sys.gettrace(), warnings.showwarning, signal.getsignal(signal.SIGINT)]
    return [*found, random.getstate(), logging.root.level, logging.root.manager.disable, os.getcwd(), sys.flags]

before = state()
import emotion2vec
dir(emotion2vec)
changed = [number for number, (old, new) in enumerate(zip(before, state())) if old != new]
print(json.dumps([changed, sorted({name.split(".")[0] for name in sys.modules})]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    changed, loaded = json.loads(done.stdout)
    assert changed == []
    heavy = {"torch", "lhotse", "lightning", "sklearn", "numpy", "omegaconf", "soundfile", "transformers", "s3prl"}
    assert not heavy & set(loaded)


def test_importing_the_public_names_leaves_the_interpreter_as_it_was() -> None:
    script = """
import json, os, random, sys, warnings
import lhotse, lightning.fabric, numpy, soundfile, sklearn.linear_model, torch, typer, yaml  # what they do is theirs

def state():
    numbers = [random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
    return [list(sys.meta_path), list(sys.path_hooks), dict(os.environ), *numbers, torch.get_num_threads()]

before = state()
import emotion2vec, emotion2vec.cli
for name in emotion2vec.__all__: getattr(emotion2vec, name)
print(json.dumps([number for number, (old, new) in enumerate(zip(before, state())) if old != new]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_stay_light(module: str) -> None:
    script = f"import sys, emotion2vec.{module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    heavy = {"torch", "lhotse", "lightning", "sklearn", "scipy", "matplotlib"} & set(done.stdout.split())
    assert not heavy


def test_every_public_name_can_be_loaded() -> None:
    import emotion2vec

    for name in emotion2vec.__all__:
        assert getattr(emotion2vec, name) is not None
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert not parts & set(emotion2vec.__all__)  # a submodule, once imported, takes its name's place
