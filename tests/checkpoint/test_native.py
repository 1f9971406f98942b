"""The native format: round trips, and what a wrong folder is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from networks import tiny_config
from safetensors.torch import load_file, save_file

from emotion2vec.checkpoint import load_model, save_model
from emotion2vec.checkpoint.formats.data2vec.names import state_from_fairseq
from emotion2vec.checkpoint.info import describe_model
from emotion2vec.errors import CheckpointError
from emotion2vec.model.encoder import Emotion2vec


@pytest.fixture
def model() -> Emotion2vec:
    torch.manual_seed(0)
    return Emotion2vec(tiny_config().model)


@pytest.fixture
def folder(model: Emotion2vec, tmp_path: Path) -> Path:
    save_model(tmp_path / "model", model.config, model.state_dict())
    return tmp_path / "model"


def message(source: Path | str) -> str:
    with pytest.raises(CheckpointError) as raised:
        load_model(source)
    return str(raised.value)


def test_whoever_may_read_the_folder_may_read_its_files(folder: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o666 for path in folder.iterdir()}
    assert modes == dict.fromkeys(modes, folder.stat().st_mode & 0o666)


def test_round_trip_is_bit_exact(model: Emotion2vec, folder: Path) -> None:
    loaded = load_model(folder)
    assert not loaded.training
    assert loaded.config == model.config
    state = loaded.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "model.safetensors"]


def test_half_precision_weights_load_as_float32(model: Emotion2vec, tmp_path: Path) -> None:
    halves = {name: value.half() for name, value in model.state_dict().items()}
    save_model(tmp_path / "half", model.config, halves)
    state = load_model(tmp_path / "half").state_dict()
    assert all(value.dtype == torch.float32 and torch.equal(value, halves[n].float()) for n, value in state.items())


def test_save_replaces_a_folder_and_leaves_nothing_behind(model: Emotion2vec, folder: Path) -> None:
    (folder / "old").touch()
    save_model(folder, model.config, model.state_dict())
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "model.safetensors"]
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_missing_folder_names_the_shipped_models() -> None:
    assert "typo: no such file or folder" in message("typo")


def test_other_folder(tmp_path: Path) -> None:
    assert "this folder is no model, expected a folder with model.json" in message(tmp_path)
    for name in ("config.yaml", "versions.json"):  # what a run writes before its first update
        (tmp_path / name).write_text("{}")
    assert "this run has no complete checkpoint yet" in message(tmp_path)
    (tmp_path / "file").write_bytes(b"x")
    assert "1 bytes of no known kind" in message(tmp_path / "file")


def test_truncated_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "model.safetensors" in message(folder) and "truncated" in message(folder)
    weights.unlink()
    assert "no such file" in message(folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": "other"}, "format is 'other', expected 'emotion2vec'"),
        ({"format_version": 99}, "format_version is 99, this version of emotion2vec reads 1"),
        ({"format_version": 2, "written_by": "emotion2vec 3.0"}, "it was written by emotion2vec 3.0, which reads it"),
        ({"model": {"width": 30, "depths": 3}}, "unknown key depths; did you mean depth"),
    ],
)
def test_wrong_description(folder: Path, change: dict, expected: str) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert expected in message(folder)
    path.write_text("{")
    assert "cannot be read as JSON" in message(folder)


def test_every_difference_is_named(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["backbone.alibi_scale"]
    weights["surprise"] = torch.zeros(2)
    weights["backbone.tokens"] = torch.zeros(3, 32)
    save_file(weights, folder / "model.safetensors")
    text = message(folder)
    assert "missing backbone.alibi_scale (4,)" in text
    assert "unexpected surprise (2,)" in text
    assert "backbone.tokens has shape (3, 32), expected (10, 32)" in text


def test_unknown_fairseq_names_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"encoder\.weight, modality_encoders\.IMAGE"):
        state_from_fairseq({"modality_encoders.IMAGE.x": torch.zeros(1), "encoder.weight": torch.zeros(1)})


def test_description(model: Emotion2vec, folder: Path) -> None:
    facts = describe_model(folder)
    assert facts.parameters["total"] == sum(p.numel() for p in model.parameters())
    assert facts.parameters["utterance tokens"] == 320
    assert "other" not in facts.parameters
    assert facts.frames_per_second == 50
    assert len(facts.files["model.safetensors"].sha256) == 64


def test_shipped_tiny_model(root: Path) -> None:
    model = load_model("tiny")
    assert sum(p.stat().st_size for p in (root / "checkpoints" / "tiny").iterdir()) < 10_000_000
    noise = torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    features = model.extract_features(noise, 16_000)
    assert features.frames.shape == (49, model.config.width)
