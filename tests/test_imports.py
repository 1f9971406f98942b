from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "emotion2vec"

LEAVES = {"errors", "seeding", "assets", "plugins", "units"}
BASICS = LEAVES | {"strict", "decode", "audio", "config", "devices", "hardware"}
LIGHT = ["errors", "seeding", "assets", "units", "strict", "audio", "config", "data.manifests", "cli"]
LIGHT += ["extraction.engine", "extraction.predict"]
# What the modules of each part may import of the package. A part may always import from itself.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "seeding": set(),
    "assets": set(),
    "plugins": set(),
    "units": set(),
    "decode": LEAVES,
    "devices": LEAVES,
    "hardware": LEAVES | {"devices"},
    "audio": LEAVES | {"decode"},
    "strict": LEAVES,
    "config": LEAVES | {"strict", "audio"},
    "data": BASICS,
    "model": BASICS,
    "objective": BASICS | {"data", "model"},
    "checkpoint": BASICS | {"data", "model", "objective"},
    "training": BASICS | {"data", "model", "objective", "checkpoint"},
    "extraction": BASICS | {"data", "model", "checkpoint"},
    "probe": BASICS | {"data", "model", "checkpoint", "extraction"},
    "__init__": BASICS | {"data", "model", "checkpoint", "training", "extraction", "probe", "objective"},
}
# Our models inside other tools use everything, and nothing uses them.
ALLOWED["integrations"] = ALLOWED["__init__"] | {"__init__"}
ALLOWED["cli"] = ALLOWED["__init__"] | {"__init__"}
ALLOWED["__main__"] = {"cli"}


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
            if part_of(target) not in ALLOWED.get(own, set()) | {own}:
                faults.append(f"{name} imports {target}")
    return faults


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    paths = sorted(PACKAGE.rglob("*.py"))
    assert paths
    return {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path.read_text() for path in paths}


def test_modules_import_only_from_their_left(sources: dict[str, str]) -> None:
    assert violations(sources) == []


def test_every_part_has_a_place_in_the_layout(sources: dict[str, str]) -> None:
    assert {part_of(name) for name in sources} <= ALLOWED.keys()


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("emotion2vec.data.crops", "from emotion2vec.model.encoder import Emotion2vec"),
        ("emotion2vec.model.encoder", "import emotion2vec.data.crops"),
        ("emotion2vec.extraction.engine", "def f():\n    from emotion2vec import training"),
        ("emotion2vec.extraction.engine", "from ..objective import masking"),
        ("emotion2vec.probe.heads", "from emotion2vec.objective.losses import distance"),
        ("emotion2vec.training.trainer", "from emotion2vec.cli import main"),
        ("emotion2vec.checkpoint.convert", "from emotion2vec.integrations.huggingface import Emotion2vecModel"),
        ("emotion2vec.seeding", "from .errors import ConfigError"),
        ("emotion2vec.audio", "from emotion2vec.config import load_config"),
        ("emotion2vec.probe.report", "from emotion2vec import __version__, load_model"),
    ],
)
def test_the_check_sees_a_forbidden_import(sources: dict[str, str], module: str, line: str) -> None:
    layout = dict.fromkeys(
        ["emotion2vec.training.__init__", "emotion2vec.objective.__init__", "emotion2vec.errors", "emotion2vec.cli"], ""
    )
    assert len(violations({**layout, module: line})) == 1


def test_importing_the_package_is_light_and_touches_nothing() -> None:
    script = """
import json, logging, os, random, sys
before = (dict(os.environ), random.getstate(), list(logging.root.handlers))
import emotion2vec
dir(emotion2vec)
after = (dict(os.environ), random.getstate(), list(logging.root.handlers))
print(json.dumps([before == after, sorted({name.split(".")[0] for name in sys.modules})]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    untouched, loaded = json.loads(done.stdout)
    assert untouched
    heavy = {"torch", "lhotse", "lightning", "sklearn", "numpy", "omegaconf", "soundfile", "transformers", "s3prl"}
    assert not heavy & set(loaded)


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
