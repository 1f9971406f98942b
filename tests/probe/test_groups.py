from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.probe.groups import groups_of


def test_clips_are_grouped_by_what_is_known_and_differs(tmp_path: Path) -> None:
    for seconds in (1, 3, 9):
        soundfile.write(tmp_path / f"{seconds}.wav", np.zeros(seconds * 8_000), 8_000)
    clips = [
        Utterance(id="a", audio=tmp_path / "1.wav", gender="female", language="en"),
        Utterance(id="b", audio=tmp_path / "3.wav", gender="male", language="en"),
        Utterance(id="c", audio=tmp_path / "9.wav", language="en"),
        Utterance(id="d", audio=tmp_path / "9.wav", start=1.0, duration=4.0, gender="male", language="en"),
        Utterance(id="e", audio=tmp_path / "none.wav", gender="male", language="en"),
    ]
    found = {name: groups.tolist() for name, groups in groups_of(clips).items()}
    assert found == {
        "gender": ["female", "male", "", "male", "male"],
        "duration": ["under 2 s", "2 to 4 s", "from 8 s", "4 to 8 s", ""],
    }
