"""What is said of labelled speech before anything is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from finetune.talkers import quick_config, write_talkers

from emotion2vec.audio.samples import load_audio
from emotion2vec.finetune.check import check, measure, near_duplicates


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
