"""Rows in the order of the input, whatever finished first, and what waits for memory or for its turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from extraction.helpers import WIDTH, speech

from emotion2vec import extract_features, processors
from emotion2vec.errors import ConfigError
from emotion2vec.extraction import extract
from emotion2vec.extraction.encode import turns
from emotion2vec.extraction.encode.arrays import EncodedAudio, FeatureArray
from emotion2vec.extraction.encode.encoder import Encoder
from emotion2vec.extraction.encode.spool import Spool, SpooledArray
from emotion2vec.extraction.encode.turns import in_turn
from emotion2vec.model.encoder import Emotion2vec

Run = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture
def three_lanes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(processors, "available_processors", lambda: 3)
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def encoded(index: int, frames: int = 10) -> EncodedAudio:
    return EncodedAudio(index, {"frames": FeatureArray.of(np.full((frames, 8), index, np.float32))})


def test_results_wait_for_those_before_them(tmp_path: Path) -> None:
    order = [3, 0, 1, 5, 2, 9, 4]  # 6 to 8 never come
    found = [result.index for result in in_turn(map(encoded, order), range(10), Spool(tmp_path))]
    assert found == [0, 1, 2, 3, 4, 5, 9]
    assert next(in_turn(map(encoded, [7, 3]), [3, 7], Spool(tmp_path))).index == 3


def test_what_waits_is_on_disk_when_it_is_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "HOLD_BYTES", 3 * 10 * 8 * 4)
    for result in in_turn(map(encoded, [*range(9, 0, -1), 0]), range(10), Spool(tmp_path)):
        array = result.features["frames"]
        assert isinstance(array, SpooledArray) == (0 < result.index < 7)
        np.testing.assert_array_equal(array.whole(), np.full((10, 8), result.index))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_ends_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "HOLD_BYTES", 0)
    with pytest.raises(ConfigError, match="cannot be held on disk: No such file"):
        list(in_turn(map(encoded, [1, 0]), range(2), Spool(tmp_path / "gone")))


def read_ids(out: Path, format: str) -> list[str]:
    """Names of the items of an output, in the order of its files."""
    if format == "parquet":
        import pyarrow.parquet

        parts = sorted(out.glob("*.parquet"))
        return [id for part in parts for id in pyarrow.parquet.read_table(part)["id"].to_pylist()]
    if format == "kaldi":
        return [line.split()[0] for part in sorted(out.glob("*.scp")) for line in part.read_text().splitlines()]
    if format == "hdf5":
        import h5py

        return [id for part in sorted(out.glob("*.h5")) for id in h5py.File(part)]
    return list(np.load(out / "features.npz"))


@pytest.mark.parametrize("format", ["parquet", "kaldi", "hdf5", "npz"])
def test_rows_are_in_the_order_of_the_input(
    model: Emotion2vec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, three_lanes: None, format: str
) -> None:
    """Long audio first, clips of lengths that share batches, a broken file, and lanes of which some are slow."""
    rng = np.random.default_rng(0)
    names = [f"{number:02d}" for number in rng.permutation(20)]
    for place, name in enumerate(names):
        samples = 40_000 if place == 0 else int(rng.choice([3_000, 5_000, 9_000]))
        soundfile.write(tmp_path / f"{name}.wav", speech(samples, place), 16_000, subtype="FLOAT")
    (tmp_path / f"{names[7]}.wav").write_bytes(b"no audio")
    (tmp_path / "list.csv").write_text("\n".join(["file", *(f"{name}.wav" for name in names)]))
    monkeypatch.setattr(turns, "HOLD_BYTES", 10_000)
    run = Encoder._run

    def slow(self: Encoder, waveforms: torch.Tensor, lengths: torch.Tensor) -> Run:
        time.sleep(0.002 * (waveforms.shape[1] / 1_000))
        return run(self, waveforms, lengths)

    monkeypatch.setattr(Encoder, "_run", slow)
    report = extract(
        tmp_path / "list.csv", model=model, output=tmp_path / "out", format=format, chunk_seconds=1, chunk_overlap=0.5,
        batch_seconds=1, workers=3,
    )  # fmt: skip
    assert report.written == 19 and len(report.failed) == 1
    assert read_ids(tmp_path / "out", format) == [name for name in names if name != names[7]]


@pytest.mark.parametrize("samples", [16_000, 40_000])
def test_what_does_not_fit_beside_others_is_encoded_alone(
    model: Emotion2vec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, three_lanes: None, samples: int
) -> None:
    """A clip, or a window of long audio, that needs all memory that there is."""
    run, busy, lock = Encoder._run, 0, threading.Lock()

    def crowded(self: Encoder, waveforms: torch.Tensor, lengths: torch.Tensor) -> Run:
        nonlocal busy
        with lock:
            busy += 1
        try:
            time.sleep(0.02)
            if waveforms.shape[1] > 12_000 and threading.current_thread().name.startswith("lane"):
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
            assert waveforms.shape[1] <= 12_000 or busy == 1
            return run(self, waveforms, lengths)
        finally:
            with lock:
                busy -= 1

    for number in range(24):
        length = samples if number % 2 else 4_000 + 100 * number
        soundfile.write(tmp_path / f"{number:02d}.wav", speech(length, number), 16_000, subtype="FLOAT")
    options = {"chunk_seconds": 1.5, "chunk_overlap": 0.5}
    extract(tmp_path, model=model, output=tmp_path / "expected", **options)
    monkeypatch.setattr(Encoder, "_run", crowded)
    report = extract(tmp_path, model=model, output=tmp_path / "out", **options)
    assert (report.written, report.failed) == (24, [])
    for number in range(24):
        one, other = (np.load(tmp_path / folder / f"{number:02d}.npy") for folder in ("expected", "out"))
        np.testing.assert_allclose(one, other, atol=1e-5)
    if samples == 16_000:
        features = extract_features([speech(samples, number) for number in range(5)], 16_000, model=model)
        assert [one.frames.shape for one in features] == [(49, WIDTH)] * 5


def test_what_never_fits_is_tried_twice(
    model: Emotion2vec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, three_lanes: None
) -> None:
    tried = []

    def full(self: Encoder, waveforms: torch.Tensor, lengths: torch.Tensor) -> Run:
        tried.append(waveforms.shape)
        raise MemoryError

    monkeypatch.setattr(Encoder, "_run", full)
    for number in range(10):
        soundfile.write(tmp_path / f"{number}.wav", speech(4_000 + 500 * number), 16_000)
    report = extract(tmp_path, model=model, output=tmp_path / "out")
    assert len(tried) == 20 and len(report.failed) == 10
    assert all("s of audio do not fit into memory at once" in fault.reason for fault in report.failed)
