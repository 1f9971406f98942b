from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from extraction.helpers import DEPTH, WIDTH, clip, speech
from torch import Tensor

from emotion2vec.audio.frames import WAVEFORM_GRID
from emotion2vec.audio.windows import Chunking
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.arrays import Arrays, EncodedAudio
from emotion2vec.extraction.encode.choices import FeatureChoice, Layers, choose_layers
from emotion2vec.extraction.encode.encoder import Encoder, NoRoom
from emotion2vec.extraction.encode.ready import ready_model
from emotion2vec.extraction.sources.decoding import AudioFault, Waveform
from emotion2vec.model.encoder import Emotion2vec, Encoded

MIXED = [clip(samples, index) for index, samples in enumerate([400, 16_000, 401, 719, 9_123])]


def encoder(model: Emotion2vec, layers: Layers = "last", pooled: bool = False, precision: str = "fp32") -> Encoder:
    return Encoder(model, choice(layers, pooled), precision=precision, chunking=Chunking())


def choice(layers: Layers = "last", pooled: bool = False) -> FeatureChoice:
    return FeatureChoice(layers=layers, granularity="utterance" if pooled else "frame")


def encode(encoder: Encoder, clips: Sequence[Waveform]) -> list[np.ndarray]:
    return [array.whole() for arrays in encoder.encode(clips) for array in arrays.values()]


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("layers", ["last", "all", 1])
def test_a_padded_clip_has_the_features_of_the_clip_alone(model: Emotion2vec, layers: Layers, pooled: bool) -> None:
    one_job = encoder(model, layers, pooled)
    for batched, one in zip(encode(one_job, MIXED), MIXED, strict=True):
        (alone,) = encode(one_job, [one])
        assert batched.shape == alone.shape and batched.dtype == np.float32
        np.testing.assert_allclose(batched, alone, rtol=0, atol=1e-5)


def test_clips_of_many_lengths_share_a_few_shapes(model: Emotion2vec, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []
    forward = model.forward

    def spy(waveforms: Tensor, padding: Tensor | None = None) -> Encoded:
        shapes.append(tuple(waveforms.shape))
        return forward(waveforms, padding)

    monkeypatch.setattr(model, "forward", spy)
    lengths = [400, 719, 720, 2_639, 2_640, 2_959, 2_960, *range(3_000, 9_000, 101)]
    clips = [clip(length, index) for index, length in enumerate(lengths)]
    found = [encode(encoder(model, "last", False), [one])[0] for one in clips]
    assert {(shape[0], WAVEFORM_GRID.count(shape[1]) % 8) for shape in shapes} == {(1, 0)}
    assert len(set(shapes)) == 4  # 8, 16, 24 and 32 frames
    for one, features in zip(clips, found, strict=True):
        alone = forward(torch.from_numpy(one.waveform).unsqueeze(0)).frames[0]
        np.testing.assert_allclose(features, alone.detach().numpy(), rtol=0, atol=1e-5)


def test_features_are_those_of_the_models_own_method(model: Emotion2vec) -> None:
    waveform = speech(9_123, seed=4)
    expected = model.extract_features(waveform, 16_000, layers=True)
    assert expected.layers is not None

    def encoded(layers: Layers, pooled: bool) -> np.ndarray:
        return encode(encoder(model, layers, pooled), [MIXED[0], MIXED[4], MIXED[1]])[1]

    np.testing.assert_allclose(encoded("last", False), expected.frames, atol=1e-5)
    np.testing.assert_allclose(encoded("last", True), expected.utterance, atol=1e-5)
    np.testing.assert_allclose(encoded("all", False), expected.layers, atol=1e-5)
    np.testing.assert_allclose(encoded("all", True), expected.layers.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(encoded(0, False), expected.layers[0], atol=1e-5)
    np.testing.assert_allclose(encoded([2, 0], False), expected.layers[[2, 0]], atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "numbers", "stacked"),
    [
        ("last", [2], False),
        ("all", [0, 1, 2], True),
        (0, [0], False),
        (-1, [2], False),
        ("1", [1], False),
        ("0,2", [0, 2], True),
        ([1], [1], True),
        ((-3, -1), [0, 2], True),
    ],
)
def test_layers_can_be_chosen(model: Emotion2vec, layers: Layers, numbers: list[int], stacked: bool) -> None:
    assert choose_layers(layers, 3) == (numbers, stacked, None)
    for pooled in (False, True):
        chosen = encoder(model, layers, pooled)
        shape = encode(chosen, [clip(1000)])[0].shape
        assert shape == (*([len(numbers)] if stacked else []), *([] if pooled else [2]), WIDTH)
        (spec,) = chosen.layout.values()
        assert spec.shape == (*([len(numbers)] if stacked else []), *([] if pooled else [None]), WIDTH)


@pytest.mark.parametrize("layers", [3, -4, "first", "", "0,,1", "0,3", [], [0, 3], ["a"], None])
def test_a_layer_that_is_not_there_is_refused(layers: Layers) -> None:
    with pytest.raises(ConfigError, match=r"layers is .* expected last, all, block numbers from 0"):
        choose_layers(layers, DEPTH)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_is_near_and_gives_float32(model: Emotion2vec, precision: str) -> None:
    exact = encode(encoder(model), MIXED)
    for rounded, reference in zip(encode(encoder(model, precision=precision), MIXED), exact, strict=True):
        assert rounded.dtype == np.float32
        assert 0 < np.abs(rounded - reference).max() < 0.15


class Small(Encoder):
    """An encoder whose device holds only so many samples."""

    capacity = 20_000
    error: Exception = torch.OutOfMemoryError("out of memory")

    def encode(self, clips: Sequence[Waveform]) -> list[Arrays]:
        if len(clips) * max(clip.samples for clip in clips) > self.capacity:
            raise self.error
        return super().encode(clips)


def test_a_batch_that_does_not_fit_is_halved_until_it_does(model: Emotion2vec) -> None:
    clips = [*MIXED, clip(30_000, 5)]
    outcomes = list(Small(model, choice(pooled=True), precision="fp32", chunking=Chunking()).encode_safely(clips))
    expected = encode(encoder(model, pooled=True), MIXED)
    for one, outcome, features in zip(MIXED, outcomes, expected, strict=False):
        assert isinstance(outcome, EncodedAudio) and outcome.index == one.index
        np.testing.assert_allclose(outcome.features["utterance"].whole(), features, atol=1e-5)
    (fault,) = outcomes[5:]
    assert isinstance(fault, NoRoom) and fault.audio is clips[5] and fault.index == 5
    assert str(fault) == "clip 5: 2 s of audio do not fit into memory at once"


def test_an_allocation_that_fails_on_the_cpu_counts_as_out_of_memory(model: Emotion2vec) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    small = Small(model, choice(pooled=True), precision="fp32", chunking=Chunking())
    small.error = caught.value
    small.capacity = 0
    assert [type(outcome) for outcome in small.encode_safely(MIXED)] == [NoRoom] * 5


def test_other_errors_of_the_model_are_not_hidden(model: Emotion2vec) -> None:
    small = Small(model, choice(pooled=True), precision="fp32", chunking=Chunking())
    small.error = RuntimeError("shapes do not match")
    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(small.encode_safely(MIXED))


def test_features_that_are_not_finite_are_a_fault(model: Emotion2vec) -> None:
    broken = Waveform(1, "clip 1", np.full(1000, np.nan, np.float32))
    good, bad = encoder(model, precision="bf16").encode_safely([clip(1000), broken])
    assert isinstance(good, EncodedAudio)
    assert isinstance(bad, AudioFault) and "not finite; precision fp32 may help" in str(bad)


def test_the_mode_of_a_borrowed_model_is_left_alone(model: Emotion2vec) -> None:
    model.train()
    try:
        with ready_model(model, None) as (ready, precision, _):
            assert precision == "fp32" and not any(module.training for module in ready.modules())
            assert all(module.training for module in model.modules())
            assert {id(one) for one in ready.parameters()} == {id(one) for one in model.parameters()}
        assert model.training
    finally:
        model.eval()


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="model is a int, expected"), ready_model(3, None):  # type: ignore[arg-type]
        pass
