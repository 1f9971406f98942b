"""Segments of files: they are learnt from, validated, tested, examined and probed as if each were cut out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from finetune.talkers import quick_config, write_talkers

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.check import check
from emotion2vec.finetune.labelled import read_labelled
from emotion2vec.finetune.overlaps import check_overlaps
from emotion2vec.finetune.run import finetune
from emotion2vec.finetune.splits import whole_split
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


def clip(file: str, start: float | None = None, end: float | None = None, **facts: Any) -> Utterance:
    duration = None if start is None or end is None else end - start
    return Utterance(id=f"{file} {start} {facts}", audio=file, start=start, duration=duration, **facts)


def told(train: Sequence[Utterance], valid: Sequence[Utterance], *, own: bool = True) -> list[str]:
    rows = np.arange(len(train) + len(valid))
    return check_overlaps([*train, *valid], ("train", rows[: len(train)]), ("choose", rows[len(train) :]), own=own)


def test_stretches_on_both_sides_are_told() -> None:
    assert told([clip("a.wav", 0, 4)], [clip("b.wav", 0, 4)], own=False) == []
    (note,) = told([clip("a.wav", 0, 4)], [clip("a.wav", 4, 8)], own=False)
    assert "share 1 recording, with their room and microphone: a.wav" in note
    crossed, _ = told([clip("a.wav", 0, 4), clip("a.wav", 9, 12)], [clip("a.wav", 3, 7)], own=False)
    assert (
        crossed == "1 pairs of clips that train and clips that choose overlap in time: a.wav from 0 s = a.wav from 3 s"
    )
    assert len(told([clip("a.wav", 0, 4, channel=0)], [clip("a.wav", 0, 4, channel=1)], own=False)) == 1  # one file
    (whole,) = told([clip("a.wav")], [clip("a.wav", speaker="x")], own=False)  # of two lists
    assert whole == "1 pairs of clips that train and clips that choose are the same file: a.wav = a.wav"
    for one, other in (
        (clip("a.wav", 0, 4), clip("a.wav", 2, 8)),  # half of the shorter one
        (clip("a.wav", 2, 8), clip("a.wav", 0, 4)),
        (clip("a.wav"), clip("a.wav", 5, 6)),
        (clip("a.wav", 1, 2), clip("a.wav", 0, 9, channel=1)),
    ):
        assert "are the same speech for half or more" in told([one], [other])[0]
        with pytest.raises(ConfigError, match=r"1 pairs of .* half or more: a.wav.* = a.wav.*; expected clips that do"):
            told([one], [other], own=False)


def test_pairs_that_overlap_are_all_found() -> None:
    """Against a comparison of every pair."""
    rng = np.random.default_rng(0)
    starts, lengths = rng.uniform(0, 30, 60), rng.uniform(0.5, 6, 60)
    clips = [clip("abc"[n % 3], s, s + d) for n, (s, d) in enumerate(zip(starts, lengths, strict=True))]
    notes = told(clips[:40], clips[40:])
    same = less = 0
    for one in clips[:40]:
        for other in clips[40:]:
            if one.audio == other.audio:
                (a, da), (b, db) = ((x.start or 0.0, x.duration or 0.0) for x in (one, other))
                shared = min(a + da, b + db) - max(a, b)
                same += shared >= 0.5 * min(da, db)
                less += 0 < shared < 0.5 * min(da, db)
    assert [int(note.split()[0]) for note in notes[:2]] == [same, less] and same > 5 < less


def test_overlaps_stop_a_split_that_is_not_the_users_own(both: tuple[Path, Path], tmp_path: Path) -> None:
    lines = both[1].read_text().splitlines()
    cells = [line.split(",") for line in lines[1:] if ",s0," in line]  # the same speech by another name, a bit later
    again = [f"{file},{label},s9,{float(start) + 0.01},{end}" for file, label, _, start, end in cells]
    table = tmp_path / "table.csv"
    table.write_text("\n".join([*lines, *again]) + "\n")
    given = [f"data.root={both[1].parent}", "validation.share=0.5"]
    raised = 0
    for seed in range(4):
        config = quick_config(table, Path("m"), tmp_path / "run", *given, f"run.seed={seed}")
        try:
            split = whole_split(config, read_labelled(config.data))
        except ConfigError as error:
            raised += "are the same speech for half or more" in str(error)
        else:
            assert len({"s0", "s9"} & set(split.held)) != 1 and not split.notes
    assert raised
    parts = [
        "split",
        *(("train", "valid")[",s9," in line or ",s3," in line] for line in table.read_text().splitlines()[1:]),
    ]
    own = tmp_path / "own.csv"
    rows = zip(table.read_text().splitlines(), parts, strict=True)
    own.write_text("\n".join(f"{line},{part}" for line, part in rows) + "\n")
    said: list[str] = []
    check(quick_config(own, Path("m"), tmp_path / "run", *given), said.append)
    text = "\n".join(said)
    assert "warning: 6 pairs of clips that train and clips that choose are the same speech for half or more" in text
    assert "share 1 recording, with their room and microphone: s0.wav" in text
