"""What is predicted: clusters of the frame at the same time, by cross-entropies as torch has them; hidden frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clusters.test_kmeans import silent
from clusters.test_labels import Alone
from distil.students import LOGMEL, WAVEFORM, save_teacher
from foreign import network as foreign_network
from foreign import write_encoder
from torch.nn import functional

from emotion2vec.audio.samples import load_audio
from emotion2vec.audio.spectral import mfcc
from emotion2vec.checkpoint import load_model
from emotion2vec.clusters.frames import CepstralFrames, ModelFrames
from emotion2vec.clusters.labels import Task, read_clusters
from emotion2vec.clusters.network import NOTHING, ClusterNetwork
from emotion2vec.clusters.objective import ClusterPrediction, Drawing
from emotion2vec.clusters.settings import ClusterSettings, HiddenSettings
from emotion2vec.data.corpus import open_corpus
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.order import Position
from emotion2vec.model.hidden import Hidden

CPU = torch.device("cpu")
SHARES = HiddenSettings(share=0.4, span=3, seen=0.25)


def objective(
    folder: Path, speech: Path, student: dict[str, Any], frames: Any = None, hidden: HiddenSettings = SHARES
) -> ClusterPrediction:
    """A student of another kind than what is clustered, unless frames are given."""
    encoder = load_model(save_teacher(folder / "student", **student))
    frames = frames or ModelFrames(str(save_teacher(folder / "teacher", **LOGMEL)), [1, 3], CPU)
    settings = ClusterSettings(layers=frames.layers, counts=[4, 7], batch=200)
    network = ClusterNetwork(encoder, [4, 7] * len(frames.layers), 0, hides=hidden.share > 0)
    found = ClusterPrediction(network, Task(folder / "c", frames, settings, 0, {}), Drawing(5, hidden))
    sources = open_corpus([str(speech)], min_samples=800, max_bad_share=0, workers=0).sources
    found.prepare(sources, Alone(), silent)  # type: ignore[arg-type]
    return found


def crops(speech: Path, *, step: int = 320) -> MicroBatch:
    """Stretches of three clips from multiples of a step on, of their own lengths, as training cuts them."""
    names, starts, lengths = ["clip3", "clip0", "clip7"], [step * 7, 0, step * 11], [6_000, 6_400, 3_999]
    waves = [load_audio(speech / f"{name}.wav") for name in names]
    rows = torch.zeros(3, max(lengths))
    for row, wave, start, length in zip(rows, waves, starts, lengths, strict=True):
        row[:length] = torch.from_numpy(wave[start : start + length])
    keys = [f"{name}+1" for name in names]
    return MicroBatch(rows, names, Position(), lengths=torch.tensor(lengths), starts=starts, keys=keys)


@pytest.mark.parametrize("student", [LOGMEL, WAVEFORM], ids=["logmel", "waveform"])
@pytest.mark.parametrize("kind", ["model", "cepstra"])
def test_labels_are_those_of_the_frame_that_is_nearest_in_the_whole_clip(
    student: dict[str, Any], kind: str, speech: Path, tmp_path: Path
) -> None:
    found = objective(tmp_path, speech, student, CepstralFrames() if kind == "cepstra" else None)
    frames, batch = found.task.frames, crops(speech)
    labels = found.inputs(batch, 1, 0)[2].numpy()
    clusters = read_clusters(found.task.folder, found.task.settings)
    ours, theirs, near = found.model.config.grid, frames.grid, 0
    for name, start, length, own in zip(batch.ids, batch.starts, batch.lengths.tolist(), labels, strict=True):  # type: ignore[union-attr]
        heard = frames(load_audio(speech / f"{name}.wav"))
        whole, _ = clusters.label(dict(zip(frames.layers, heard, strict=True)))
        for frame, row in enumerate(own):
            time = start + ours.center + 320 * frame
            nearest = round((time - theirs.center) / 320)
            if frame >= ours.count(length) or not 0 <= nearest < len(whole):
                assert (row == NOTHING).all()
            elif (row != NOTHING).any():
                assert row.tolist() == whole[nearest].tolist()
                near += 1
    assert near >= sum(ours.count(length) for length in batch.lengths.tolist()) - 3  # type: ignore[union-attr]


def test_the_test_above_sees_labels_that_are_a_frame_off(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotion2vec.distil.stored import StoredFeatures

    frames = StoredFeatures.frames
    monkeypatch.setattr(StoredFeatures, "frames", lambda self, name, first, count: frames(self, name, first + 1, count))
    with pytest.raises(AssertionError):
        test_labels_are_those_of_the_frame_that_is_nearest_in_the_whole_clip(LOGMEL, "model", speech, tmp_path)


@pytest.mark.parametrize("hidden", [SHARES, HiddenSettings(share=0.0)], ids=["hidden", "all seen"])
def test_the_loss_is_torchs_over_hidden_frames_and_over_others(
    hidden: HiddenSettings, speech: Path, tmp_path: Path
) -> None:
    found = objective(tmp_path, speech, WAVEFORM, hidden=hidden)
    batch, network = crops(speech), found.network.eval()
    assert isinstance(network, ClusterNetwork)
    waveforms, padding, labels, mask, skipped = found.inputs(batch, 3, 0)
    assert (mask is None) == (hidden.share == 0) and padding is not None
    counts = found.counts(batch)
    output = network(waveforms, padding, labels, mask, skipped)
    vector = network.vector
    seen = network.encoder(waveforms, padding, None if mask is None else Hidden(mask, vector)).frames  # type: ignore[arg-type]
    known = labels[..., 0] != NOTHING
    groups = [(known if mask is None else known & ~mask, hidden.seen if hidden.share else 1.0)]
    groups += [] if mask is None else [(mask, 1.0)]
    total, right = torch.zeros(()), []
    for rows, weight in groups:
        scores = [layer(seen[rows]) for layer in network.outputs]
        losses = [functional.cross_entropy(score, labels[rows][:, z]) for z, score in enumerate(scores)]
        total = total + weight * torch.stack(losses).mean()
        right.append([100 * (score.argmax(1) == labels[rows][:, z]).float().mean() for z, score in enumerate(scores)])
    torch.testing.assert_close(found.loss(output, counts), total)
    metrics = found.metrics(found.sums([output]), counts)
    assert float(metrics["loss"]) == pytest.approx(float(total), rel=1e-5)
    assert float(metrics["seen_accuracy"]) == pytest.approx(float(np.mean(right[0])))
    if mask is not None:
        assert (mask.sum(1) == torch.tensor([int(0.4 * int(one)) for one in known.sum(1)])).all()
        assert counts == {"hidden": float(mask.sum()), "seen": float((known & ~mask).sum())}
        assert float(metrics["hidden_accuracy_layer3_k7"]) == pytest.approx(float(right[1][3]))
        others = (found.inputs(batch, 4, 0)[3], found.inputs(replace(batch, keys=["x", "y", "z"]), 3, 0)[3])
        assert torch.equal(mask, found.inputs(batch, 3, 0)[3]) and not any(torch.equal(mask, one) for one in others)


def test_clips_without_labels_are_left_out_and_named(
    speech: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = objective(tmp_path, speech, LOGMEL)
    batch = replace(crops(speech), ids=["clip3", "stranger", "clip7"])
    labels = found.inputs(batch, 1, 0)[2]
    assert (labels[1] == NOTHING).all() and (labels[0] != NOTHING).any()
    assert "stranger: " in caplog.text and "training goes on without this clip" in caplog.text


def test_what_is_frozen_does_not_learn_and_stays_as_it_is(tmp_path: Path) -> None:
    encoder = load_model(save_teacher(tmp_path / "m", **{**WAVEFORM, "dropout": 0.5}))
    network = ClusterNetwork(encoder, [3], 3, hides=True).train()
    learning = {name.rpartition(".")[0] for name, p in network.named_parameters() if p.requires_grad}
    parts = encoder.parts()
    assert [part.modules[0].training for part in parts] == [False, False, False, True, True]
    assert not any("frontend" in name or "prenet" in name for name in learning) and "outputs.0" in learning


@pytest.mark.parametrize("kind", [LOGMEL, WAVEFORM, "hubert base", "wavlm large", "wav2vec2 large"])
def test_blocks_see_nothing_of_hidden_frames(kind: Any, tmp_path: Path) -> None:
    if isinstance(kind, str):
        write_encoder(tmp_path / "m", kind)
    encoder = load_model(tmp_path / "m" if isinstance(kind, str) else save_teacher(tmp_path / "m", **kind))
    random, vector = torch.Generator().manual_seed(0), torch.linspace(-1, 1, encoder.config.width)
    one, other = torch.randn(2, 2, 6_400, generator=random)
    padding = torch.arange(6_400) >= torch.tensor([[6_400], [5_000]])
    frames = int(encoder.config.grid.count(6_400))
    every = Hidden(torch.ones(2, frames, dtype=torch.bool), vector)
    with torch.no_grad():
        assert torch.equal(encoder(one, padding, every).frames[0], encoder(other, padding, every).frames[0])
        some = Hidden(torch.rand(2, frames, generator=random) < 0.5, vector)
        both = encoder(one, padding, some)
        assert not torch.allclose(both.frames[0], encoder(one, padding).frames[0])
        count = int(encoder.config.grid.count(5_000))
        alone = encoder(one[1:, :5_000], None, Hidden(some.mask[1:, :count], vector))
    torch.testing.assert_close(both.frames[1, :count], alone.frames[0], atol=1e-4, rtol=1e-4)


def test_hidden_frames_are_those_of_transformers(tmp_path: Path) -> None:
    """Of a HuBERT that masks by itself."""
    theirs = foreign_network("hubert large", mask_time_prob=0.5, apply_spec_augment=True)
    write_encoder(tmp_path / "m", "hubert large")
    encoder = load_model(tmp_path / "m")
    waveforms = torch.randn(2, 6_400, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(2, int(encoder.config.grid.count(6_400)), generator=torch.Generator().manual_seed(1)) < 0.5
    with torch.no_grad():
        expected = theirs(waveforms, mask_time_indices=mask).last_hidden_state
        found = encoder(waveforms, None, Hidden(mask, theirs.masked_spec_embed)).frames
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("samples", [400, 719, 720, 16_000, 12_345])
def test_cepstra_have_the_slopes_of_lines_through_five_frames(samples: int) -> None:
    clip = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    (found,) = CepstralFrames()(clip)
    cepstra = mfcc(clip)[:, :13]
    assert found.shape == (CepstralFrames.grid.count(samples), 39)
    padded = np.pad(cepstra, ((4, 4), (0, 0)), mode="edge")
    slopes = [np.polyfit(np.arange(-2, 3), padded[t - 2 : t + 3], 1)[0] for t in range(2, len(padded) - 2)]
    again = [np.polyfit(np.arange(-2, 3), np.array(slopes)[t - 2 : t + 3], 1)[0] for t in range(2, len(slopes) - 2)]
    expected = np.concatenate([cepstra, np.array(slopes)[2:-2], np.array(again)], axis=1)
    np.testing.assert_allclose(found, expected[::2], atol=1e-3)
