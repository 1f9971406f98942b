from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from networks import tiny_config

from emotion2vec.checkpoint import load_model
from emotion2vec.checkpoint.heard import HEARD_FILE, MOST_KEPT, Heard, read_heard, utterance_key
from emotion2vec.checkpoint.native import save_model
from emotion2vec.errors import CheckpointError
from emotion2vec.exporting.convert import convert
from emotion2vec.model.encoder import Emotion2vec


def test_a_key_is_name_and_length_whatever_the_folder_and_the_format() -> None:
    key = utterance_key("speech/a/Clip.7.wav", 3.21)
    assert key == utterance_key("/elsewhere/clip.7.opus", 3.19) == utterance_key("a/clip.7#2", 3.2)
    assert key != utterance_key("clip.8.wav", 3.21)
    assert abs(key - utterance_key("clip.7.wav", 3.26)) == 1
    assert utterance_key("x", 1e9) < 2**63 and utterance_key("x", 0.0) > 0


def test_names_of_any_bytes_have_keys() -> None:
    odd = os.fsdecode(b"caf\xe9.wav")
    assert utterance_key(odd, 1.0) == utterance_key(f"/x/{odd}", 1.0) != utterance_key("café.wav", 1.0)
    assert utterance_key("\ud800.wav", 1.0) > 0


def test_shares_are_of_the_clips_asked_for() -> None:
    heard = Heard().with_more(audio=[utterance_key(f"clip{n}", 2.0) for n in range(100)])
    heard = heard.with_more(audio=[utterance_key("clip0", 2.0)], labels=[utterance_key("clip3", 1.0)])
    assert len(heard.audio) == 100
    asked = [utterance_key(f"clip{n}", seconds) for n, seconds in ((0, 2.04), (1, 2.06), (2, 3.0), (500, 2.0))]
    assert heard.share("audio", asked) == 0.5
    assert heard.share("labels", [utterance_key("clip3", 1.0)]) == 1.0
    assert heard.share("audio", []) == Heard().share("audio", asked) == 0.0


def test_of_very_many_a_sample_is_kept_that_still_tells_the_share() -> None:
    names = np.random.default_rng(0).integers(0, 2**62, 4 * MOST_KEPT)
    heard = Heard().with_more(audio=(int(name) << 14 >> 14 for name in names))
    assert len(heard.audio) == MOST_KEPT
    asked = [*names[:4_000].tolist(), *np.random.default_rng(1).integers(0, 2**62, 4_000).tolist()]
    assert heard.share("audio", asked) == pytest.approx(0.5, abs=0.06)


def test_models_carry_it(tmp_path: Path) -> None:
    model = Emotion2vec(tiny_config().model)
    heard = Heard().with_more(audio=[3, 1, 2], labels=[9])
    save_model(tmp_path / "model", model.config, model.state_dict(), heard=heard)
    save_model(tmp_path / "silent", model.config, model.state_dict())
    convert(tmp_path / "model", tmp_path / "converted", to="native")
    for name in ("model", "converted"):
        found = load_model(tmp_path / name).heard
        assert found.audio.tolist() == [1, 2, 3] and found.labels.tolist() == [9]
    assert load_model(tmp_path / "silent").heard is None and read_heard(tmp_path / "silent") is None
    (tmp_path / "model" / HEARD_FILE).write_bytes(b"broken")
    with pytest.raises(CheckpointError, match=HEARD_FILE):
        load_model(tmp_path / "model")
