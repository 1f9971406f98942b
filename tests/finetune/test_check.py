"""What is said of labelled speech before anything is trained."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile
from finetune.talkers import quick_config, write_model, write_talkers

from emotion2vec.audio.samples import load_audio
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.finetune.check import check
from emotion2vec.finetune.sounds import measure, near_duplicates
from emotion2vec.finetune.suspects import out_of_fold


def test_levels_and_clipping_are_those_of_formulas() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    found = measure((0.5 * tone).astype(np.float32))
    assert abs(found.level - 20 * np.log10(0.5 / np.sqrt(2))) < 0.01 and found.seconds == 1 and found.clipped == 0
    assert measure(np.clip(2 * tone, -1, 1).astype(np.float32)).clipped > 0.3


def test_a_table_is_examined_and_nothing_trained(tmp_path: Path) -> None:
    table = write_talkers(tmp_path / "talkers")
    folder = table.parent
    samples = load_audio(folder / "s0_anger_0.wav")
    soundfile.write(folder / "again.ogg", samples, 16_000, format="OGG", subtype="VORBIS")
    (folder / "broken.wav").write_bytes(b"RIFF no")
    rows = ["again.ogg,sadness,s1,male", "broken.wav,anger,s1,male", "missing.wav,anger,s1,male"]
    table.write_text(table.read_text() + "\n".join(rows) + "\n")
    said: list[str] = []
    left = check(quick_config(table, tmp_path / "none", tmp_path / "run"), said.append)
    text = "\n".join(said)
    assert left == 2 and not (tmp_path / "run").exists()
    assert "label     clips  speakers  train  held out" in text
    assert [line.split()[:3] for line in said if line.startswith("sadness")] == [["sadness", "9", "4"]]
    assert "sample rates: 16000 Hz (25)" in text and "lengths: 0." in text
    assert "sound like one recording, " in text and "s0_anger_0.wav = again.ogg" in text
    assert "2 clips cannot be used:" in text and "broken.wav" in text and "missing.wav" in text


def test_real_clips_are_no_duplicates_and_their_copies_are(shared: Path, tmp_path: Path) -> None:
    paths = sorted((shared / "data" / "nemo" / "audio").glob("*.opus"))[:60]
    clips = [load_audio(path) for path in paths]
    soundfile.write(tmp_path / "copy.ogg", 0.5 * clips[7], 16_000, format="OGG", subtype="VORBIS")
    heard = [measure(clip) for clip in [*clips, load_audio(tmp_path / "copy.ogg")]]
    assert near_duplicates(heard) == [(7, 60)]


def test_labels_that_were_changed_are_found(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m")
    table = write_talkers(tmp_path / "talkers", speakers=6, takes=4)
    lines = table.read_text().splitlines()
    wrong = {"s1_anger_0.wav": "sadness", "s4_neutral_2.wav": "anger", "s2_sadness_1.wav": "neutral"}
    files = [line.split(",")[0] for line in lines]
    for file, label in wrong.items():
        place = files.index(file)
        lines[place] = ",".join([file, label, *lines[place].split(",")[2:]])
    table.write_text("\n".join(lines) + "\n")
    said: list[str] = []
    check(quick_config(table, model, tmp_path / "run"), said.append, tmp_path / "suspects.csv")
    with (tmp_path / "suspects.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["file"]: (row["label"], row["likely"]) for row in rows} == {
        file: (label, file.split("_")[1]) for file, label in wrong.items()
    }
    text = "\n".join(said)
    assert f"label errors: 72 clips go through {model} (39 s), for a head on 5 folds" in text
    assert "3 of 72 labels are probably wrong, the least probable first:" in text
    assert any(line.startswith("  s1_anger_0.wav: given sadness, likely anger (score 0.") for line in said)
    assert not (tmp_path / "run").exists()


def test_clips_are_judged_by_heads_of_other_speakers() -> None:
    """Where features name the speaker and labels go with him, nothing can be learnt of others: 0 for what they lack."""
    clips = [Utterance(id=str(n), audio="a", label="abc"[n // 4], speaker=str(n // 4)) for n in range(12)]
    groups = np.array([clip.speaker for clip in clips])
    found = out_of_fold(clips, np.eye(3)[np.arange(12) // 4], groups)
    assert all(found[n, n // 4] == 0 for n in range(12)) and np.allclose(found.sum(axis=1), 1)


def test_a_fold_without_a_class_is_named(tmp_path: Path) -> None:
    table = write_talkers(tmp_path / "talkers")
    rows = [line for line in table.read_text().splitlines() if "sadness" not in line or "s3" in line]
    table.write_text("\n".join(rows) + "\n")
    said: list[str] = []
    check(quick_config(table, tmp_path / "none", tmp_path / "run", "evaluate.folds=speaker"), said.append)
    assert "warning: fold s3 has no clip of sadness to train on" in said
    assert any(line.startswith("label errors are not looked for: ") for line in said)
