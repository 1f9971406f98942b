"""Audio in windows and in streams, against one pass. S: samples. T: frames. D: model width."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from extraction.helpers import WIDTH, speech

import emotion2vec
from emotion2vec.audio.frames import WAVEFORM_GRID
from emotion2vec.audio.samples import load_audio, normalize
from emotion2vec.audio.windows import Chunking, Window, cut_windows, plan_windows
from emotion2vec.errors import AudioError, ConfigError
from emotion2vec.extraction import extract
from emotion2vec.extraction.encode.choices import FeatureChoice
from emotion2vec.extraction.encode.encoder import Encoder
from emotion2vec.extraction.sources.decoding import Hearing, LongWaveform, Statistics, Undecoded, decode
from emotion2vec.extraction.streaming import StreamOptions, stream_features
from emotion2vec.model.encoder import Emotion2vec, Encoded

CHUNKING = Chunking(2.0, 1.0)


def blocks(samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
    yield from (samples[start : start + size] for start in range(0, samples.size, size))


@pytest.mark.parametrize("samples", [400, 31_999, 32_000, 32_080, 32_400, 48_000, 100_001, 1_000_000])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0, 1.8])
def test_windows_give_every_frame_once_and_lie_inside(samples: int, overlap: float) -> None:
    windows = plan_windows(samples, Chunking(2.0, overlap), WAVEFORM_GRID)
    given = [w.start // 320 + w.skip + i for w in windows for i in range(w.keep)]
    assert given == list(range(WAVEFORM_GRID.count(samples)))
    assert all(w.start % 320 == 0 and w.start + w.samples <= samples for w in windows)
    assert all(w.skip + w.keep <= WAVEFORM_GRID.count(w.samples) for w in windows)
    if len(windows) > 1:
        assert {w.samples for w in windows} <= {windows[0].samples} and windows[0].samples <= 32_000
        for w in windows[1:]:
            assert w.skip >= (int(overlap * 50) - 1) // 2


@pytest.mark.parametrize("size", [37, 5_000, 31_000, 200_000])
def test_windows_are_cut_out_of_any_blocks(size: int) -> None:
    samples = speech(150_000)
    windows = plan_windows(samples.size, CHUNKING, WAVEFORM_GRID)
    for window, found in zip(windows, cut_windows(blocks(samples, size), windows), strict=True):
        np.testing.assert_array_equal(found, samples[window.start : window.start + window.samples])
    with pytest.raises(AudioError, match="did the file change"):
        list(cut_windows(blocks(samples[:-5_000], size), windows))


def test_windows_within_what_a_model_hears_share_a_third_at_most() -> None:
    asked = Chunking(40.0, 10.0)
    assert asked.within(0) is asked.within(40) is asked.within(60) is asked
    assert asked.within(36) == Chunking(36, 10)
    assert asked.within(12) == Chunking(12, 4)
    assert not asked.within(2).faults()


@pytest.mark.parametrize("size", [1, 7, 100, 1_000])
def test_windows_with_gaps_between_them_are_cut_out_too(size: int) -> None:
    samples = np.arange(400, dtype=np.float32)
    windows = [Window(start, length, 0, 1) for start, length in ((10, 5), (12, 3), (40, 20), (60, 40), (300, 100))]
    found = list(cut_windows((samples[first : first + size] for first in range(0, 400, size)), windows))
    assert [part.tolist() for part in found] == [samples[w.start : w.start + w.samples].tolist() for w in windows]


def test_statistics_of_blocks_are_those_of_the_whole() -> None:
    samples = speech(100_000) + 0.7
    statistics = Statistics()
    for block in blocks(samples, 777):
        statistics.add(block)
    assert statistics.count == samples.size
    assert statistics.mean == pytest.approx(samples.mean(dtype=np.float64), abs=1e-12)
    assert statistics.variance == pytest.approx(samples.astype(np.float64).var(), rel=1e-12)


def test_long_audio_is_normalized_over_the_whole_file() -> None:
    samples = np.concatenate([speech(40_000), 0.01 * speech(60_000, seed=1)]) + np.float32(0.1)
    source = Undecoded(0, "long", lambda **_: blocks(samples, 3_000))
    (clip,) = decode([source], workers=1, hearing=Hearing(400, 32_000, normalizes=True))
    assert isinstance(clip, LongWaveform)
    np.testing.assert_allclose(np.concatenate(list(clip.blocks())), normalize(samples), atol=1e-6)


@pytest.mark.parametrize("layers", [False, True])
def test_a_model_cuts_long_audio_as_the_library_does(
    model: Emotion2vec, monkeypatch: pytest.MonkeyPatch, layers: bool
) -> None:
    samples, seen, forward = speech(1_600_000), [], model.forward  # 100 s

    def spy(waveforms: torch.Tensor, padding: torch.Tensor | None = None) -> Encoded:
        seen.append(waveforms.shape[1])
        return forward(waveforms, padding)

    monkeypatch.setattr(model, "forward", spy)
    own = model.extract_features(samples, 16_000, layers=layers)
    assert max(seen) <= 40 * 16_000 and len(seen) == 4  # whatever grows with the length of what it sees is bounded
    library = emotion2vec.extract_features(samples, 16_000, model=model, layers=layers)
    assert own.frames.shape == (WAVEFORM_GRID.count(1_600_000), WIDTH)
    np.testing.assert_allclose(own.frames, library.frames, atol=1e-5)
    if layers:
        assert own.layers is not None and library.layers is not None
        np.testing.assert_allclose(own.layers, library.layers, atol=1e-5)


@pytest.mark.parametrize("granularity", ["frame", "utterance", "both"])
def test_long_audio_is_near_one_pass(model: Emotion2vec, tmp_path: Path, granularity: str) -> None:
    samples = speech(200_000)
    soundfile.write(tmp_path / "long.wav", samples, 16_000, subtype="FLOAT")
    arrays = {}
    for name, seconds, overlap in [("one", 60.0, 10.0), ("windows", 4.0, 2.0)]:
        extract(
            tmp_path / "long.wav", model=model, output=tmp_path / name, granularity=granularity,
            chunk_seconds=seconds, chunk_overlap=overlap,
        )  # fmt: skip
        arrays[name] = [np.load(path) for path in sorted((tmp_path / name).glob("*.npy"))]
    for one, windows in zip(arrays["one"], arrays["windows"], strict=True):
        assert one.shape == windows.shape and windows.shape[-1] == WIDTH
        cosine = (one * windows).sum(-1) / np.linalg.norm(one, axis=-1) / np.linalg.norm(windows, axis=-1)
        assert cosine.min() > 0.98


def test_utterance_features_of_long_audio_are_those_of_all_its_frames(model: Emotion2vec) -> None:
    clip = LongWaveform(Undecoded(0, "x", lambda **_: blocks(speech(200_000), 9_999)), 200_000, 0.0, 3.0)
    encoder = Encoder(
        model, FeatureChoice(granularity="both", pooling="mean+std", layers="all", downsample=3),
        precision="fp32", chunking=CHUNKING,
    )  # fmt: skip
    fine = Encoder(model, FeatureChoice(layers="all"), precision="fp32", chunking=CHUNKING)
    arrays = {name: array.whole() for name, array in encoder.encode_long(clip).items()}
    frames = fine.encode_long(clip)["frames"].whole()  # (L, T, D)
    expected = np.concatenate([frames.mean(axis=1), frames.std(axis=1)], axis=1)
    np.testing.assert_allclose(arrays["utterance"], expected, atol=1e-4)
    total = frames.shape[1]
    for t in (0, 100, (total - 1) // 3):
        np.testing.assert_allclose(arrays["frames"][:, t], frames[:, 3 * t : 3 * t + 3].mean(axis=1), atol=1e-5)
    assert arrays["frames"].shape[1] == -(-total // 3)


def test_a_file_that_shrinks_between_the_passes_fails_alone(model: Emotion2vec, tmp_path: Path) -> None:
    path = tmp_path / "in" / "long.wav"
    path.parent.mkdir()
    soundfile.write(path, speech(300_000), 16_000)
    soundfile.write(tmp_path / "in" / "a.wav", speech(5_000), 16_000)
    original, calls = LongWaveform.blocks, []

    def shrink(self: LongWaveform) -> Iterator[np.ndarray]:
        calls.append(soundfile.write(path, speech(100_000), 16_000))
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LongWaveform, "blocks", shrink)
        report = extract(tmp_path / "in", model=model, output=tmp_path / "out", chunk_seconds=2, chunk_overlap=1)
    assert calls and report.written == 1 and "did the file change" in report.failed[0].reason
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.npy", "failed.jsonl", "inputs.jsonl", "job.json"]


def test_windows_that_cannot_be_are_refused() -> None:
    for seconds, overlap in [(0.5, 0.0), (10.0, -1.0), (10.0, 10.0), (float("nan"), 0.0)]:
        faults = Chunking(seconds, overlap).faults()
        assert faults and all(fault.startswith("chunk_") for fault in faults)


# Streams


@pytest.mark.parametrize("chunk", [160, 4_000, 50_000])
def test_a_stream_gives_every_frame_once_and_in_time(model: Emotion2vec, chunk: int) -> None:
    samples, options = speech(80_000), StreamOptions(hop=0.5, lookahead=0.3, context=1.0)
    fed = 0

    def live() -> Iterator[np.ndarray]:
        nonlocal fed
        for block in blocks(samples, chunk):
            fed += block.size
            yield block

    frames, sums = 0, np.zeros(WIDTH)
    for step in stream_features(live(), 16_000, model=model, options=options):
        assert step.start == pytest.approx(frames * 0.02)
        frames += len(step.frames)
        sums += step.frames.sum(axis=0)
        np.testing.assert_allclose(step.utterance, sums / frames, atol=1e-5)
        if fed < samples.size:  # its first frame waited no longer than promised, and for the chunk that it was in
            assert fed / 16_000 - step.start <= options.latency + 0.025 + 0.02 + chunk / 16_000
    assert frames == WAVEFORM_GRID.count(samples.size)


def test_a_stream_that_sees_everything_is_one_pass(model: Emotion2vec) -> None:
    samples = speech(30_000)
    options = StreamOptions(hop=60, lookahead=60, context=60)
    (step,) = stream_features(blocks(samples, 1_000), 16_000, model=model, options=options)
    np.testing.assert_allclose(step.frames, model.extract_features(samples, 16_000).frames, atol=1e-4)


def test_a_stream_is_resampled_and_refuses_what_is_no_audio(model: Emotion2vec, tmp_path: Path) -> None:
    samples = (speech(44_100) * 32_767).astype(np.int16)
    soundfile.write(tmp_path / "x.wav", samples, 44_100)
    steps = list(stream_features(blocks(samples, 5_000), 44_100, model=model))
    assert sum(len(step.frames) for step in steps) == WAVEFORM_GRID.count(load_audio(tmp_path / "x.wav").size)
    for bad in (np.full(10, np.nan), np.zeros((2, 10)), np.zeros(10, np.int64)):
        with pytest.raises(AudioError, match="chunk 0"):
            list(stream_features([bad], 16_000, model=model))
    with pytest.raises(ConfigError, match=r"hop is 0.*lookahead is -1"):
        list(stream_features([], 16_000, model=model, options=StreamOptions(hop=0, lookahead=-1)))
    assert list(stream_features([np.zeros(100)], 16_000, model=model)) == []


def test_windows_that_do_not_fit_into_memory_are_a_fault(
    model: Emotion2vec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The long file fails with a hint; the short one is done."""
    soundfile.write(tmp_path / "long.wav", speech(64_000), 16_000)
    soundfile.write(tmp_path / "short.wav", speech(16_000), 16_000)
    encode = Encoder._run

    def run(self: Encoder, waveforms: torch.Tensor, padding: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        if waveforms.shape[1] > 20_000:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return encode(self, waveforms, padding)

    monkeypatch.setattr(Encoder, "_run", run)
    report = extract(tmp_path, model=model, output=tmp_path / "out", chunk_seconds=2.0, chunk_overlap=0.5)
    assert report.written == 1
    assert [fault.where for fault in report.failed] == [str(tmp_path / "long.wav")]
    assert "a window of 2 s does not fit into memory; a smaller chunk_seconds may" in report.failed[0].reason
