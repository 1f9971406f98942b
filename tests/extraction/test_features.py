"""Which features a job writes. L: layers. T: frames. D: model width. N: utterance tokens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from extraction.helpers import DEPTH, WIDTH, speech

from emotion2vec.audio.samples import normalize
from emotion2vec.errors import ConfigError
from emotion2vec.extraction import extract
from emotion2vec.extraction.encode.arrays import ArraySpec
from emotion2vec.extraction.encode.choices import FeatureChoice
from emotion2vec.extraction.encode.reduction import Piece, Reduction
from emotion2vec.model.encoder import Emotion2vec, Encoded

SAMPLES = speech(9_123)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "x.wav", SAMPLES, 16_000, subtype="FLOAT")
    return tmp_path / "x.wav"


@pytest.fixture
def encoded(model: Emotion2vec) -> Encoded:
    with torch.no_grad():
        return model(torch.from_numpy(normalize(SAMPLES)).unsqueeze(0))


def run(model: Emotion2vec, clip: Path, **options: object) -> dict[str, np.ndarray]:
    out = clip.parent / "out"
    report = extract(clip, model=model, output=out, **options)  # type: ignore[arg-type]
    assert report.exit_code == 0
    return {path.name: np.load(path) for path in out.glob("*.npy")}


def stack(layers: list[torch.Tensor]) -> np.ndarray:
    """(L, T, D)."""
    return np.stack([layer[0].numpy() for layer in layers])


@pytest.mark.parametrize("layers", ["all", "last", "0,2", "mean:2", "mean:3", "weights"])
def test_layers(model: Emotion2vec, clip: Path, encoded: Encoded, layers: str) -> None:
    every = stack(encoded.layers)
    weights = [0.5, 0.0, 1.5]
    (clip.parent / "weights.json").write_text(json.dumps(weights))
    option = f"weights:{clip.parent / 'weights.json'}" if layers == "weights" else layers
    expected = {
        "all": every, "last": every[-1], "0,2": every[[0, 2]], "mean:2": every[-2:].mean(0), "mean:3": every.mean(0),
        "weights": np.tensordot(weights, every, 1) / 2,
    }[layers]  # fmt: skip
    np.testing.assert_allclose(run(model, clip, layers=option)["x.npy"], expected, atol=1e-5)


def test_ffn_outputs_are_those_of_the_main_blocks(model: Emotion2vec, clip: Path, encoded: Encoded) -> None:
    found = run(model, clip, features="ffn", layers="all")["x.npy"]
    assert found.shape[0] == DEPTH - 1
    np.testing.assert_allclose(found, stack(encoded.ffn), atol=1e-5)


def test_utterance_summaries(model: Emotion2vec, clip: Path, encoded: Encoded) -> None:
    frames = encoded.frames[0].double().numpy()
    found = run(model, clip, granularity="utterance", pooling="mean+std")["x.npy"]
    np.testing.assert_allclose(found, np.concatenate([frames.mean(0), frames.std(0)]), atol=1e-5)
    tokens = run(model, clip, granularity="utterance", pooling="tokens")["x.npy"]
    assert tokens.shape == (3, WIDTH)
    np.testing.assert_allclose(tokens, encoded.tokens[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("step", [1, 2, 5, 1000])
def test_a_lower_rate(model: Emotion2vec, clip: Path, encoded: Encoded, step: int) -> None:
    frames = encoded.frames[0].numpy()
    means = [frames[start : start + step].mean(axis=0) for start in range(0, len(frames), step)]
    np.testing.assert_allclose(run(model, clip, downsample=step)["x.npy"], means, atol=1e-5)
    np.testing.assert_allclose(
        run(model, clip, downsample=step, downsample_by="skip")["x.npy"], frames[::step], atol=1e-5
    )


def test_both_and_half_precision(model: Emotion2vec, clip: Path, encoded: Encoded) -> None:
    found = run(model, clip, granularity="both", dtype="float16")
    assert sorted(found) == ["x.frames.npy", "x.utterance.npy"]
    assert all(array.dtype == np.float16 for array in found.values())
    np.testing.assert_allclose(found["x.frames.npy"], encoded.frames[0].numpy(), atol=5e-3)
    np.testing.assert_allclose(found["x.utterance.npy"], encoded.frames[0].mean(0).numpy(), atol=5e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "mean:4"}, "mean:N with N up to 3"),
        ({"layers": "mean:0"}, "layers is 'mean:0'"),
        ({"layers": "2", "features": "ffn"}, "block numbers from 0 to 1"),
        ({"layers": "weights:gone.json"}, "gone.json cannot be read"),
        ({"pooling": "tokens", "granularity": "utterance", "layers": "all"}, "needs layers last"),
        ({"downsample": 0, "dtype": "int8", "pooling": "max"}, "pooling is 'max'.*dtype is 'int8'.*downsample is 0"),
    ],
)
def test_choices_that_cannot_be_are_refused(model: Emotion2vec, clip: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(model, clip, **options)


@pytest.mark.parametrize("content", ["[" * 100_000, f"[{10**400}]", "[[1], [1, 2]]", '{"a": 1}', '["x"]', "null"])
def test_weights_of_layers_that_are_none(model: Emotion2vec, clip: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "w.json").write_text(content)
    with pytest.raises(ConfigError, match=r"w\.json (cannot be read as a JSON list of weights|holds)"):
        run(model, clip, layers=f"weights:{tmp_path / 'w.json'}")


def test_a_rest_of_one_frame_is_a_vector_too(model: Emotion2vec, clip: Path, encoded: Encoded) -> None:
    frames = encoded.frames[0].numpy()
    found = run(model, clip, downsample=len(frames) - 1)["x.npy"]
    np.testing.assert_allclose(found, [frames[:-1].mean(axis=0), frames[-1]], atol=1e-5)


def test_rounding_of_equal_frames_is_no_deviation() -> None:
    choice = FeatureChoice(granularity="utterance", pooling="mean+std")
    layout = {"utterance": ArraySpec((2,), np.dtype(np.float32))}
    square = np.array([[0.03 - 1e-12]])  # a little less than three times 0.1²
    piece = Piece(3, None, np.array([[0.3]]), square, None)
    (array,) = Reduction(choice, layout, False, iter([piece]), 3).arrays().values()
    np.testing.assert_allclose(array.whole(), [0.1, 0.0], atol=1e-7)
