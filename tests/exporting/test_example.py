"""The example that runs a graph without the package hears what the package hears."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from emotion2vec.audio.samples import load_audio

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def example(root: Path) -> ModuleType:
    spec = spec_from_file_location("run_onnx", root / "examples" / "run_onnx.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def channels(kind: str, rate: int) -> np.ndarray:
    """1.3 s of noise in bursts (S, C): one channel, two that are alike, or two that cancel each other for a while."""
    rng = np.random.default_rng(0)
    size = round(1.3 * rate)
    first = 0.2 * rng.standard_normal(size) * np.abs(np.sin(np.arange(size) / (0.05 * rate))) + 0.01
    if kind == "mono":
        return first[:, None]
    other = np.roll(first, 9) if kind == "stereo" else np.where(np.arange(size) < 0.4 * rate, -1.1, 0.9) * first
    return np.stack([first, other], axis=1)


@pytest.mark.parametrize("kind", ["mono", "stereo", "cancelling"])
@pytest.mark.parametrize(
    ("ending", "rate"), [(".wav", 8000), (".flac", 44_100), (".ogg", 48_000), (".mp3", 22_050), (".aiff", 16_000)]
)
def test_clips_are_what_the_package_makes_of_them(
    example: ModuleType, tmp_path: Path, kind: str, ending: str, rate: int
) -> None:
    path = tmp_path / f"clip{ending}"
    soundfile.write(path, channels(kind, rate), rate)
    found = example.read_clip(str(path), 16_000, 400)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, load_audio(path), atol=1e-6)


def test_what_cannot_be_used_is_named(example: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write(tmp_path / "short.wav", np.zeros(500), 48_000)
    with pytest.raises(SystemExit, match=r"text\.wav: cannot be decoded"):
        example.read_clip(str(tmp_path / "text.wav"), 16_000, 400)
    with pytest.raises(SystemExit, match=r"short\.wav: 167 samples at 16000 Hz, expected at least 400"):
        example.read_clip(str(tmp_path / "short.wav"), 16_000, 400)
