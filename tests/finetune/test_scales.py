"""Values of several corpora on one scale."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from finetune.talkers import QUICK, quick_config, write_talkers

from emotion2vec.errors import Emotion2vecError
from emotion2vec.finetune.config import FinetuneConfig, load_config
from emotion2vec.finetune.evaluation.plan import load_plan
from emotion2vec.finetune.evaluation.run import evaluate
from emotion2vec.finetune.labelled import read_labelled
from emotion2vec.finetune.run import finetune

LEVELS = {"anger": 0.95, "neutral": 0.5, "sadness": 0.03}


def rated(folder: Path, low: float, high: float) -> Path:
    """A table whose arousal goes with the class, on a scale."""
    table = write_talkers(folder, takes=1)
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    lines = [f"{row['file']},{row['speaker']},{low + (high - low) * LEVELS[row['emotion']]}" for row in rows]
    table.write_text("\n".join(["file,speaker,arousal", *lines]) + "\n")
    return table


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    scales = {"one": (1, 5), "two": (0, 1), "three": (1, 5)}
    return {name: rated(tmp_path_factory.mktemp(name), *limits) for name, limits in scales.items()}


def config_of(tables: dict[str, Path], names: str, run: Path, *more: str) -> FinetuneConfig:
    corpora = ",".join(f"{name}={tables[name]}" for name in names.split())
    given = [f"data.corpora=[{corpora}]", "data.targets=[arousal]", f"run.dir={run}", *more]
    return load_config(None, [*QUICK, *given])


def test_scales_that_are_stated_become_one(tables: dict[str, Path], tmp_path: Path) -> None:
    config = config_of(tables, "one two", tmp_path, "data.ranges=[one=1..5,two.arousal=0..1]")
    found = read_labelled(config.data)
    for name in ("one", "two"):
        values = {round(clip.values["arousal"], 9) for clip in found.utterances if clip.corpus == name}
        assert values == set(LEVELS.values())
    assert "arousal is brought to 0..1, which predictions are in too: 1..5 of one, 0..1 of two" in found.warnings


@pytest.mark.parametrize("more", [[], ["data.ranges=[1..5]"]])
def test_values_of_one_scale_stay_as_they_are(tables: dict[str, Path], tmp_path: Path, more: list[str]) -> None:
    found = read_labelled(config_of(tables, "one three", tmp_path, *more).data)
    np.testing.assert_allclose(sorted({clip.values["arousal"] for clip in found.utterances}), [1.12, 3, 4.8])
    assert len({clip.speaker for clip in found.utterances}) == 8 and not found.warnings


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "arousal goes from 1.12 to 4.8 in one, from 0.03 to 0.95 in two, and the scale of one and two is not st"),
        (["data.ranges=[one=1..5]"], r"the scale of two is not stated; .*data.ranges=\[one=1..5,two=0..1\]"),
        (["data.ranges=[0..1]"], "one: arousal of 12 clips is not in 0..1: one|s0_anger_0.wav"),
        (["data.ranges=[three=1..5]"], r"data.ranges names three, expected a corpus \(one, two\), a value"),
        (["data.ranges=[5..1]"], "data.ranges has '5..1', expected LOW..HIGH"),
    ],
)
def test_scales_that_do_not_fit_are_refused(
    tables: dict[str, Path], tmp_path: Path, more: list[str], message: str
) -> None:
    with pytest.raises(Emotion2vecError, match=message):
        read_labelled(config_of(tables, "one two", tmp_path, *more).data)


def test_the_checkpoint_is_chosen_by_the_mean_over_corpora(
    tables: dict[str, Path], model: Path, tmp_path: Path
) -> None:
    ranges = "data.ranges=[one=1..5,two=0..1]"
    finetune(config_of(tables, "one two", tmp_path, ranges, f"model={model}"), lambda text: None)
    found = json.loads((tmp_path / "finetuned.json").read_text())["validation"]
    assert found["CCC"] == pytest.approx((found["CCC_one"] + found["CCC_two"]) / 2)
    scores = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    best = max(row["validation_CCC"] for row in scores if "validation_CCC" in row)
    assert best == pytest.approx(found["CCC"], abs=2e-3)


def test_one_corpus_is_checked_too(tables: dict[str, Path], tmp_path: Path) -> None:
    given = ["data.targets=[arousal]", "data.ranges=[1..4]"]
    with pytest.raises(Emotion2vecError, match=r"arousal of 4 clips is not in 1..4: s0_anger_0.wav \(4.8\)"):
        read_labelled(quick_config(tables["one"], Path("m"), tmp_path, *given).data)


def test_a_model_is_tested_on_its_own_scale(tables: dict[str, Path], model: Path, tmp_path: Path) -> None:
    def ccc(table: str, run: Path, *more: str) -> tuple[float, tuple[str, ...]]:
        """The score of a test, and what is warned of."""
        given = [f"model={run}", f"data.table={tables[table]}", f"output={tmp_path / 'out'}", "known=keep", *more]
        found = evaluate(load_plan(given), lambda text: None).scores
        return found.results[0].pooled["CCC"], found.about.warnings

    given = ["data.targets=[arousal]", "optim.max_updates=2"]
    stated, bare = tmp_path / "stated", tmp_path / "bare"
    finetune(quick_config(tables["two"], model, stated, *given, "data.ranges=[0..1]"), lambda text: None)
    finetune(quick_config(tables["two"], model, bare, *given), lambda text: None)
    (own, nothing), (brought, told) = ccc("two", stated), ccc("three", stated, "data.ranges=[1..5]")
    assert brought == pytest.approx(own, abs=1e-4)
    assert any("arousal of 1..5 is brought to 0..1, the scale that the model learnt" in one for one in told)
    for run, more in ((bare, ["data.ranges=[1..5]"]), (bare, []), (stated, [])):
        other, told = ccc("three", run, *more)
        assert any("arousal goes from 1.12 to 4.8 here and from 0.03 to 0.95 in what" in one for one in told)
        assert other != pytest.approx(own, abs=1e-2)
    assert not any("scale" in one for one in [*nothing, *ccc("two", bare)[1]])
