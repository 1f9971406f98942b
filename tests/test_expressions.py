"""Expressions of a user's YAML: used, and never written back; in the files of others they are text."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from emotion2vec.errors import ConfigError
from emotion2vec.expressions import Expression
from emotion2vec.model.config import model_config
from emotion2vec.pretrain.config import PretrainConfig
from emotion2vec.settings import build, dotted, read_mapping, to_yaml
from emotion2vec.training.config import load


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E2V_SECRET", "hush")


def read(
    path: Path, text: str = "run: {dir: '${oc.env:E2V_SECRET}/x'}\ndata: {train: ['${run.dir}/y', b]}"
) -> PretrainConfig:
    path.write_text(text)
    return load(PretrainConfig, path, check=lambda _: [])


def test_what_stands_for_the_environment_is_used_and_not_written(tmp_path: Path) -> None:
    config = read(tmp_path / "c.yaml")
    assert config.run.dir == "hush/x" and config.data.train == ["hush/x/y", "b"]
    again = build(PretrainConfig, dotted(config), [])
    for one in (config, again, pickle.loads(pickle.dumps(config))):
        written = to_yaml(one)
        assert "hush" not in written and "${oc.env:E2V_SECRET}/x" in written
        assert read(tmp_path / "again.yaml", written) == config


def test_overrides_are_a_users_own_too() -> None:
    config = load(PretrainConfig, None, ["run.dir=${oc.env:E2V_SECRET}"], check=lambda _: [])
    assert config.run.dir == "hush" and "hush" not in to_yaml(config)


def test_expressions_in_the_files_of_others_are_text(tmp_path: Path) -> None:
    for values in ({"norm": "${oc.env:E2V_SECRET}"}, {"norm": "${oc.env:E2V_SECRET}", "dropout": 0, "width": "48"}):
        with pytest.raises(ConfigError) as raised:
            model_config(values, "model.json")
        assert "hush" not in str(raised.value) and "${oc.env:E2V_SECRET}" in str(raised.value)


def test_a_configuration_has_a_budget(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    (tmp_path / "c.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=r"c\.yaml: cannot be read as YAML: more than 20,000 values"):
        read_mapping(tmp_path / "c.yaml")


def test_an_expression_is_a_text() -> None:
    made = Expression("a", "${b}")
    assert made == "a" and pickle.loads(pickle.dumps(made)).written == "${b}"
