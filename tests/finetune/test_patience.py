"""Early stopping: when a run ends, what it leaves, and how it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from finetune.talkers import quick, quick_config
from finetune.test_run import run

from emotion2vec.checkpoint import load_model
from emotion2vec.finetune.run import finetune
from emotion2vec.training.patience import Patience, validation_score

STILL = ["optim.lr=1e-12", "optim.encoder_lr=1e-12", "validation.patience=1"]
"""Nothing gets better, so that the second validation, of update 4, is the last."""


def test_the_count_is_that_of_all_scores() -> None:
    rng = np.random.default_rng(0)
    for limit in (0, 1, 2, 3):
        scores: list[float] = []
        patience = Patience(limit)
        for _ in range(200):
            scores.append(float(rng.choice([1.0, 2.0, 3.0, np.nan])))
            patience.note({"validation_score": scores[-1], "validation_loss": 0.0})
            patience.note({})
            known = np.array(scores)
            first = int(np.nanargmax(known)) if np.isfinite(known).any() else -1
            over = bool(limit) and len(scores) - 1 - first >= limit
            assert patience.is_over == over == Patience.after(limit, scores).is_over
            if over:
                patience, scores = Patience(limit), []


def test_losses_count_where_there_is_no_score_as_they_are_logged() -> None:
    assert validation_score({"validation_loss": 0.25}) == -0.25
    assert validation_score({"validation_loss": 0.25, "validation_score": 66.66666666}) == 66.6667
    assert np.isnan(validation_score({"validation_loss": None})) and np.isnan(validation_score({}))


def test_a_run_ends_and_says_so_when_it_is_taken_up(
    talkers: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    for text in ("", "resumed after update 4"):
        result = finetune(quick_config(talkers, model, tmp_path, *STILL), said.append).result
        shown = capsys.readouterr().err
        assert (result.update, result.signal) == (4, None) and text in shown
        assert "ended after update 4 of 6: 1 validation without a better score than" in shown
        assert json.loads((tmp_path / "finetuned.json").read_text())["update"] == 4  # the later one of two
        assert load_model(tmp_path).head is not None
    assert finetune(quick_config(talkers, model, tmp_path, *STILL[:2]), said.append).result.update == 6


def test_all_processes_end_together(talkers: Path, model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run(quick(talkers, model, tmp_path / "run", *STILL), log, ranks=2) == 0, log.read_text()
    assert "ended after update 4 of 6" in log.read_text()
