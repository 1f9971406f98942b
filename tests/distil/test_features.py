"""Features that are computed once: what is kept, taken up again after a kill, refused, and trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from distil.students import LOGMEL, WAVEFORM, save_teacher, student_config
from training.helpers import metrics, tensors

from emotion2vec.audio.samples import load_audio
from emotion2vec.checkpoint import load_model
from emotion2vec.data import pieces
from emotion2vec.data.corpus import open_corpus
from emotion2vec.distil import features, run
from emotion2vec.distil.features import compute_features
from emotion2vec.distil.stored import StoredFeatures
from emotion2vec.distil.teacher import Taught, Teacher
from emotion2vec.errors import ConfigError, StorageError


class Alone:
    """One process."""

    rank, size = 0, 1

    def main_only(self, work):
        return work()

    def raise_together(self, error):
        if error is not None:
            raise error


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_teacher(tmp_path_factory.mktemp("teacher") / "t", labels=["a", "b"], **WAVEFORM)


def teacher_of(path: Path, layers: list[int] = [2, 3], *, soft: bool = False) -> Teacher:  # noqa: B006
    return Teacher(str(path), layers, torch.device("cpu"), torch.float32, soft=soft)


def compute(folder: Path, teacher: Teacher, speech: Path) -> list[str]:
    said: list[str] = []
    corpus = open_corpus([str(speech)], min_samples=8_000, max_bad_share=0, workers=0)
    compute_features(folder, teacher, corpus.sources, Alone(), said.append)  # type: ignore[arg-type]
    return said


def test_whole_clips_are_kept_as_the_model_says_them(path: Path, speech: Path, tmp_path: Path) -> None:
    said = compute(tmp_path / "f", teacher_of(path, soft=True), speech)
    model, stored = load_model(path), StoredFeatures(tmp_path / "f")
    assert len(stored.places) == 10
    total = 0
    for name in stored.places:
        found = model.extract_features(
            speech / name if (speech / name).exists() else speech / f"{name}.wav", layers=True
        )
        assert found.layers is not None
        kept = stored.frames(name, 0, found.layers.shape[1])
        assert kept is not None and kept.dtype == np.float16
        np.testing.assert_allclose(kept.transpose(1, 0, 2), found.layers[[1, 2]], rtol=2e-3, atol=2e-3)
        assert stored.frames(name, 1, found.layers.shape[1]) is None
        total += kept.nbytes
        scores = stored.scores(name)
        assert scores is not None and model.head is not None
        expected = model.head(torch.from_numpy(found.layers[-1:]))[0].detach().numpy()
        np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-4)
    assert "layers 2, 3 and the head, of 10 clips" in said[0] and f"{total / 1e9:.2f} GB" in said[0]


def test_a_killed_computation_goes_on_where_it_was(
    path: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_SECONDS", 2.0)
    compute(tmp_path / "whole", teacher_of(path), speech)
    write, calls = features._write_part, []

    def dying(folder: Path, *rest: object) -> None:
        calls.append(folder.name)
        if len(calls) == 3:
            (folder.parent / f".{folder.name}.partial").mkdir()  # what a kill leaves
            raise KeyboardInterrupt
        write(folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(features, "_write_part", dying)
    with pytest.raises(KeyboardInterrupt):
        compute(tmp_path / "parts", teacher_of(path), speech)
    said = compute(tmp_path / "parts", teacher_of(path), speech)
    whole = sorted((tmp_path / "whole").glob("part_*"))
    assert len(whole) > 4 and calls[2:4] == ["part_00002", "part_00002"] and len(calls) == len(whole) + 1
    assert f"part 1 of {len(whole) - 2}" in said[1]
    for part in whole:
        again = tmp_path / "parts" / part.name
        assert (part / "frames.npy").read_bytes() == (again / "frames.npy").read_bytes()
        assert (part / "clips.json").read_bytes() == (again / "clips.json").read_bytes()
    assert compute(tmp_path / "parts", teacher_of(path), speech) == []  # nothing is left to compute


def test_features_of_something_else_are_refused_with_both(path: Path, speech: Path, tmp_path: Path) -> None:
    compute(tmp_path / "f", teacher_of(path), speech)
    other = save_teacher(tmp_path / "other", seed=9, **WAVEFORM)
    fewer = tmp_path / "fewer"
    shutil.copytree(speech, fewer)
    (fewer / "clip3.wav").unlink()
    for teacher, corpus, words in (
        (teacher_of(other), speech, ["whose teacher differ", str(path), str(other)]),
        (teacher_of(path, [1, 3]), speech, ["whose layers differ", "layers 2, 3", "layers 1, 3"]),
        (teacher_of(path), fewer, ["whose corpus differ", "10 clips", "9 clips"]),
        (teacher_of(path, soft=True), speech, ["whose layers differ", "and the head"]),
    ):
        with pytest.raises(ConfigError) as raised:
            compute(tmp_path / "f", teacher, corpus)
        assert all(word in str(raised.value) for word in words), str(raised.value)
    shutil.move(path, path.with_name("moved"))  # the same weights elsewhere are the same teacher
    try:
        assert compute(tmp_path / "f", teacher_of(path.with_name("moved")), speech) == []
    finally:
        shutil.move(path.with_name("moved"), path)


@pytest.mark.parametrize(
    "header", ["{", "[]", "[" * 100_000, '{"format": "x", "format_version": 1}', '{"format": "emotion2vec-taught"}']
)
def test_what_is_no_folder_of_features_is_left_alone(path: Path, speech: Path, tmp_path: Path, header: str) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "features.json").write_text(header)
    with pytest.raises(ConfigError, match="features"):
        compute(tmp_path / "f", teacher_of(path), speech)
    with pytest.raises(ConfigError, match="holds no features"):
        compute(speech, teacher_of(path), speech)


def test_no_room_is_said_before_anything_is_computed(
    path: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(StorageError, match="GB free, expected"):
        compute(tmp_path / "f", teacher_of(path), speech)
    assert not [*(tmp_path / "f").iterdir()]


def test_a_damaged_part_is_named(path: Path, speech: Path, tmp_path: Path) -> None:
    compute(tmp_path / "f", teacher_of(path), speech)
    (tmp_path / "f" / "part_00000" / "frames.npy").write_bytes(b"x")
    with pytest.raises(ConfigError, match="part_00000: cannot be read as features"):
        StoredFeatures(tmp_path / "f")


CLIPS = ["[" * 100_000, "[]", '{"left_out": {}}', '{"left_out": 1, "clips": []}', '{"left_out": {}, "clips": [[1]]}']


@pytest.mark.parametrize("content", CLIPS)
def test_a_part_that_says_something_else_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "part_0").mkdir()
    np.save(tmp_path / "part_0" / "frames.npy", np.zeros((1, 2)))
    (tmp_path / "part_0" / "clips.json").write_text(content)
    with pytest.raises(ConfigError, match="part_0: cannot be read as features"):
        StoredFeatures(tmp_path)


def settings_of(path: Path, speech: Path, folder: Path, *more: str) -> list[str]:
    return [f"data.train={speech}", f"run.dir={folder}", "optim.max_updates=3", "data.batch_seconds=12", *more]


def test_training_on_kept_features_is_training_on_those_of_whole_clips(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A convolution alone says the same of a crop as of the clip, away from its ends; so do the losses."""
    path = save_teacher(tmp_path / "t", **LOGMEL)

    def local(self: Teacher, waveforms: torch.Tensor, padding: torch.Tensor | None = None) -> Taught:
        frames = waveforms[:, : waveforms.shape[1] // 320 * 320].unflatten(1, (-1, 320))  # (B, T, 320)
        missing = self.config.grid.count(waveforms.shape[1]) - frames.shape[1]
        frames = torch.nn.functional.pad(frames, (0, 0, 0, missing))
        return Taught(torch.stack([frames[..., 0:24], frames[..., 100:124]]), None)

    monkeypatch.setattr(Teacher, "__call__", local)
    said: list[str] = []
    for name, more in (("as_needed", []), ("kept", [f"target.features={tmp_path / 'f'}"])):
        config = student_config(path, *settings_of(path, speech, tmp_path / name, "data.length_step=320", *more))
        run.distil(config, said.append)
    one, other = metrics(tmp_path / "as_needed"), metrics(tmp_path / "kept")
    for line, expected in zip(other, one, strict=True):
        assert line["loss"] == pytest.approx(expected["loss"], rel=2e-3)
        assert line["explained_share_3"] == pytest.approx(expected["explained_share_3"], abs=2e-3)
    assert any("GB to compute" in line for line in said)


@pytest.mark.parametrize("kept", [False, True])
def test_a_clip_of_which_the_teacher_says_nan_is_named_and_left_out(
    path: Path,
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kept: bool,
) -> None:
    loud = tmp_path / "speech"
    shutil.copytree(speech, loud)
    samples, rate = soundfile.read(loud / "clip4.wav")
    samples[::2] = 0.0
    soundfile.write(loud / "clip4.wav", samples, rate)
    call = Teacher.__call__

    def broken(self: Teacher, waveforms: torch.Tensor, padding: torch.Tensor | None = None) -> Taught:
        taught = call(self, waveforms, padding)
        layers = taught.layers.clone()
        alike = (waveforms[:, ::2] - waveforms[:, :1]).abs().amax(dim=1) < 1e-3
        odd = (waveforms[:, 1::2] - waveforms[:, 1:2]).abs().amax(dim=1) < 1e-3
        layers[1, alike | odd, 5, 3] = torch.nan
        return Taught(layers, taught.scores)

    monkeypatch.setattr(Teacher, "__call__", broken)
    more = [f"target.features={tmp_path / 'f'}"] if kept else []
    config = student_config(path, *settings_of(path, loud, tmp_path / "run", *more))
    run.distil(config, lambda line: None)
    warned = [record.getMessage() for record in caplog.records if "not finite" in record.getMessage()]
    assert len(warned) == 1 and "clip4" in warned[0] and "goes on without" in warned[0]
    lines = metrics(tmp_path / "run")
    assert len(lines) == 3 and all(np.isfinite(line["loss"]) for line in lines)
    assert sum(line["left_out"] for line in lines) >= 1
    assert all(value.isfinite().all() for value in tensors(tmp_path / "run", 3).values())
    if kept:
        document = json.loads((tmp_path / "f" / "part_00000" / "clips.json").read_text())
        assert len(document["left_out"]) == 1 and len(document["clips"]) == 9
    assert load_audio(loud / "clip4.wav").size == samples.size
