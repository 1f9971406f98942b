"""What is installed: a wheel with the shipped models and configurations, which works without the checkout."""

from __future__ import annotations

import fnmatch
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from environments import copied, environment, run, tracked

SHIPPED = {"configs/*": "configs", "checkpoints/compact/*": "checkpoints", "checkpoints/tiny/*": "checkpoints"}
"""What lies outside the package and is in wheels, below `emotion2vec/_assets`."""


@pytest.fixture(scope="module")
def built(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A source distribution of what is tracked, and a wheel of it, as `python -m build` makes them."""
    folder = tmp_path_factory.mktemp("packaging")
    checkout = copied(root, folder / "checkout", tracked(root))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", at=checkout)
    (sdist,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    return {"sdist": sdist, "wheel": wheel}


@pytest.mark.slow
def test_what_is_built_has_all_that_it_needs(root: Path, built: Mapping[str, Path]) -> None:
    said = run(sys.executable, "-m", "twine", "check", "--strict", *built.values(), at=root)
    assert said.count("PASSED") == 2
    assert built["wheel"].stat().st_size < 45_000_000
    with zipfile.ZipFile(built["wheel"]) as archive:
        wheel = set(archive.namelist())
        heads = next(name for name in wheel if name.endswith(".dist-info/METADATA"))
        head = archive.read(heads).decode()
    names = tracked(root)
    data = [name for name in names if name.startswith("emotion2vec/")]  # code, the style sheet, the page, all
    shipped = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in SHIPPED)]
    assert {"emotion2vec/report/style.css", "emotion2vec/py.typed"} <= set(data)
    assert {"configs/pretrain/base.yaml", "checkpoints/compact/model.safetensors"} <= set(shipped)
    expected = {*data, *(f"emotion2vec/_assets/{name}" for name in shipped)}
    assert expected - wheel == set()
    assert "License-Expression: MIT" in head
    assert {name for name in wheel - expected if ".dist-info/" not in name} == set()
    with tarfile.open(built["sdist"]) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    assert set(names) - sources == set()  # its tests read all kinds of files


@pytest.mark.slow
def test_the_wheel_predicts_in_an_environment_without_the_checkout(
    root: Path, built: Mapping[str, Path], tmp_path: Path
) -> None:
    python = environment(tmp_path / "empty")
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", built["wheel"], at=tmp_path)
    clip = copied(root, tmp_path, ["examples/sample_speech/en1_angry_1.opus"]) / "examples/sample_speech"
    command = python.with_name("emotion2vec" + python.suffix)
    assert "cc-by-nc-sa-4.0" in run(command, "info", at=tmp_path)
    assert '"label"' in run(command, "predict", clip, at=tmp_path)
    where = run(python, "-c", "import emotion2vec; print(emotion2vec.__file__)", at=tmp_path)
    assert Path(where.strip()).is_relative_to(tmp_path / "empty")
    for kind in ("pretrain", "finetune", "systems"):
        script = f"from emotion2vec.assets import asset_folder; print(*(asset_folder('configs') / {kind!r}).iterdir())"
        assert "_assets" in run(python, "-c", script, at=tmp_path)
