"""Networks on log-mel bands through the whole of extraction: audio as recorded, windows, padding, graphs, training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from networks import TINY, tiny_config

import emotion2vec
from emotion2vec.audio.frames import FrameGrid
from emotion2vec.audio.windows import Chunking, plan_windows
from emotion2vec.checkpoint.native import save_model
from emotion2vec.errors import CheckpointError
from emotion2vec.extraction.streaming import StreamOptions
from emotion2vec.model.encoder import Emotion2vec

MEL = ["model.frontend=logmel", "model.kernels=[3,3]", "model.strides=[1,2]", "model.channels=24"]
WHISPER = [*MEL, "model.norm=pre", "model.final_norm=true", "model.positions=sinusoid", "model.max_frames=150"]


@pytest.fixture(scope="module")
def mel_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network of Whisper's kind that knows 3 s at once."""
    folder = tmp_path_factory.mktemp("mel") / "model"
    config = tiny_config(*WHISPER, "model.tokens=0", "loss.utterance=none").model
    torch.manual_seed(0)
    save_model(folder, config, Emotion2vec(config).state_dict())
    return folder


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    samples = round(16_000 * seconds)
    rng = np.random.default_rng(seed)
    return (0.1 * rng.normal(size=samples) * np.abs(np.sin(np.arange(samples) / 3000))).astype(np.float32)


def test_audio_is_heard_as_recorded(mel_model: Path, tmp_path: Path) -> None:
    model, waveform = emotion2vec.load_model(mel_model), sound(1.5)
    soundfile.write(tmp_path / "a.wav", waveform, 16_000, subtype="FLOAT")
    with torch.no_grad():
        expected = model(torch.from_numpy(waveform).unsqueeze(0)).frames[0].numpy()
    assert len(expected) == 75
    np.testing.assert_allclose(model.extract_features(tmp_path / "a.wav").frames, expected, atol=1e-5)
    (features,) = emotion2vec.extract_features([tmp_path / "a.wav"], model=model)
    np.testing.assert_allclose(features.frames, expected, atol=1e-5)
    loud = model.extract_features(4 * waveform, 16_000).frames
    assert float(np.abs(loud - expected).max()) > 0.01  # loudness is heard


def test_longer_audio_than_the_network_knows_is_cut_into_windows(mel_model: Path) -> None:
    model, waveform = emotion2vec.load_model(mel_model), sound(10.03)
    own = model.extract_features(waveform, 16_000).frames
    (features,) = emotion2vec.extract_features([waveform], 16_000, model=model)
    assert own.shape == features.frames.shape == (model.config.grid.count(waveform.size), 32)
    np.testing.assert_allclose(features.frames, own, atol=1e-5)
    windows = plan_windows(waveform.size, Chunking().within(3.0), model.config.grid)
    assert len(windows) > 3 and all(window.samples <= 48_000 + 320 for window in windows)


def test_windows_of_a_padded_grid_reach_the_end() -> None:
    grid = FrameGrid.of_mel((3, 3), (1, 2))
    for samples in range(160_000, 160_700, 37):
        windows = plan_windows(samples, Chunking(3.0, 1.0), grid)
        assert windows[-1].start + windows[-1].samples == samples
        assert sum(window.keep for window in windows) == grid.count(samples)
        assert all(window.skip + window.keep <= grid.count(window.samples) for window in windows)


def test_clips_in_one_job_are_the_clips_alone(mel_model: Path, tmp_path: Path) -> None:
    lengths = [0.8, 1.234, 0.5, 2.9, 7.7]
    for number, seconds in enumerate(lengths):
        soundfile.write(tmp_path / f"{number}.wav", sound(seconds, number), 16_000, subtype="FLOAT")
    from emotion2vec.extraction import extract

    report = extract(tmp_path, model=mel_model, output=tmp_path / "out")
    assert report.written == len(lengths)
    model = emotion2vec.load_model(mel_model)
    for number in range(len(lengths)):
        found = np.load(tmp_path / "out" / f"{number}.npy")
        np.testing.assert_allclose(found, model.extract_features(tmp_path / f"{number}.wav").frames, atol=1e-5)


def test_live_audio_gives_all_frames(mel_model: Path) -> None:
    model, waveform = emotion2vec.load_model(mel_model), sound(5.0)
    blocks = [waveform[start : start + 1600] for start in range(0, waveform.size, 1600)]
    steps = list(emotion2vec.stream_features(blocks, 16_000, model=model, options=StreamOptions(context=2.0)))
    assert sum(len(step.frames) for step in steps) == model.config.grid.count(waveform.size)


def test_graphs_compute_the_same(mel_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    done = emotion2vec.export(mel_model, tmp_path / "mel.onnx", format="onnx")
    assert done is not None  # it compares itself with the network before it is kept


def test_other_tools_cannot_hold_it(mel_model: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="frontend is 'logmel', expected 'waveform'"):
        emotion2vec.convert(mel_model, tmp_path / "x.pt", to="fairseq")


def test_a_hugging_face_folder_hears_it_as_recorded(mel_model: Path, tmp_path: Path) -> None:
    emotion2vec.convert(mel_model, tmp_path / "hf", to="huggingface")
    transformers = pytest.importorskip("transformers")
    from emotion2vec.integrations.huggingface import register

    register()
    waveform = sound(1.0)
    inputs = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "hf")(
        waveform, sampling_rate=16_000, return_tensors="pt"
    )
    with torch.no_grad():
        found = transformers.AutoModel.from_pretrained(tmp_path / "hf")(**inputs).last_hidden_state[0]
    expected = emotion2vec.load_model(mel_model).extract_features(waveform, 16_000).frames
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("settings", [MEL, WHISPER])
def test_a_network_on_mel_bands_is_pretrained(settings: list[str], speech: Path, tmp_path: Path) -> None:
    from emotion2vec.pretrain.config import load_config
    from emotion2vec.pretrain.run import pretrain

    overrides = [*TINY, *settings, f"data.train={speech}", f"run.dir={tmp_path / 'run'}", "log.progress=false"]
    result = pretrain(load_config(None, [*overrides, "checkpoint.every=4"]), say=lambda text: None)
    assert result.update == 4
    assert emotion2vec.load_model(tmp_path / "run").config.frontend == "logmel"
