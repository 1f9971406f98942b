"""Who has audio in memory, in a service: arrays, bytes, live calls, several at once, bad ones among them."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from jobs.recordings import Clip, emodb, talk

import emotion2vec
from emotion2vec.model.speech import SpeechEncoder


@pytest.fixture(scope="module")
def clips(shared: Path) -> list[Clip]:
    return emodb(shared)[::90][:6]


@pytest.fixture(scope="module")
def model() -> SpeechEncoder:
    return emotion2vec.load_model("compact")


def test_clips_in_memory_in_whatever_form(clips: list[Clip], model: SpeechEncoder) -> None:
    pytest.importorskip("pandas")
    samples = [clip.samples for clip in clips]
    stream = io.BytesIO()
    soundfile.write(stream, samples[0], 16_000, format="WAV", subtype="FLOAT")
    expected = [max(one, key=one.__getitem__) for one in model.predict(samples, 16_000)]
    frame = emotion2vec.predict([*samples, np.zeros(10, np.float32)], 16_000)
    assert frame["label"].tolist() == expected  # and the one that is too short is told apart
    assert len(frame.attrs["failed"]) == 1
    assert emotion2vec.predict(stream.getvalue())["label"].tolist() == expected[:1]
    whole = [(samples[0] * 32_767).round().astype(np.int16), samples[0].astype(np.float64)]
    assert emotion2vec.predict(whole, 16_000)["label"].tolist() == expected[:1] * 2


def test_requests_at_once_say_what_they_say_alone(clips: list[Clip], model: SpeechEncoder) -> None:
    samples = [clip.samples for clip in clips]
    alone = [model.predict(one, 16_000) for one in samples]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda one: model.predict(one, 16_000), samples * 2))
    for found, expected in zip(together, alone * 2, strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


def test_a_live_call_in_pieces(clips: list[Clip], model: SpeechEncoder) -> None:
    """Bytes as a socket gives them; the same steps as of an awaited source, and as of all at once."""
    samples, _ = talk(clips[:3])
    raw = (samples[0] * 32_767).round().astype("<i2").tobytes()
    sizes = np.random.default_rng(0).integers(1, 9_000, 200)
    cuts = [0, *np.cumsum(sizes).tolist()]
    pieces = [raw[start:end] for start, end in itertools.pairwise(cuts) if start < len(raw)]
    assert b"".join(pieces) == raw[: cuts[-1]]
    pieces.append(raw[cuts[-1] :])
    with emotion2vec.Stream(16_000, model=model) as stream:
        pushed = [step for piece in pieces for step in stream.push(piece)]
        pushed += stream.finish()

    async def source() -> AsyncIterator[bytes]:
        for piece in pieces:
            await asyncio.sleep(0)
            yield piece

    async def listen() -> list[Any]:
        return [step async for step in emotion2vec.astream_features(source(), 16_000, model=model)]

    whole = np.frombuffer(raw, "<i2")
    others = [asyncio.run(listen()), list(emotion2vec.stream_features([whole], 16_000, model=model))]
    for steps in others:
        assert [step.start for step in steps] == [step.start for step in pushed]
        for step, expected in zip(steps, pushed, strict=True):
            np.testing.assert_allclose(step.frames, expected.frames, atol=1e-4)
            assert step.scores == pytest.approx(expected.scores, abs=1e-4)
    assert sum(len(step.frames) for step in pushed) == pytest.approx(50 * samples.shape[1] / 16_000, abs=2)
