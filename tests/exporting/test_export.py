"""Exported graphs: the numbers of the model on real clips, in ONNX Runtime, and with nothing else installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from networks import tiny_config
from typer.testing import CliRunner

import emotion2vec
from emotion2vec.audio.samples import load_audio
from emotion2vec.checkpoint import load_model, save_model
from emotion2vec.cli import app
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.exporting import export as exporting
from emotion2vec.exporting import network as plain
from emotion2vec.exporting.agreement import Agreement, check
from emotion2vec.exporting.convert import convert
from emotion2vec.exporting.export import export
from emotion2vec.exporting.onnx import open_onnx, quantize
from emotion2vec.model.encoder import Emotion2vec

LABELS = ("生气/angry", "happy", "unuse_0", "<unk>")
LENGTHS = [400, 401, 719, 720, 16_000, 16_001, 48_123, 160_000, 480_000]

onnxruntime = pytest.importorskip("onnxruntime")


def random_model(labels: tuple[str, ...] = LABELS) -> Emotion2vec:
    """A tiny network whose every weight is random, so that no part of it is neutral."""
    torch.manual_seed(0)
    model = Emotion2vec(tiny_config().model, labels).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("native") / "model"
    model = random_model()
    save_model(folder, model.config, model.state_dict(), labels=LABELS)
    return folder


@pytest.fixture(scope="module")
def exported(native: Path) -> Path:
    return export(native, native.parent / "model.onnx").output


@pytest.fixture(scope="module")
def speech(shared: Path) -> np.ndarray:
    """Some 33 s of real speech at 16 kHz, (S,), on an offset that normalization has to take away."""
    paths = sorted((shared / "data" / "emodb").rglob("*.flac"))[:17]
    return np.concatenate([load_audio(path) for path in paths]) + np.float32(0.2)


def run_onnx(path: Path) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    return lambda waveforms, lengths: dict(
        zip(names, session.run(names, {"waveforms": waveforms, "lengths": lengths}), strict=True)
    )


def assert_same(found: dict[str, np.ndarray], row: int, clip: np.ndarray, model: Emotion2vec) -> None:
    """One utterance of a graph's outputs is what the model extracts from it alone."""
    expected = model.extract_features(clip, 16_000)
    count = found["frame_counts"][row]
    assert count == len(expected.frames)
    assert np.abs(found["frames"][row, :count] - expected.frames).max() < 1e-4
    assert not found["frames"][row, count:].any()
    assert np.abs(found["utterance"][row] - expected.utterance).max() < 1e-4
    assert found["scores"][row, 2] == 0  # of the label that is not used
    for label, score in model.predict(clip, 16_000).items():
        assert abs(found["scores"][row, LABELS.index(label)] - score) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("samples", LENGTHS)
def test_onnx_is_the_model_at_every_length(exported: Path, native: Path, speech: np.ndarray, samples: int) -> None:
    clip = speech[5_000 : 5_000 + samples]
    assert_same(run_onnx(exported)(clip[None], np.array([samples])), 0, clip, load_model(native))


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[16_000, 16_000, 16_000], [400, 48_123, 7_777, 20_000]])
def test_batches_of_equal_and_unequal_lengths(
    exported: Path, native: Path, speech: np.ndarray, sizes: list[int]
) -> None:
    clips = [speech[1000 * row : 1000 * row + size] for row, size in enumerate(sizes)]
    padded = np.full((len(clips), max(sizes)), 7.0, np.float32)  # whatever stands in the padding
    for row, clip in zip(padded, clips, strict=True):
        row[: clip.size] = clip
    found, model = run_onnx(exported)(padded, np.array(sizes)), load_model(native)
    for row, clip in enumerate(clips):
        assert_same(found, row, clip, model)


@pytest.mark.slow
def test_the_file_says_what_it_is(exported: Path) -> None:
    session = onnxruntime.InferenceSession(str(exported))
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["labels"]) == list(LABELS)
    assert (facts["sample_rate"], facts["hop"], facts["shortest"]) == ("16000", "320", "400")
    assert facts["emotion2vec_version"] == emotion2vec.__version__
    assert {value.name: value.shape for value in session.get_inputs()} == {
        "waveforms": ["batch", "samples"],
        "lengths": ["batch"],
    }
    assert session.get_outputs()[0].shape == ["batch", "frames", 32]


@pytest.mark.slow
def test_the_example_needs_neither_torch_nor_this_package(
    exported: Path, native: Path, root: Path, speech: np.ndarray, tmp_path: Path
) -> None:
    for name, size, rate in (("a.wav", 30_000, 16_000), ("b.wav", 44_100, 44_100)):
        soundfile.write(tmp_path / name, np.stack([speech[:size], speech[:size]], axis=1), rate, subtype="FLOAT")
    blocked = "import sys; sys.modules.update(dict.fromkeys(['torch', 'emotion2vec', 'onnx', 'scipy']))\n"
    script = tmp_path / "run.py"
    script.write_text(blocked + (root / "examples" / "run_onnx.py").read_text().replace("from __future__", "#"))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, str(script), str(exported), "a.wav", "b.wav"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    scores = load_model(native).predict(tmp_path / "b.wav")
    label = max(scores, key=scores.__getitem__)
    first, second = done.stdout.splitlines()
    assert first.startswith("a.wav: 93 frames of 32 numbers, ")
    assert second == f"b.wav: 49 frames of 32 numbers, {label} ({scores[label]:.3f})"


@pytest.mark.slow
@torch.inference_mode()
def test_torch_export_is_the_model(native: Path, speech: np.ndarray, tmp_path: Path) -> None:
    path = export(native, tmp_path / "out", format="torch-export").output
    facts = {"emotion2vec.json": ""}
    with open(path, "rb") as stream:
        program = torch.export.load(stream, extra_files=facts).module()
    assert json.loads(facts["emotion2vec.json"])["hop"] == "320"
    model = load_model(native)
    names = plain.WholePath.outputs(model)
    for sizes in ([720], [16_001], [480_000], [16_000] * 2, [400, 20_000, 5_000]):
        clips = [speech[:size] for size in sizes]
        padded = torch.zeros(len(sizes), max(sizes))
        for row, clip in zip(padded, clips, strict=True):
            row[: clip.size] = torch.from_numpy(clip)
        outputs = [output.numpy() for output in program(padded, torch.tensor(sizes))]
        for row, clip in enumerate(clips):
            assert_same(dict(zip(names, outputs, strict=True)), row, clip, model)
    convert(native, tmp_path / "converted", to="onnx-ready")
    again = torch.export.load(tmp_path / "converted" / "model.pt2").module()
    assert torch.equal(again(padded, torch.tensor(sizes))[0], torch.from_numpy(outputs[0]))


@pytest.mark.slow
def test_int8_weights_are_smaller_and_near(exported: Path, native: Path, speech: np.ndarray) -> None:
    """The same graph by ONNX Runtime's own quantization; the whole path of `export` is tested slowly below."""
    path = native.parent / "int8.onnx"
    path.write_bytes(exported.read_bytes())
    quantize(path)
    model, clip = load_model(native), speech[:48_000]
    agreement = check(model, open_onnx(path), int8=True)
    assert 0.99 < agreement.cosine < 0.999999 and agreement.difference > 1e-4
    assert path.stat().st_size < exported.stat().st_size
    found = run_onnx(path)(clip[None], np.array([clip.size]))
    frames = model.extract_features(clip, 16_000).frames
    cosines = (found["frames"][0] * frames).sum(1) / np.linalg.norm(frames, axis=1)
    assert (cosines / np.linalg.norm(found["frames"][0], axis=1)).min() > 0.99
    session = onnxruntime.InferenceSession(str(path))
    assert json.loads(session.get_modelmeta().custom_metadata_map["labels"]) == list(LABELS)
    with pytest.raises(CheckpointError, match="differ from the model's"):
        check(model, open_onnx(path))


@pytest.mark.slow
def test_export_in_int8(native: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(native), str(tmp_path / "x.onnx"), "--int8"])
    assert done.exit_code == 0 and "the lowest cosine is 0.99" in done.output


def test_a_graph_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(())

    def write(network: Emotion2vec, path: Path) -> Agreement:
        path.write_bytes(b"graph")
        return check(network, eager)

    @torch.inference_mode()
    def eager(waveforms: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
        outputs = plain.WholePath(model)(torch.from_numpy(waveforms), torch.from_numpy(lengths))
        return {name: output.numpy() for name, output in zip(plain.WholePath.outputs(model), outputs, strict=True)}

    monkeypatch.setattr(exporting, "write_program", write)
    done = export(model, tmp_path / "good.pt2", format="torch-export")
    assert done.difference < 1e-4 and done.cosine > 0.9999
    normalized = plain._normalized
    monkeypatch.setattr(plain, "_normalized", lambda x, padding, lengths: normalized(x, padding, lengths) * 1.01)
    with pytest.raises(CheckpointError, match=r"differ from the model's by .* expected at most 1e-04"):
        export(model, tmp_path / "out" / "model.pt2", format="torch-export")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("output", "format", "expected"),
    [
        ("x.onnx", "tflite", "format is 'tflite', expected onnx or torch-export"),
        ("x.onnx", "torch-export", "expected a name that ends in .pt2 for format torch-export"),
        ("there.onnx", "onnx", "there.onnx: is there already"),
        ("there.txt", "onnx", "there.txt: is no folder"),
    ],
)
def test_wrong_wishes(native: Path, tmp_path: Path, output: str, format: str, expected: str) -> None:
    (tmp_path / "there.onnx").touch()
    (tmp_path / "there.txt").touch()
    done = CliRunner().invoke(app, ["export", str(native), str(tmp_path / output), "--format", format])
    assert isinstance(done.exception, ConfigError) and expected in str(done.exception)


def test_a_missing_package_is_named(native: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion2vec.exporting.onnx.find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(ConfigError, match=r"needs onnxscript: pip install 'emotion2vec\[onnx\]'"):
        export(native, tmp_path / "x.onnx")
