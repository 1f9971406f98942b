"""Every format and granularity that is written is read again, and every clip gets its own features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from extraction.helpers import speech, tiny_model

from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction import extract
from emotion2vec.extraction.writers import FORMATS
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.probe.features.names import make_extractor
from emotion2vec.probe.features.stored.matching import StoredFeatures
from emotion2vec.probe.features.stored.opening import is_feature_store

NAMES = ["X", "X.orig", "X.orig.v2", "s1/a", "s2/a", "s1/a.frames", "Zo\u00eb", "s1/a b", "-x#1", "e.utterance"]
CANNOT = {("kaldi", "both"), ("iemocap", "both"), ("iemocap", "utterance")}


@pytest.fixture(scope="module")
def model() -> Emotion2vec:
    return tiny_model()


def write_clips(folder: Path, names: list[str]) -> list[Utterance]:
    clips = []
    for seed, name in enumerate(names):
        path = folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, speech(2_000 + 400 * seed, seed), 16_000, subtype="FLOAT")
        clips.append(Utterance(id=f"{name}.wav", file=f"{name}.wav", audio=path, label="sad"))
    return clips


def check(store: Path, clips: list[Utterance], model: Emotion2vec, frames: bool) -> None:
    for clip, found in zip(clips, StoredFeatures(store).extract(clips), strict=True):
        assert not isinstance(found, str), found
        expected = model.extract_features(clip.path)
        np.testing.assert_allclose(found.vector, expected.frames.mean(axis=0), atol=1e-5)
        if frames:
            np.testing.assert_allclose(found.frames, expected.frames, atol=1e-5)


@pytest.mark.parametrize("granularity", ["frame", "utterance", "both"])
@pytest.mark.parametrize("format", [name for name in FORMATS if name not in ("csv", "xlsx")])  # tables for people
def test_what_is_written_is_read(model: Emotion2vec, tmp_path: Path, format: str, granularity: str) -> None:
    names = [name for name in NAMES if format not in ("kaldi", "iemocap") or " " not in name]
    clips = write_clips(tmp_path / "in", names)
    manifest = Listing([Utterance(id=n, audio=c.path, label="sad") for n, c in zip(names, clips, strict=True)], [])
    out = tmp_path / "out"
    if (format, granularity) in CANNOT:
        with pytest.raises(ConfigError, match="expected granularity frame"):
            extract(manifest, model=model, output=out, format=format, granularity=granularity)
        return
    report = extract(manifest, model=model, output=out, format=format, granularity=granularity)
    assert (report.written, report.failed) == (len(names), [])
    check(out, clips, model, granularity != "utterance")
    for about in ("inputs.jsonl", "job.json"):
        (out / about).unlink()  # as features of others, and as ours from before
        check(out, clips, model, granularity != "utterance")


@pytest.mark.parametrize("granularity", ["frame", "both"])
def test_an_archive_under_its_own_name(model: Emotion2vec, tmp_path: Path, granularity: str) -> None:
    clips = write_clips(tmp_path / "in", NAMES)
    extract(tmp_path / "in", model=model, output=tmp_path / "d.npz", format="npz", granularity=granularity)
    check(tmp_path / "d.npz", clips, model, frames=True)
    assert make_extractor(str(tmp_path / "d.npz")).fingerprint.startswith("stored ")


def test_shards_are_one_store_and_what_is_there_twice_is_none(model: Emotion2vec, tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "in", NAMES)
    for index in (0, 1):
        extract(tmp_path / "in", model=model, output=tmp_path / "out", format="parquet", shard=f"{index}/2")
    check(tmp_path / "out", clips, model, frames=True)
    extract(tmp_path / "in" / "X.wav", model=model, output=tmp_path / "out", format="parquet")
    (found,) = StoredFeatures(tmp_path / "out").extract(clips[:1])
    assert found == "X is in 2 files, expected one"


def test_two_entries_or_two_files_are_an_error_and_never_a_choice(tmp_path: Path) -> None:
    clips = [
        Utterance(id=name, file=name, audio=tmp_path / "in" / name, label="x")
        for name in ("X.opus", "X.opus.wav", "s1/sad.wav")
    ]

    def store(*names: str) -> StoredFeatures:
        np.savez(tmp_path / "d.npz", **{name: np.full((2, 3), i, np.float32) for i, name in enumerate(names)})
        return StoredFeatures(tmp_path / "d.npz")

    first, second, _ = store("X", "X.opus").extract(clips)
    assert first == "2 arrays for X.opus, expected one: X.opus, X" and not isinstance(second, str)
    assert store("s2/sad").extract(clips[2:]) == ["no arrays for sad.wav, expected one"]
    assert not isinstance(store("sad", "other/sad").extract(clips[2:])[0], str)
    assert not isinstance(store("in/s1/sad").extract(clips[2:])[0], str)
    others = [clips[2], Utterance(id="s3/sad.wav", file="s3/sad.wav", audio=tmp_path / "s3" / "sad.wav", label="x")]
    found = store("sad").extract(others)
    assert not isinstance(found[0], str) and "sad would be the features of" in str(found[1])
    np.savez(tmp_path / "d.npz", **{"Zoe\u0308": np.ones((2, 3))})
    zoe = Utterance(id="Zo\u00eb.wav", file="Zo\u00eb.wav", audio=tmp_path / "Zo\u00eb.wav", label="x")
    assert not isinstance(StoredFeatures(tmp_path / "d.npz").extract([zoe])[0], str)


def test_folders_that_cannot_be_read_are_named(model: Emotion2vec, tmp_path: Path) -> None:
    write_clips(tmp_path / "in", ["a"])
    for format in ("npy", "parquet"):
        extract(tmp_path / "in", model=model, output=tmp_path / "out", format=format)
    (tmp_path / "out" / "job.json").unlink()
    with pytest.raises(ManifestError, match="holds files of the formats npy, parquet"):
        StoredFeatures(tmp_path / "out")
    (tmp_path / "d.npz").write_bytes(b"no archive")
    with pytest.raises(ManifestError, match=r"cannot be read as \.npz"):
        StoredFeatures(tmp_path / "d.npz")
    extract(tmp_path / "in", model=model, output=tmp_path / "all", layers="all", granularity="utterance")
    with pytest.raises(ManifestError, match="extracted with layers all, expected one layer"):
        StoredFeatures(tmp_path / "all")
    np.savez(tmp_path / "deep.npz", a=np.ones((2, 3, 4)))
    (found,) = StoredFeatures(tmp_path / "deep.npz").extract(
        [Utterance(id="a.wav", file="a.wav", audio=tmp_path / "a.wav", label="x")]
    )
    assert "expected finite frames (T, D) or a vector (P,)" in str(found)


@pytest.mark.parametrize("about", ["model.json", "config.json", "config.yaml"])
def test_a_folder_of_a_model_is_no_store(tmp_path: Path, about: str) -> None:
    for name in ("model.safetensors", "tf_model.h5"):
        (tmp_path / name).touch()
    assert is_feature_store(tmp_path)
    (tmp_path / about).touch()
    assert not is_feature_store(tmp_path)
