"""Systems on the same folds: their table, going on, and what fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import run
from finetune.talkers import QUICK, write_model, write_talkers

from emotion2vec.cli.shared import find_config
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.config import load_config
from emotion2vec.systems.plan import load_systems

PLAN = """
title: Talkers & more
folds: "speaker:2"
systems:
  - {title: logistic, head: logreg, published: {emodb: "never shown"}}
  - {title: spectra, head: logreg, model: logmel}
  - {title: broken, head: logreg, model: nowhere/at_all}
  - {title: tuned, verb: finetune, settings: [finetune.strategy=frozen]}
  - {title: other folds, verb: finetune, settings: ["evaluate.folds=speaker:4"]}
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("systems")
    write_talkers(folder / "audio")
    write_model(folder / "model")
    (folder / "plan.yaml").write_text(PLAN)
    return folder


def words(written: Path, output: Path) -> list[str]:
    settings = ", ".join(QUICK)
    own = [f"table={written / 'audio' / 'table.csv'}", f"data={written / 'audio'}", f"model={written / 'model'}"]
    return [
        "benchmark",
        "--config",
        str(written / "plan.yaml"),
        *own,
        f"settings=[{settings}]",
        f"output={output}",
    ]


def test_systems_are_compared_on_the_same_folds_and_kept(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *words(written, tmp_path)) == 1  # two of five failed
    said = capsys.readouterr().err
    assert "3 of 5 systems in" in said and "failed: broken: " in said and "nowhere/at_all" in said
    found = json.loads((tmp_path / "results.json").read_text())
    assert [row["system"] for row in found["results"]] == ["logistic", "spectra", "tuned"]
    assert len({json.dumps([(f["name"], f["clips"]) for f in row["folds"]]) for row in found["results"]}) == 1
    assert "its folds test other clips than those of logistic" in found["failures"]["other folds"]
    logistic, spectra, tuned = found["results"]
    assert logistic["parameters"] == 3 * 32 + 3  # a weight per channel and class, and offsets
    assert spectra["backbone"] == "logmel" and tuned["parameters"] > 0
    assert all(row["UA"] is not None and row["hours"] > 0 and row["published"] is None for row in found["results"])
    page, latex = (tmp_path / "report.html").read_text(), (tmp_path / "results.tex").read_text()
    assert "Talkers &amp; more" in page and "logistic" in page and "broken" in page
    assert latex.count(r"\\") == 4 and "tuned" in latex
    tables = [(tmp_path / f"results.{kind}").read_text() for kind in ("txt", "md")]
    assert all(f"{tuned['UA']:.1f}" in text for text in (*tables, page, latex))

    kept = [path.stat().st_mtime_ns for path in sorted((tmp_path / "results").glob("*.json"))]
    assert run(monkeypatch, *words(written, tmp_path)) == 1
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "results").glob("*.json"))] == kept
    again = json.loads((tmp_path / "results.json").read_text())
    assert again["results"] == found["results"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("systems: []", r"systems is \[\], expected a list"),
        ("table: x\nsystems: [{verb: probe}]", r"systems\[0\] is .*, expected a mapping with a title"),
        ("table: x\nsystems: [{title: a, verb: guess}]", r"systems\[0\]\.verb is 'guess', expected probe or finetune"),
        ("table: x\nsystems: [{title: a, head: mpl}]", r"systems\[0\]\.head is 'mpl', expected one of linear"),
        ("table: x\nsystems: [{title: a, heads: mlp}]", r"systems\[0\]\.heads"),
        ("table: x\nsystems: [{title: A b}, {title: a-B}]", r"titles A b, a-B give the same file"),
        ("table: x\ndataset: emodb\nsystems: [{title: a}]", r"expected a dataset or a table, one of them"),
        ("table: x\nfolds: speakers\nsystems: [{title: a}]", r"folds .*speakers"),
        (
            "table: x\nsystems: [{title: a, settings: lr}]",
            r"systems\[0\]\.settings is 'lr', expected a list",
        ),
    ],
)
def test_faults_of_a_plan_are_named(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_systems(tmp_path / "plan.yaml")


def test_the_shipped_plan_is_one(root: Path) -> None:
    plan = load_systems(root / "configs" / "systems" / "systems.yaml", ["data=/speech"])
    assert {system.verb for system in plan.systems} == {"probe", "finetune"} and len(plan.systems) >= 8
    for system in plan.systems:
        if system.verb == "finetune":  # whose settings can all be trained with
            given = ["data.corpora=[iemocap=/speech]", "run.dir=run", "model=compact"]
            load_config(find_config(system.config, "finetune"), [*given, *system.settings])
