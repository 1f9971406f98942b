"""Values such as arousal: scores against formulas, heads on made-up clips, and the whole probe on tones."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from probe.conversations import is_what_is_heard, write_iemocap, write_msp
from probe.stand_in import problem_of, run_plan, write_tones
from scipy.stats import pearsonr
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

from emotion2vec.cli import app
from emotion2vec.corpora.lists.tables import read_table
from emotion2vec.corpora.named.registry import read_named
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.probe import probe
from emotion2vec.probe.benchmark.loading import load_plan
from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.probe.heads import LinearHead, MlpHead, SequenceHead, WeightedHead
from emotion2vec.probe.problem import HeadRecipe, Problem
from emotion2vec.probe.ridge import RidgeHead
from emotion2vec.tasks.metrics import concordance_scores, moments
from emotion2vec.tasks.significance import bootstrap_intervals
from emotion2vec.tasks.values import Values

HEADS = [
    RidgeHead(),
    LinearHead(updates=100, lr=3e-3, validate_every=25),
    MlpHead(epochs=15, batch=16),
    WeightedHead(epochs=15, lr=1e-2),
    SequenceHead(name="attention", hidden=8, epochs=50, lr=2e-2),
    SequenceHead(name="gru", hidden=8, epochs=12, lr=2e-2),
]


def lins_ccc(x: np.ndarray, y: np.ndarray) -> float:
    """Lin's formula, by the correlation: 2 r s_x s_y / (s_x² + s_y² + (m_x − m_y)²)."""
    return 2 * np.corrcoef(x, y)[0, 1] * x.std() * y.std() / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def test_scores_are_those_of_the_formulas() -> None:
    random = np.random.default_rng(0)
    truth = 4 + random.standard_normal((50, 2))
    predicted = 0.6 * truth + random.standard_normal((50, 2)) + 1
    for place, sums in enumerate(moments(truth[:20], predicted[:20]) + moments(truth[20:], predicted[20:])):
        x, y = truth[:, place], predicted[:, place]
        found = concordance_scores(sums)
        assert found["CCC"] == pytest.approx(lins_ccc(x, y))
        assert found["Pearson"] == pytest.approx(pearsonr(x, y)[0])
        assert found["MAE"] == pytest.approx(mean_absolute_error(x, y))


def test_a_constant_answer_is_worth_nothing_however_large_the_labels() -> None:
    clips = [Utterance(id=str(i), file=str(i), audio=Path(str(i)), values={"year": 1e6 + i % 7}) for i in range(40)]
    goal = Values(Corpus(name="x", root=Path(), utterances=tuple(clips)), ["year"])
    rows = np.arange(40)
    constant = goal.score(goal.statistics(rows, np.tile(goal.constant(rows), (40, 1))))
    assert constant["CCC"] == pytest.approx(0, abs=1e-9) and constant["Pearson"] == 0
    assert goal.score(goal.statistics(rows, goal.labels))["CCC year"] == pytest.approx(1)
    noisy = goal.labels + np.random.default_rng(0).standard_normal((40, 1))
    assert goal.score(goal.statistics(rows, noisy))["CCC"] == pytest.approx(lins_ccc(goal.labels[:, 0], noisy[:, 0]))
    assert goal.fault(np.array([0, 7, 14])) == "year has a single value in training, expected at least 2"


def test_bootstrap_over_speakers_is_that_of_the_predictions() -> None:
    random = np.random.default_rng(0)
    truth = random.standard_normal((60, 1))
    predicted = truth + random.standard_normal((60, 1))
    speakers = np.arange(60) % 6
    sums = np.stack([moments(truth[speakers == s], predicted[speakers == s]) for s in range(6)])
    low, high = bootstrap_intervals(sums, lambda row: concordance_scores(row[0]))["CCC"]
    drawn = []
    for _ in range(2000):
        rows = np.concatenate([np.flatnonzero(speakers == s) for s in random.integers(0, 6, 6)])
        drawn.append(lins_ccc(truth[rows, 0], predicted[rows, 0]))
    assert (low, high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.03)


@pytest.fixture(scope="module")
def table() -> FeatureTable:
    """Six channels in frames of clips by six speakers; two hidden values lie in the first channels."""
    random = np.random.default_rng(0)
    lengths = random.integers(3, 9, 120)
    hidden = random.standard_normal((120, 2))
    frames = random.standard_normal((lengths.sum(), 6))
    frames[:, :2] += 2 * np.repeat(hidden, lengths, axis=0)
    starts = np.cumsum(lengths) - lengths
    vectors = (np.add.reduceat(frames, starts) / lengths[:, None]).astype(np.float32)
    return FeatureTable(vectors=vectors, frames=frames.astype(np.float32), lengths=lengths, failures={}, layers=2)


@pytest.fixture
def problem(table: FeatureTable) -> Problem:
    noise = np.random.default_rng(1).standard_normal((120, 2))
    return problem_of(4 + table.vectors[:, :2] @ np.array([[1.0, 0.5], [0.2, -1.0]]) + 0.1 * noise, outputs=2)


def ccc(head: HeadRecipe, table: FeatureTable, problem: Problem) -> list[float]:
    found = head.fit(head.prepare(table, "cpu"), problem).scores
    return [lins_ccc(problem.labels[problem.test, q], found[:, q]) for q in range(2)]


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_heads_learn_values_and_not_noise(head: HeadRecipe, table: FeatureTable, problem: Problem) -> None:
    assert min(ccc(head, table, problem)) > 0.7
    random = np.random.default_rng(2).permutation(problem.labels)
    assert max(map(abs, ccc(head, table, replace(problem, labels=random)))) < 0.35
    spoiled = problem.labels.copy()
    spoiled[problem.test] = 0  # the labels of the test are nobody's business
    data = head.prepare(table, "cpu")
    np.testing.assert_array_equal(
        head.fit(data, problem).scores, head.fit(data, replace(problem, labels=spoiled)).scores
    )


def test_ridge_is_scikit_learns_and_chooses_per_dimension(table: FeatureTable, problem: Problem) -> None:
    rows = np.arange(80)
    scaler = StandardScaler().fit(table.vectors[rows])
    fitted = Ridge(alpha=0.1 * 80).fit(scaler.transform(table.vectors[rows]), problem.labels[rows])
    found = RidgeHead(grid=(0.1,)).fit(table.vectors, problem)
    np.testing.assert_allclose(found.scores, fitted.predict(scaler.transform(table.vectors[problem.test])), rtol=1e-5)
    noise = np.random.default_rng(3).standard_normal(120)
    mixed = replace(problem, labels=np.stack([problem.labels[:, 0], noise], axis=1))
    learnable, _ = RidgeHead(grid=(1e-3, 1e3)).fit(table.vectors, mixed).details["penalties"]
    assert learnable == 1e-3


def write_values(root: Path) -> Path:
    """The tones, with a column that follows the pitch, one of noise, and one value missing."""
    table = write_tones(root, speakers=4, each=5)
    random = np.random.default_rng(0)
    rows = list(csv.DictReader(table.open()))
    lines = ["file,speaker,Height,noise"]
    for number, row in enumerate(rows):
        height = f"{(row['emotion'] == 'high') + random.normal(0, 0.1):.3f}"
        lines.append(f"{row['file']},{row['speaker']},{height if number else ''},{random.random():.3f}")
    table.write_text("\n".join(lines))
    return table


def test_a_probe_of_values(tmp_path: Path) -> None:
    table, output = write_values(tmp_path), tmp_path / "scores.json"
    options = ["--features", "logmel", "--head", "ridge", "--output", str(output)]
    found = CliRunner().invoke(
        app, ["probe", "--table", str(table), "--target", "Height", "--target", "noise", *options]
    )
    assert found.exit_code == 1, found.output  # one value is missing
    assert "CCC Height" in found.output and "WA" not in found.output
    document = json.loads(output.read_text())
    assert document["mean"]["CCC Height"] > 0.8 > 0.4 > abs(document["pooled"]["CCC noise"])
    assert document["mean"]["CCC"] == pytest.approx(
        (document["mean"]["CCC Height"] + document["mean"]["CCC noise"]) / 2
    )
    low, high = document["intervals"]["CCC Height"]
    assert low <= document["pooled"]["CCC Height"] <= high
    assert "confusion" not in document and "classes" not in document and "AUC" not in document
    assert document["left_out"] == [{"file": "high_0_0.wav", "reason": "no value of Height"}]
    assert document["audit"]["baselines"]["majority"]["CCC"] == pytest.approx(0, abs=1e-9)
    assert len(document["points"]["noise"]) == 39


def test_a_single_clip_has_no_ccc_and_folds_of_nothing_else_are_refused(tmp_path: Path) -> None:
    table = write_values(tmp_path)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:-1], lines[-1].replace(",s3,", ",alone,")]))
    output = tmp_path / "scores.json"
    settings = ["--features", "logmel", "--features", "mfcc", "--head", "ridge", "--output", str(output)]
    found = CliRunner().invoke(app, ["probe", "--table", str(table), "--target", "Height", *settings])
    assert "alone" in found.output and "–" in found.output
    for document in json.loads(output.read_text())["results"]:
        folds = {row["name"]: row["CCC"] for row in document["folds"]}
        assert folds.pop("alone") is None
        assert document["mean"]["CCC"] == pytest.approx(np.mean(list(folds.values())))
        speakers = {row["speaker"]: row["CCC"] for row in document["by_speaker"]}
        assert speakers.pop("alone") is None and None not in speakers.values()
        assert len(document["statistics"]) == 5

    single = [f"{line.rsplit(',', 3)[0]},own{number},{line.split(',', 2)[2]}" for number, line in enumerate(lines[2:9])]
    table.write_text("\n".join([lines[0], *single]))
    with pytest.raises(ConfigError, match=r"each of the 7 folds tests a single clip, which has no CCC.*speaker:K"):
        probe(table=table, targets=["Height"], features=["logmel"], heads=["ridge"])


def test_mistakes_are_named(tmp_path: Path) -> None:
    table = write_values(tmp_path)
    with pytest.raises(ConfigError, match="head logreg predicts no values, expected ridge"):
        probe(table=table, targets=["noise"], features=["logmel"], heads=["logreg"])
    with pytest.raises(ConfigError, match="ridge needs targets"):
        probe(table=table, features=["logmel"], heads=["ridge"])
    with pytest.raises(ManifestError, match="columns are file, speaker, Height, noise; expected `file` and `arousal`"):
        read_table(table, targets=["arousal"])
    with pytest.raises(ConfigError, match="dataset emodb has no values of arousal, expected one of iemocap: arousal"):
        probe(dataset="emodb", root=tmp_path, targets=["arousal"], features=["logmel"])
    with pytest.raises(ConfigError, match="targets arousal need a dataset or a table, found a folder"):
        probe(root=tmp_path, targets=["arousal"], features=["logmel"])
    table.write_text(
        table.read_text()
        .replace("low_0_0.wav,s0,", "low_0_0.wav,s0,loud")
        .replace("low_1_0.wav,s1,", "low_1_0.wav,s1,nan ")
    )
    with pytest.raises(ManifestError, match=r"2 faulty lines: line 3: Height is 'loud.*expected a number; line 13"):
        read_table(table, targets=["Height"])


def test_iemocap_and_msp_podcast_from_their_annotations(tmp_path: Path) -> None:
    iemocap, msp = write_iemocap(tmp_path / "iemocap", is_what_is_heard), write_msp(tmp_path / "msp")
    found = probe(
        dataset="iemocap",
        root=iemocap,
        targets=["valence", "arousal"],
        folds="session",
        features=["logmel"],
        heads=["ridge"],
    )
    (row,) = found.results
    assert found.about["clips"] == 162  # also those without a usable class
    assert row["pooled"]["CCC arousal"] > 0.9 and abs(row["pooled"]["CCC valence"]) < 0.3
    assert found.about["targets"]["arousal"]["mean"] == pytest.approx(3, abs=0.3)
    (row,) = probe(
        dataset="msp-podcast", root=msp, targets=["arousal"], folds="official", features=["logmel"], heads=["ridge"]
    ).results
    assert row["metrics"] == ["CCC", "Pearson", "MAE"] and [fold["clips"] for fold in row["folds"]] == [12]
    assert row["mean"]["CCC"] > 0.8 and row["mean"]["MAE"] < 0.5
    with pytest.raises(ConfigError, match="dominance has a single value in training"):
        probe(
            dataset="msp-podcast",
            root=msp,
            targets=["dominance"],
            folds="official",
            features=["logmel"],
            heads=["ridge"],
        )
    clips = read_named("msp-podcast", msp, targets=["valence"]).utterances
    assert len(clips) == 48 and {clip.label for clip in clips} == {None, "anger", "neutral"}
    assert {clip.split for clip in clips} == {"train", "valid", "test"}


def test_values_beside_classes_in_one_report(tmp_path: Path) -> None:
    (tmp_path / "tones").mkdir()
    (tmp_path / "values").mkdir()
    write_tones(tmp_path / "tones", speakers=3, each=2)
    write_values(tmp_path / "values")
    config = tmp_path / "plan.yaml"
    config.write_text(
        f"""
data: {tmp_path}
corpora:
  - {{table: tones/tones.csv, title: classes}}
  - {{table: values/tones.csv, title: values, targets: [Height, noise], heads: [ridge]}}
  - {{table: values/tones.csv, title: no layers, targets: [Height], heads: [ridge, weighted]}}
features: [logmel, mfcc]
output: {tmp_path / "out"}
"""
    )
    plan = load_plan(config)
    result = run_plan(plan)
    assert result.exit_code == 1 and len(result.combinations) == 6  # also those of the head before the one that fails
    assert {failure.corpus for failure in result.failures} == {"no layers"}
    out = Path(plan.output)
    rows = {(row["corpus"], row["feature"]): row for row in csv.DictReader((out / "results.csv").open())}
    values, classes = rows["values", "logmel"], rows["classes", "logmel"]
    assert values["WA"] == "" and classes["CCC"] == "" and values["task"] == "regression"
    assert float(values["CCC_low"]) <= float(values["CCC_high"]) and float(classes["UA_low"]) >= 0
    assert "| feature | head | CCC | 95 % | CCC Height | CCC noise | p |" in (out / "results.md").read_text()
    page = (out / "report.html").read_text()
    assert page.count('class="confusion"') == 2 and page.count('svg class="agreement"') == 6
    assert "mean of training" in page and "Mean ± standard deviation of the labels per fold" in page
