"""A finished run goes on to more updates when it is asked to, and never otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
from training.helpers import metrics, overrides

from emotion2vec.errors import ConfigError
from emotion2vec.pretrain.config import load_config
from emotion2vec.pretrain.run import pretrain
from emotion2vec.training.schedules import learning_rate


def run(speech: Path, folder: Path, *more: str) -> list[str]:
    said: list[str] = []
    pretrain(load_config(None, overrides(speech, folder, "optim.warmup_updates=1", *more)), said.append)
    return said


def test_a_finished_run_is_extended_on_request(speech: Path, tmp_path: Path) -> None:
    run(speech, tmp_path, "optim.max_updates=3")
    with pytest.raises(ConfigError, match=r"run\.extend=true goes on with a finished run.*\n.*max_updates is 3 there"):
        run(speech, tmp_path, "optim.max_updates=6")
    for wrong in ("run.seed=9", "optim.lr=0.5"):
        with pytest.raises(ConfigError, match=wrong.split("=")[0]):
            run(speech, tmp_path, "optim.max_updates=6", "run.extend=true", wrong)
    with pytest.raises(ConfigError, match="max_updates is 3 there and 2 now"):
        run(speech, tmp_path, "optim.max_updates=2", "run.extend=true")
    said = run(speech, tmp_path, "optim.max_updates=6", "run.extend=true")
    config = load_config(tmp_path / "config.yaml").optim
    assert config.max_updates == 6
    assert f"had come down to 0 and goes on at {learning_rate(4, config):.3g}, on the schedule of 6 updates" in said[0]
    assert [line["update"] for line in metrics(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert "extending" not in run(speech, tmp_path, "optim.max_updates=6", "run.extend=true")[0]  # the same command


def test_a_run_that_is_not_finished_is_not_extended(speech: Path, tmp_path: Path) -> None:
    run(speech, tmp_path, "optim.max_updates=2")
    config = (tmp_path / "config.yaml").read_text().replace("max_updates: 2", "max_updates: 4")
    (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(ConfigError, match="stands at update 2 of 4, expected a finished one"):
        run(speech, tmp_path, "optim.max_updates=6", "run.extend=true")
