from __future__ import annotations

import csv
import importlib.util
import shutil
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.samples import load_audio

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def rows(sample_speech: Path) -> Rows:
    with open(sample_speech / "metadata.tsv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


@pytest.fixture(scope="module")
def audio(sample_speech: Path, rows: Rows) -> dict[str, np.ndarray]:
    return {row["file"]: load_audio(sample_speech / row["file"]) for row in rows}


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "examples" / "make_sample_speech.py"
    spec = importlib.util.spec_from_file_location("make_sample_speech", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def test_table_and_folder_agree(sample_speech: Path, rows: Rows) -> None:
    assert list(rows[0]) == ["file", "speaker", "gender", "emotion", "language"]
    assert sorted(row["file"] for row in rows) == sorted(path.name for path in sample_speech.glob("*.opus"))
    assert 60 <= len(rows) <= 100


def test_emotions_are_balanced_within_every_speaker(rows: Rows) -> None:
    counts = Counter((row["speaker"], row["emotion"]) for row in rows)
    assert len({speaker for speaker, _ in counts}) >= 6
    assert len({emotion for _, emotion in counts}) == 5
    assert len(counts) == len({speaker for speaker, _ in counts}) * 5
    assert len(set(counts.values())) == 1


def test_clips_are_small_short_mono_and_unclipped(
    sample_speech: Path, rows: Rows, audio: dict[str, np.ndarray]
) -> None:
    assert sum(path.stat().st_size for path in sample_speech.iterdir()) < 1_000_000
    for row in rows:
        info = soundfile.info(sample_speech / row["file"])
        assert (info.format, info.subtype, info.channels, info.samplerate) == ("OGG", "OPUS", 1, SAMPLE_RATE)
        assert 1.5 <= audio[row["file"]].size / SAMPLE_RATE <= 4.0
        assert np.abs(audio[row["file"]]).max() < 1.0


def test_prosody_tells_the_emotions_apart(rows: Rows, audio: dict[str, np.ndarray]) -> None:
    """Per emotion: angry is loud and fast, sad is quiet and slow, for every speaker."""
    level, length = defaultdict(list), defaultdict(list)
    for row in rows:
        wave = audio[row["file"]]
        level[row["speaker"], row["emotion"]].append(10 * np.log10(np.mean(wave**2)))
        length[row["speaker"], row["emotion"]].append(wave.size / SAMPLE_RATE)
    for speaker in {row["speaker"] for row in rows}:
        angry, neutral, sad = (np.mean(level[speaker, emotion]) for emotion in ("angry", "neutral", "sad"))
        assert angry - 3 > neutral > sad + 3
        angry, neutral, sad = (np.mean(length[speaker, emotion]) for emotion in ("angry", "neutral", "sad"))
        assert angry < neutral < sad


def test_ogg_checksum_is_the_one_that_libsndfile_writes(maker: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "noise.opus"
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    soundfile.write(path, noise, SAMPLE_RATE, format="OGG", subtype="OPUS")
    stream = path.read_bytes()
    assert maker.set_serial(stream, int.from_bytes(stream[14:18], "little")) == stream
    path.write_bytes(maker.set_serial(stream, 7))
    assert path.read_bytes() != stream
    np.testing.assert_array_equal(load_audio(path), load_audio(stream))


def test_the_same_seed_makes_the_same_speech(maker: ModuleType) -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("needs the program espeak-ng (apt-get install espeak-ng)")
    speaker = maker.SPEAKERS[0]
    first, again, other = (maker.speak(speaker, "angry", 0, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)
