from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from splits import corpus_of

from emotion2vec.corpora.folds import Fold, make_folds
from emotion2vec.probe.audit import audit
from emotion2vec.tasks.targets import make_goal


def test_a_split_that_only_the_speaker_solves(tmp_path: Path) -> None:
    rows = [(f"s{i % 4}", "ab"[i % 4 // 2], bytes([i])) for i in range(40)]  # each speaker has one emotion
    corpus = corpus_of(tmp_path, rows)
    fold = Fold(name="published", train=np.arange(30), test=np.arange(30, 40), shared_speakers=("s0",))
    found = audit(corpus, [fold], make_goal(corpus))
    assert found["baselines"]["speaker"]["WA"] == 100
    assert found["baselines"]["majority"]["UA"] == pytest.approx(50)
    told = " ".join(found["warnings"])
    assert "not speaker-independent" in told and "only who speaks scores 100.0 % WA" in told
    assert "4 of 4 speakers have clips of one class only" in told


def test_honest_folds_have_nothing_to_tell(tmp_path: Path) -> None:
    rows = [(f"s{i % 3}", "ab"[i // 3 % 2], bytes([i])) for i in range(36)]
    corpus = corpus_of(tmp_path, rows)
    found = audit(corpus, make_folds(corpus, "speaker"), make_goal(corpus))
    assert found["warnings"] == []
    assert found["baselines"]["speaker"] == found["baselines"]["majority"]
    assert found["folds"][0]["train"] == {"a": 12, "b": 12}
