"""The log-mel front end, beside transformers' feature extractor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import tiny_config

from emotion2vec.audio.frames import WAVEFORM_GRID, FrameGrid
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.logmel import LogMel, MelFrontend, slaney_filters

MEL = ["model.frontend=logmel", "model.channels=24", "model.kernels=[3,3]", "model.strides=[1,2]"]


def noise(samples: int, seed: int = 0) -> np.ndarray:
    """Noise that grows from silence."""
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 0.1, samples) * np.linspace(0, 1, samples)).astype(np.float32)


@pytest.mark.parametrize("bands", [80, 128])
def test_filters_are_those_of_transformers(bands: int) -> None:
    from transformers.audio_utils import mel_filter_bank

    expected = mel_filter_bank(201, bands, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(slaney_filters(bands), expected.T, atol=1e-12)


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("samples", [480_000, 20_001, 16_000, 400, 479])
def test_bands_are_those_of_transformers(bands: int, samples: int) -> None:
    from transformers import WhisperFeatureExtractor

    waveform = noise(samples)
    extractor = WhisperFeatureExtractor(feature_size=bands)
    expected = extractor(waveform, sampling_rate=16_000, padding=False, return_tensors="np").input_features[0]
    found = LogMel(bands)(torch.from_numpy(waveform).unsqueeze(0))[0]
    assert found.shape == (samples // 160, bands)
    np.testing.assert_allclose(found.T.numpy(), expected, atol=3e-5)


def test_an_utterance_alone_is_the_same_in_a_padded_batch() -> None:
    front = MelFrontend(80, 16, 24, (3, 3), (1, 2)).eval()
    torch.nn.init.normal_(front.layers[0].bias)  # what is after an utterance would not be zero
    lengths = [16_000, 15_999, 9_001, 400]
    rows = torch.full((len(lengths), 16_000), 9.0)
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = torch.from_numpy(noise(length, seed=length))
    with torch.no_grad():
        together = front(rows, torch.tensor(lengths))
        for row, encoded, length in zip(rows, together, lengths, strict=True):
            alone = front(row[None, :length])[0]
            torch.testing.assert_close(encoded[: len(alone)], alone, atol=1e-5, rtol=1e-5)


def test_a_network_on_mel_bands_does_not_see_padding() -> None:
    config = tiny_config(*MEL, "model.positions=sinusoid", "model.norm=pre", "model.final_norm=true").model
    torch.manual_seed(0)
    model = Emotion2vec(config).eval()
    short = torch.from_numpy(noise(9_001))
    rows = torch.full((2, 16_000), 5.0)
    rows[0, :9_001], rows[1] = short, torch.from_numpy(noise(16_000, 1))
    padding = torch.arange(16_000).unsqueeze(0) >= torch.tensor([[9_001], [16_000]])
    with torch.no_grad():
        together, alone = model(rows, padding), model(short.unsqueeze(0))
    count = alone.frames.shape[1]
    assert together.padding is not None
    assert (~together.padding).sum(dim=1).tolist() == [count, 50]
    torch.testing.assert_close(together.frames[0, :count], alone.frames[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.tokens[0], alone.tokens[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kernels", "strides"), [((3, 3), (1, 2)), ((3,), (2,)), ((5, 3, 3), (1, 1, 2))])
def test_grid_counts_the_frames_that_come_out(kernels: tuple[int, ...], strides: tuple[int, ...]) -> None:
    grid, front = FrameGrid.of_mel(kernels, strides), MelFrontend(8, 4, 6, kernels, strides)
    lengths = [*range(400, 1400, 37), 1599, 1600, 1601, 1919, 1920]
    with torch.no_grad():
        found = [front(torch.zeros(1, length)).shape[1] for length in lengths]
    assert found == [grid.count(length) for length in lengths]
    assert found == grid.count(torch.tensor(lengths)).tolist()
    for frames in range(1, 9):
        least = grid.samples(frames)
        assert grid.count(least) == frames
        assert grid.count(least - 1) == frames - 1


def test_grid_of_the_waveform_is_the_convolutions_arithmetic() -> None:
    grid = FrameGrid.of_waveform()
    assert grid.stride == 320
    assert [grid.count(samples) for samples in range(0, 2000, 7)] == [WAVEFORM_GRID.count(s) for s in range(0, 2000, 7)]
    assert [grid.samples(frames) for frames in (1, 2, 50)] == [400, 720, 400 + 49 * 320]
