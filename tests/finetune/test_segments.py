"""Segments of files: they are learnt from, validated, tested, examined and probed as if each were cut out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from finetune.talkers import quick_config, write_talkers

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.finetune.check import check
from emotion2vec.finetune.run import finetune
from emotion2vec.probe.features.names import make_extractor
from emotion2vec.probe.features.table import extract_table

RATE = 16_000


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A table of clips, and one of segments of a file for each speaker with the same samples."""
    table = write_talkers(tmp_path_factory.mktemp("clips"))
    folder = tmp_path_factory.mktemp("segments")
    rows, long = ["file,emotion,speaker,start,end"], {}
    for line in table.read_text().splitlines()[1:]:
        file, label, speaker, _ = line.split(",")
        samples = soundfile.read(table.parent / file)[0]
        before = sum(map(len, long.setdefault(speaker, [])))
        long[speaker].append(samples)
        rows.append(f"{speaker}.wav,{label},{speaker},{before / RATE!r},{(before + len(samples)) / RATE!r}")
    for speaker, parts in long.items():
        soundfile.write(folder / f"{speaker}.wav", np.concatenate(parts), RATE)
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return table, folder / "table.csv"


def test_a_model_of_segments_is_that_of_clips(both: tuple[Path, Path], model: Path, tmp_path: Path) -> None:
    documents = []
    for name, table in zip(("clips", "segments"), both, strict=True):
        more = ["evaluate.folds=speaker:2", "optim.max_updates=2", "finetune.strategy=frozen", "evaluate.final=false"]
        more += ["data.balance=none", "data.max_seconds=2"]
        finetune(quick_config(table, model, tmp_path / name, *more), lambda text: None)
        documents.append(json.loads((tmp_path / name / "scores.json").read_text()))
    assert documents[0]["mean"] == documents[1]["mean"] and documents[1]["clips"] == 24
    assert not documents[1]["left_out"]


def test_segments_are_examined(both: tuple[Path, Path], tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(both[1].read_text() + "s0.wav,anger,s0,100,101\ns1.wav,anger,s1,0,0.31\n")
    said: list[str] = []
    config = quick_config(table, Path("m"), tmp_path / "run", f"data.root={both[1].parent}")
    assert check(config, said.append) == 1
    text = "\n".join(said)
    assert "sample rates: 16000 Hz (25)" in text and "25 labelled" not in text
    assert "s0.wav from 100 s: the segment goes from 100 s to 101 s, but the audio has" in text
    assert "byte for byte" not in text


def test_the_cache_of_a_probe_tells_segments_apart(both: tuple[Path, Path], model: Path, tmp_path: Path) -> None:
    from emotion2vec.corpora.lists.tables import read_table

    clips, segments = (read_table(table).utterances for table in both)
    for name in (str(model), "logmel"):
        extractor = make_extractor(name)
        wanted = extract_table(clips, extractor, frames=True)
        for _ in range(2):  # computed, and found again
            found = extract_table(segments, extractor, frames=True, cache=tmp_path)
            np.testing.assert_allclose(found.vectors, wanted.vectors, atol=1e-4)
            assert (found.lengths == wanted.lengths).all()
    beyond = Utterance(id="x", audio=both[1].parent / "s0.wav", start=100.0, duration=1.0)
    assert list(extract_table([beyond], make_extractor("logmel"), frames=False).failures) == [0]
