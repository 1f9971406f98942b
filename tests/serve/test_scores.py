"""What a worker's heads say of windows and of whole clips: as the library says it, and without holding long audio."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
import torch

import emotion2vec

pytest.importorskip("fastapi")

from emotion2vec.checkpoint import save_model
from emotion2vec.extraction.encode.arrays import Arrays, FeatureArray
from emotion2vec.model.heads import MeanLinear
from emotion2vec.serve.messages import WHOLE
from emotion2vec.serve.scores import Heads
from emotion2vec.serve.work import Asked, Served

WINDOW = 0.37


@pytest.fixture(scope="module", params=["mean+std", "mean"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose head reads means and deviations, as `compact` has it, and one whose head reads means alone."""
    if request.param == "mean+std":
        return "compact"
    encoder = emotion2vec.load_model("tiny")
    encoder.head = MeanLinear(encoder.config.width, 2, torch.Generator().manual_seed(0), labels=("a", "b"))
    folder = tmp_path_factory.mktemp("model") / "mean"
    save_model(folder, encoder.config, encoder.state_dict(), labels=("a", "b"))
    return str(folder)


@pytest.mark.parametrize("seconds", [3.1, 45.0])  # the second is long audio
def test_windows_and_the_whole_clip_are_those_of_the_library(model: str, seconds: float) -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=int(seconds * 16_000)).astype(np.float32)
    samples *= np.repeat(rng.uniform(0.001, 0.3, size=samples.size // 1600 + 1), 1600)[: samples.size]
    loaded = emotion2vec.load_model(model)
    frames = torch.from_numpy(loaded.extract_features(samples, 16_000).frames)
    head, step = loaded.heads()[""], round(WINDOW * 50)
    found: list[dict[str, np.ndarray]] = []
    with ExitStack() as stack, torch.inference_mode():
        served = Served(model, None, "fp32", stack)
        what = {"model": model, "window": WINDOW, "whole": True}
        served.answer([Asked(7, what, samples)], lambda facts, arrays: found.append({**arrays}))
        expected = torch.cat([head.probabilities(head(window[None])) for window in frames.split(step)])
        whole = head.probabilities(head(frames[None]))
    ((said),) = found
    assert set(said) == {"", WHOLE}
    np.testing.assert_allclose(said[""], expected.numpy(), atol=1e-4)
    np.testing.assert_allclose(said[WHOLE], whole.numpy(), atol=1e-4)


def test_long_audio_is_never_held(model: str) -> None:
    loaded = emotion2vec.load_model(model)
    heads = Heads(loaded, WINDOW, True)
    pooled = heads.choice.downsample > 1
    vectors = 1_000 if pooled else 20_000

    def parts() -> Iterator[np.ndarray]:
        for number in range(10):
            yield np.full((vectors // 10, loaded.config.width), number, np.float32)

    dtype = np.dtype(np.float32)
    shape = (vectors, loaded.config.width)
    of_clip = np.zeros(loaded.config.width * (2 if model == "compact" else 1), np.float32)
    arrays: Arrays = {"frames": FeatureArray(shape, dtype, parts()), "utterance": FeatureArray.of(of_clip)}
    heads(arrays)  # what is imported at first is not counted
    arrays["frames"] = FeatureArray(shape, dtype, parts())
    tracemalloc.start()
    try:
        scores = heads(arrays)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert scores[""].shape[0] == (vectors if pooled else -(-vectors // round(WINDOW * 50)))
    assert most < arrays["frames"].nbytes / 2


def test_what_is_not_finite_is_noticed(model: str) -> None:
    heads = Heads(emotion2vec.load_model(model), None, False)
    (width,) = {head.width for head in emotion2vec.load_model(model).heads().values()}  # type: ignore[union-attr]
    with pytest.raises(FloatingPointError):
        heads({"utterance": FeatureArray.of(np.full(width, np.nan, np.float32))})
