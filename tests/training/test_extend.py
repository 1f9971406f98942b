"""A run goes on on another schedule when it is asked to, and never otherwise."""

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
    with pytest.raises(ConfigError, match=r"run\.extend=true goes on with these.*\n.*max_updates is 3 there and 6 now"):
        run(speech, tmp_path, "optim.max_updates=6")
    with pytest.raises(ConfigError, match=r"(?s)another run.dir:.*run.seed is 0 there and 9 now"):
        run(speech, tmp_path, "optim.max_updates=6", "run.extend=true", "run.seed=9")
    for nothing in ("optim.max_updates=2", "optim.lr=0.5"):
        with pytest.raises(ConfigError, match=r"has reached update 3, expected more"):
            run(speech, tmp_path, "optim.max_updates=3", "run.extend=true", nothing)
    said = run(speech, tmp_path, "optim.max_updates=6", "run.extend=true")
    config = load_config(tmp_path / "config.yaml").optim
    assert config.max_updates == 6
    assert "from update 3, of a run of 3, with optim.max_updates 6 in place of 3: its learning rate had" in said[0]
    assert f"had come to 0 and goes on at {learning_rate(4, config):.3g}; the result is not that of one run" in said[0]
    assert [line["update"] for line in metrics(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert "going on" not in run(speech, tmp_path, "optim.max_updates=6", "run.extend=true")[0]  # the same command


def test_an_unfinished_run_goes_on_at_another_rate(speech: Path, tmp_path: Path) -> None:
    run(speech, tmp_path, "optim.max_updates=2")
    config = (tmp_path / "config.yaml").read_text().replace("max_updates: 2", "max_updates: 4")
    (tmp_path / "config.yaml").write_text(config)  # as if it had been interrupted
    said = run(speech, tmp_path, "optim.max_updates=4", "optim.lr=1e-6", "run.extend=true")
    assert "going on from update 2, of a run of 4, with optim.lr 1e-06 in place of" in said[0]
    lines = metrics(tmp_path)
    assert [line["update"] for line in lines] == [1, 2, 3, 4]
    now = load_config(tmp_path / "config.yaml").optim
    assert lines[2]["lr"] == pytest.approx(learning_rate(3, now), rel=1e-3) and now.lr == 1e-6
