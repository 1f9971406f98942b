"""Live audio that is pushed: whatever the chunks, the same steps, and at the end what one pass says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import torch
from finetune.talkers import SMALL

from emotion2vec.checkpoint import load_model, save_model
from emotion2vec.errors import AudioError, ConfigError
from emotion2vec.extraction.streaming import Stream, StreamedFeatures, StreamOptions, astream_features, stream_features
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.heads import MeanLinear

OPTIONS = StreamOptions(hop=0.2, lookahead=0.1, context=60.0)
SAMPLES = (3_000 * np.random.default_rng(0).standard_normal(20_001)).astype(np.int16)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with a head, which hears audio as it is."""
    torch.manual_seed(0)
    network = Emotion2vec(SMALL)
    network.head = MeanLinear(SMALL.width, 2, labels=["calm", "loud"])
    folder = tmp_path_factory.mktemp("stream") / "model"
    save_model(folder, network.config, network.state_dict(), labels=["calm", "loud"])
    return folder


def joined(steps: list[StreamedFeatures]) -> np.ndarray:
    return np.concatenate([step.frames for step in steps])


@pytest.mark.parametrize("size", [1, 999, 4_001, 100_000])
def test_steps_do_not_depend_on_chunks(model: Path, size: int) -> None:
    whole = list(stream_features([SAMPLES], 16_000, model=model, options=OPTIONS))
    raw = SAMPLES.astype("<i2").tobytes() if size != 999 else SAMPLES.astype(np.float64) / 32_768
    size = max(size, 333) if size == 1 else size  # an odd number of bytes
    with Stream(16_000, model=model, options=OPTIONS) as stream:
        parts = [step for i in range(0, len(raw), size) for step in stream.push(raw[i : i + size])]
        assert [step.start for step in parts] == [step.start for step in whole[: len(parts)]]
        parts += stream.finish()
    assert len(whole) == len(parts) > 5
    np.testing.assert_allclose(joined(parts), joined(whole), atol=1e-4)
    assert [step.scores for step in parts] == [pytest.approx(step.scores, abs=1e-4) for step in whole]


def test_the_end_is_what_one_pass_says(model: Path) -> None:
    steps = list(stream_features([SAMPLES], 16_000, model=model, options=OPTIONS))
    loaded = load_model(model)
    audio = {"array": SAMPLES, "sampling_rate": 16_000}
    frames = np.asarray(loaded.extract_features(audio).frames)
    np.testing.assert_allclose(steps[-1].frames, frames[-len(steps[-1].frames) :], atol=1e-4)
    assert len(joined(steps)) == len(frames)
    assert steps[-1].scores == pytest.approx(loaded.predict(audio), abs=1e-4)
    assert steps[0].scores != pytest.approx(steps[-1].scores, abs=1e-4)


def test_an_awaited_source(model: Path) -> None:
    async def microphone() -> AsyncIterator[np.ndarray]:
        for part in np.array_split(SAMPLES, 7):
            await asyncio.sleep(0)
            yield part

    async def listen() -> list[StreamedFeatures]:
        return [step async for step in astream_features(microphone(), 16_000, model=model, options=OPTIONS)]

    expected = list(stream_features([SAMPLES], 16_000, model=model, options=OPTIONS))
    np.testing.assert_allclose(joined(asyncio.run(listen())), joined(expected), atol=1e-4)


def test_what_cannot_be_pushed(model: Path) -> None:
    stream = Stream(16_000, model=model)
    with pytest.raises(AudioError, match=r"chunk 0: shape is \(1, 4\)"):
        stream.push(np.zeros((1, 4)))
    with pytest.raises(AudioError, match="chunk 1: expected finite floats or int16, found int64"):
        stream.push(np.zeros(4, np.int64))
    stream.push(b"\0\0\0")
    with pytest.raises(AudioError, match="the stream ends within a sample"):
        stream.finish()
    assert stream.finish() == []
    with pytest.raises(ConfigError, match="this stream has ended"):
        stream.push(b"\0\0")
    with pytest.raises(ConfigError, match="sample_rate is 0, expected Hz"):
        Stream(0, model=model)
