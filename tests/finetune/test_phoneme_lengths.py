"""Which clips have room for their symbols, at any rate of their files and any speed that they are played at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from finetune.talkers import quick_config

from emotion2vec.audio.frames import FrameGrid
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.data.cuts import cuts_of
from emotion2vec.data.distortions import change_speed
from emotion2vec.finetune.decoding import decoded
from emotion2vec.finetune.spoken.targets import spoken_aim


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("speed", [0.0, 0.8, 1.25])
def test_a_clip_has_room_for_as_many_symbols_as_frames_are_heard(tmp_path: Path, rate: int, speed: float) -> None:
    path, grid = tmp_path / "a.wav", FrameGrid.of_waveform()
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=rate), rate)
    more = [f"augment.speed_{name}" for name in ("prob=1", f"low={min(1, speed)}", f"high={max(1, speed)}")]
    settings = ["phonemes.weight=1", "phonemes.units=given", "data.max_seconds=2", *(more if speed else [])]
    config = quick_config(tmp_path, "m", tmp_path, *settings)
    cuts = cuts_of([Utterance(id="a", audio=path)], min_samples=400, workers=0).cuts
    (heard,) = decoded(cuts, normalizes=False)
    assert isinstance(heard, np.ndarray)
    least = min(heard.size, change_speed(heard, speed).size) if speed else heard.size
    frames = int(grid.count(least))
    for count in (frames, frames + 1):
        said = {"a": Utterance(id="a", audio=path, text=" ".join(map(str, range(count))))}
        said |= {"b": Utterance(id="b", audio=path, text="x")}
        _, notes = spoken_aim(config, said, [*cuts, cuts[0].with_id("b")], grid)
        assert any("(too short for what is said)" in note for note in notes) == (count > frames)
