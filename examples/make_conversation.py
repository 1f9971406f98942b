"""Lay clips of two speakers of a labelled corpus into one recording, with a list of who speaks when.

    python examples/make_conversation.py NEMO/metadata.tsv conversation --seconds 60
    emotion2vec predict conversation/turns.csv --output conversation/emotions.csv --plot conversation/emotions.html

Nobody answers anybody in it: it is for trying out what is made of conversations. Every third turn begins before the one
before it has ended.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import soundfile

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.samples import load_audio
from emotion2vec.corpora.lists.tables import read_table

OVERLAP, PAUSE = 0.4, 0.3
"""Of turns, in s."""


def make(table: Path, folder: Path, seconds: float) -> None:
    """Write `talk.wav` and `turns.csv` into a folder, of clips that are drawn with the same seed every time."""
    clips = read_table(table).utterances
    speakers = sorted({clip.speaker for clip in clips if clip.speaker})[:2]
    random = np.random.default_rng(0)
    talk, turns, at = np.zeros(0, np.float32), [], 0.0
    while at < seconds:
        mine = [clip for clip in clips if clip.speaker == speakers[len(turns) % 2]]
        clip = mine[random.integers(len(mine))]
        samples = load_audio(clip.audio)
        start = max(0.0, at - OVERLAP if len(turns) % 3 == 2 else at + PAUSE)
        place = int(start * SAMPLE_RATE)
        talk = np.pad(talk, (0, max(0, place + samples.size - talk.size)))
        talk[place : place + samples.size] += samples
        at = start + samples.size / SAMPLE_RATE
        turns.append(["talk.wav", f"{start:.3f}", f"{at:.3f}", clip.speaker, clip.label])
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / "talk.wav", talk, SAMPLE_RATE)
    with (folder / "turns.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["file", "start", "end", "speaker", "emotion"], *turns])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="labelled clips, see docs/benchmark.md")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    make(arguments.table, arguments.folder, arguments.seconds)
