"""Odd names and labels: every format takes what a file system takes, and finds it again, or refuses that one item."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from extraction.helpers import speech

from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.extraction import extract
from emotion2vec.extraction.encode.arrays import ArraySpec, FeatureArray
from emotion2vec.extraction.writers import FORMATS, open_writer
from emotion2vec.extraction.writers.base import escaped
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.probe.features.stored.matching import StoredFeatures

PACKAGES = {"parquet": "pyarrow", "hdf5": "h5py"}
ODD = [
    os.fsdecode(b"caf\xe9"),
    os.fsdecode(b"\xff\xfe/a"),
    "\udc80\udcff",
    "\u0085x",
    "a\u2028b",
    "-",
    "~",
    "\u00e9",
    "e\u0301",
]
"""Bytes that are no Unicode, what some take for ends of lines, and one letter in two spellings."""
STORES = [name for name in FORMATS if name not in ("csv", "xlsx")]
"""Formats that are read again; the others are tables for spreadsheets."""
LAYOUT = {"frames": ArraySpec((None, 3), np.dtype(np.float32))}


@pytest.mark.parametrize("format", STORES)
def test_odd_folders_and_labels_lose_nothing(model: Emotion2vec, tmp_path: Path, format: str) -> None:
    pytest.importorskip(PACKAGES.get(format, "numpy"))
    listed = []
    for seed, name in enumerate(["plain", *ODD]):
        path = tmp_path / "in" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(os.fsencode(path), speech(4_000 + 400 * seed, seed), 16_000)
        listed.append(Utterance(id=name, audio=path, label=f"l{name}".replace("/", "")))
    out, options = tmp_path / os.fsdecode(b"out \xe9"), {"granularity": "frame", "format": format}
    report = extract(Listing(listed, []), model=model, output=out, **options)
    refused = {fault.where for fault in report.failed}
    spaced = {str(item.audio) for item in listed if item.id.split() != [item.id]}
    foreign = {str(item.audio) for item in listed if escaped(item.id) != item.id}  # and so are their labels
    assert refused == {"kaldi": spaced, "iemocap": spaced | foreign}.get(format, set())
    stored = StoredFeatures(out)
    for item, found in zip(listed, stored.extract(listed), strict=True):
        if str(item.audio) not in refused:
            assert not isinstance(found, str), found
            assert len(found.frames) == (soundfile.info(os.fsencode(item.audio)).frames - 80) // 320
    if format != "iemocap":
        again = extract(Listing(listed, []), model=model, output=out, resume=True, **options)
        assert again.written == 0 and again.skipped == len(listed) - len(refused)


@pytest.mark.parametrize("format", STORES)
@pytest.mark.parametrize("id", ["\ud800", "x" * 70_000, "a\0b", "..", "a//b"])
def test_what_no_file_system_takes_is_refused_alone(model: Emotion2vec, tmp_path: Path, format: str, id: str) -> None:
    pytest.importorskip(PACKAGES.get(format, "numpy"))
    soundfile.write(tmp_path / "a.wav", speech(4_000), 16_000)
    listed = [Utterance(id=name, audio=tmp_path / "a.wav", label="sad") for name in ("good", id, "fine")]
    report = extract(Listing(listed, []), model=model, output=tmp_path / "out", granularity="frame", format=format)
    assert report.written == 2 and len(report.failed) == 1


@pytest.mark.parametrize(
    ("format", "read"), [("csv", partial(pd.read_csv, encoding="latin-1")), ("xlsx", pd.read_excel)]
)
def test_tables_have_a_row_for_every_odd_name(
    model: Emotion2vec, tmp_path: Path, format: str, read: Callable[[Path], pd.DataFrame]
) -> None:
    listed = []
    for seed, name in enumerate(["plain", *ODD]):
        path = tmp_path / "in" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(os.fsencode(path), speech(4_000, seed), 16_000)
        listed.append(Utterance(id=name, audio=path))
    out = tmp_path / f"out.{format}"
    report = extract(Listing(listed, []), model=model, output=out, granularity="utterance", format=format)
    assert report.written + len(report.failed) == len(listed) and report.written >= 6
    rows = read(out)
    assert len(rows) == report.written and rows["f0"].notna().all()


class Torn(FeatureArray):
    """Frames of which the second part does not come."""

    def __init__(self) -> None:
        super().__init__((4, 3), np.dtype(np.float32), self._pieces())

    @staticmethod
    def _pieces() -> Iterator[np.ndarray]:
        yield np.ones((2, 3), np.float32)
        raise ValueError("torn")


@pytest.mark.parametrize("format", [name for name in STORES if name != "iemocap"])
def test_what_failed_half_way_is_not_there(tmp_path: Path, format: str) -> None:
    pytest.importorskip(PACKAGES.get(format, "numpy"))
    items = [Utterance(id=name, audio=tmp_path / "x.wav") for name in ("a", "b", "b/c", "d")]
    whole = FeatureArray.of(np.arange(9, dtype=np.float32).reshape(3, 3))
    writer = open_writer(format, tmp_path / "out", LAYOUT)
    for item in items:
        if item.id == "b":
            with pytest.raises(ValueError, match="torn"):
                writer.write(item, {"frames": Torn()})
        else:
            writer.write(item, {"frames": whole})
    writer.close()
    again = open_writer(format, tmp_path / "out", LAYOUT, resume=True)
    assert [again.has(item) for item in items] == [True, False, True, True]
    again.close()
    stored = StoredFeatures(tmp_path / "out")
    assert sorted(stored._store.entries) == ["a", "b/c", "d"]
    for (read,) in stored._store.entries.values():
        (array,) = read().values()
        np.testing.assert_array_equal(array, whole.whole())


def test_labels_that_hdf5_cannot_hold_as_they_are(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    writer = open_writer("hdf5", tmp_path / "out", LAYOUT)
    labels = {"nul": "a\0b", "huge": "x" * 70_000, "plain": "sad", "surrogate": "\ud800"}
    items = [Utterance(id=name, audio=tmp_path / "x.wav", label=label) for name, label in labels.items()]
    for item in items:
        writer.write(item, {"frames": FeatureArray.of(np.ones((2, 3), np.float32))})
    writer.close()
    again = open_writer("hdf5", tmp_path / "out", LAYOUT, resume=True)
    assert all(again.has(item) for item in items)
    again.close()


def test_escapes_can_be_undone() -> None:
    for name in [*ODD, "\ud800"]:
        assert escaped(name).encode()
        assert re.sub(r"\\u(d[89a-f]..)", lambda found: chr(int(found[1], 16)), escaped(name)) == name
