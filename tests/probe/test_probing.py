from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from probe.stand_in import StandIn, write_tones
from rich.console import Console
from sklearn.metrics import accuracy_score

from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.files import write_json
from emotion2vec.probe import LogisticRegressionHead, MlpHead, probe
from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.probe.problem import Prediction, Problem
from emotion2vec.probe.scores import HeadScores
from emotion2vec.report.tables import fold_table, summary_table


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    return write_tones(tmp_path)


def test_one_feature_and_head_stand_at_the_top_of_the_json(tones: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "scores.json"
    probe(table=tones, features=["logmel"], heads=["logreg"], output=output)
    found = json.loads(output.read_text())
    assert [fold["name"] for fold in found["folds"]] == ["s0", "s1", "s2", "s3"]
    assert found["folds"][1]["test_speakers"] == ["s1"]
    assert found["classes"] == ["high", "low"]
    assert found["clips"] == 32
    for row in (found["mean"], found["std"], found["pooled"]):
        assert set(row) == {"WA", "UA", "WF1", "MF1"}
    for metric in ("WA", "UA", "WF1"):
        of_folds = [fold[metric] for fold in found["folds"]]
        assert found["mean"][metric] == pytest.approx(np.mean(of_folds))
        assert found["std"][metric] == pytest.approx(np.std(of_folds))
    assert found["pooled"]["WA"] > 90
    assert found["settings"]["seeds"] == [0]
    assert {"torch", "numpy", "sklearn", "emotion2vec"} <= set(found["versions"])
    assert list(output.parent.iterdir()) == [output]


def test_a_result_says_how_long_its_head_took(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 190.0])
    monkeypatch.setattr("emotion2vec.probe.evaluation.time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert probe(table=tones, features=[StandIn()], heads=["logreg"]).results[0]["minutes"] == 1.5


def test_pooled_scores_are_those_of_all_predictions(tones: Path) -> None:
    result = probe(table=tones, features=[StandIn()], heads=["logreg"]).results[0]
    confusion = np.array(result["confusion"])
    truth, predicted = (np.repeat(axis.ravel(), confusion.ravel()) for axis in np.indices((2, 2)))
    assert len(truth) == result.clips == 32
    assert result["pooled"]["WA"] == pytest.approx(100 * accuracy_score(truth, predicted))


def test_intervals_are_over_speakers_or_clips_where_none_is_known(tones: Path) -> None:
    found = probe(table=tones, features=[StandIn()], heads=["logreg"]).results[0]
    assert found["intervals_over"] == "speakers"
    assert {row["speaker"]: row["clips"] for row in found["by_speaker"]} == {f"s{n}": 8 for n in range(4)}
    rows = [line.split(",") for line in tones.read_text().splitlines()]
    place = rows[0].index("speaker")
    tones.write_text("".join(",".join(row[:place] + row[place + 1 :]) + "\n" for row in rows))
    found = probe(table=tones, features=[StandIn()], heads=["logreg"], folds="random").results[0]
    assert (found["intervals_over"], found["by_speaker"]) == ("clips", [])


def test_classes_curves_and_groups_are_scored_too(tones: Path) -> None:
    lines = tones.read_text().splitlines()
    tones.write_text(
        "\n".join([lines[0] + ",gender", *(f"{line},{'fm'[n // 8 % 2]}" for n, line in enumerate(lines[1:]))])
    )
    heads = [MlpHead(epochs=3, batch=8)]
    found = probe(table=tones, features=[StandIn()], heads=heads, seeds=[0, 1]).results[0].to_dict()
    confusion = np.array(found["confusion"])
    for number, name in enumerate(("high", "low")):
        row = found["by_class"][name]
        assert row["recall"] == pytest.approx(100 * confusion[number, number] / confusion[number].sum())
        assert row["clips"] == confusion[number].sum() and found[f"AUC {name}"] == pytest.approx(found["AUC"])
        assert found["roc"][name][0] == [0, 0] and found["roc"][name][-1] == [1, 1]
    assert set(found["by_group"]) == {"gender"}
    groups = found["by_group"]["gender"]
    assert sum(row["clips"] for row in groups.values()) == 64 and len(groups) == 2
    mean = np.average([row["WA"] for row in groups.values()], weights=[row["clips"] for row in groups.values()])
    assert mean == pytest.approx(found["pooled"]["WA"])
    for fold in found["folds"]:
        assert all(row["temperature"] > 0 for row in fold["chosen"])
        assert 0 <= fold["ECE calibrated"] <= 100 and 0 <= fold["ECE"] <= 100
    assert HeadScores.from_dict(found).to_dict() == found


def test_several_features_heads_and_seeds(tones: Path) -> None:
    short = MlpHead(epochs=2, batch=8)
    result = probe(table=tones, features=["logmel"], model=StandIn(), heads=[short, "logreg"], seeds=[0, 1])
    document = result.to_dict()
    assert "folds" not in document
    pairs = [(row["feature"], row["head"]) for row in document["results"]]
    assert pairs == [("logmel", "mlp"), ("logmel", "logreg"), ("StandIn", "mlp"), ("StandIn", "logreg")]
    first = document["results"][0]
    assert first["head_settings"]["epochs"] == 2
    assert [row["seed"] for row in first["by_seed"]] == [0, 1]
    assert first["pooled"]["UA"] == pytest.approx(np.mean([row["pooled"]["UA"] for row in first["by_seed"]]))
    assert np.sum(first["confusion"]) == 64
    console = Console(file=io.StringIO(), width=120)
    console.print(fold_table(result.results[0]), summary_table(result))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"{first['mean']['WA']:.2f} ± {first['std']['WA']:.2f}" in shown
    assert shown.count("StandIn") == 2
    words = " ".join(shown.split())
    assert words.count("│ best │") == 1 and "so few give 0.125 at least" in words  # 2 of 2⁴ swaps of four speakers
    low, high = first["intervals"]["UA"]
    assert f"{low:.2f} to {high:.2f}" in words


def test_bad_clips_are_named_and_left_out(
    tones: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "high_0_0.wav").write_bytes(b"not audio")
    (tmp_path / "low_2_1.wav").unlink()
    result = probe(table=tones, features=["logmel"], heads=["logreg"], progress=True)
    assert {entry["file"] for entry in result.about["left_out"]} == {"high_0_0.wav", "low_2_1.wav"}
    reasons = {entry["file"]: entry["reason"] for entry in result.about["left_out"]}
    assert reasons["high_0_0.wav"].startswith("cannot be decoded") and reasons["low_2_1.wav"]
    assert capsys.readouterr().err == ""  # no terminal, no bar
    assert [fold["clips"] for fold in result.results[0]["folds"]] == [7, 8, 7, 8]
    assert "2 files cannot be used and are left out" in caplog.text
    assert any("left out" in warning for warning in result.about["warnings"])


def test_other_files_of_folders_are_counted(tones: Path, tmp_path: Path) -> None:
    for path in tmp_path.glob("*.wav"):
        (tmp_path / "classes" / path.stem.partition("_")[0]).mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "classes" / path.stem.partition("_")[0] / path.name)
    for name in ("high/notes.txt", "high/more.txt", "low/cover.jpg"):
        (tmp_path / "classes" / name).write_text("x")
    result = probe(root=tmp_path / "classes", features=["logmel"], heads=["logreg"], folds="random")
    assert result.to_dict()["summary"]["passed_over"] == {".txt": 2, ".jpg": 1}
    assert str(result.about.summary).endswith("32 done, 3 other files passed over (2 .txt, 1 .jpg)")


def test_folds_that_cannot_be_say_what_is_missing(tones: Path, tmp_path: Path) -> None:
    for path in tmp_path.glob("*_[123]_*.wav"):
        path.unlink()
    with pytest.raises(ConfigError, match=r"clips are of 1 speaker .*; 24 listed files cannot be used: high_1_0\.wav"):
        probe(table=tones, features=["logmel"], heads=["logreg"])


def test_no_readable_clip_at_all(tones: Path, tmp_path: Path) -> None:
    for path in tmp_path.glob("*.wav"):
        path.write_bytes(b"not audio")
    with pytest.raises(ManifestError, match="no clip can be read"):
        probe(table=tones, features=["logmel"], heads=["logreg"])


def test_a_speaker_without_a_readable_clip(tones: Path, tmp_path: Path) -> None:
    for path in tmp_path.glob("*_3_*.wav"):
        path.write_bytes(b"not audio")
    with pytest.raises(ConfigError, match="fold s3: no readable clip to test on"):
        probe(table=tones, features=["logmel"], heads=["logreg"])


def test_stored_features_must_have_every_clip_and_one_width(tones: Path, tmp_path: Path) -> None:
    names = sorted(path.stem for path in tmp_path.glob("*.wav"))
    store = tmp_path / "features.npz"
    np.savez(store, **{name: np.ones(4, np.float32) for name in names[:-2]})
    with pytest.raises(ManifestError, match=r"2 clips are without features: no arrays for low_3_2.wav, .*low_3_3"):
        probe(table=tones, features=[str(store)], heads=["logreg"])
    np.savez(store, **{name: np.ones(4 + (name == names[3]), np.float32) for name in names})
    with pytest.raises(ManifestError, match=rf"different widths, expected one: 4 for 31: .*; 5 for 1: {names[3]}.wav"):
        probe(table=tones, features=[str(store)], heads=["logreg"])


def test_an_output_that_cannot_be_written_is_found_out_first(tones: Path, tmp_path: Path) -> None:
    for output, message in ((tmp_path, "is a folder"), (tones / "scores.json", "cannot be written")):
        with pytest.raises(ConfigError, match=message):
            probe(table=tmp_path / "absent.csv", features=["logmel"], output=output)


def test_all_faults_of_a_request_are_told_at_once(tones: Path) -> None:
    with pytest.raises(ConfigError, match=r"found dataset and table; root.*layer is 'all'.*mlp reads"):
        probe(dataset="emodb", table=tones, layer="all")
    with pytest.raises(ConfigError, match="found none"):
        probe(features=["logmel"])


def test_no_half_written_json(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    write_json(path, {"a": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1.0}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_emodb_logmel_is_where_another_implementation_puts_it(shared: Path) -> None:
    # 53 % WA and 50 % UA from an independent log-mel and logistic regression on the same folds.
    head = LogisticRegressionHead(grid=(1e-2, 1e-1), inner_folds=3)
    result = probe(dataset="emodb", root=shared / "data" / "emodb", features=["logmel"], heads=[head])
    assert result.results[0]["mean"]["WA"] == pytest.approx(53, abs=5)
    assert result.results[0]["mean"]["UA"] == pytest.approx(50, abs=6)


@dataclass(frozen=True)
class Recorder:
    """A head that keeps the problems that it is given; with seed 0 all its answers are right, with others all wrong."""

    problems: list[Problem]
    name: str = "recorder"
    kinds: tuple[str, ...] = ("classification",)
    needs: str = "vectors"

    def prepare(self, table: FeatureTable, device: str) -> None:
        return None

    def fit(self, data: None, problem: Problem) -> Prediction:
        self.problems.append(problem)
        truth = problem.labels[problem.test]
        answers = truth if problem.seed == 0 else 1 - truth
        return Prediction(scores=np.eye(2)[answers], details={"seed": problem.seed})


def test_every_seed_has_other_validation_clips_and_scores_of_its_own(tones: Path) -> None:
    """Each seed is handed to the head, and what it scores is not mixed with what others do."""
    seen = Recorder([])
    seeds = [0, 3, 7, 8, 9]
    result = probe(table=tones, features=["logmel"], heads=[seen], seeds=seeds).results[0]
    assert len(seen.problems) == 4 * len(seeds) and {problem.seed for problem in seen.problems} == set(seeds)
    by_test: dict[tuple[int, ...], list[Problem]] = {}
    for problem in seen.problems:
        parts = [set(rows.tolist()) for rows in (problem.train, problem.valid, problem.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 32 and min(map(len, parts)) == 8
        by_test.setdefault(tuple(problem.test), []).append(problem)
    assert len(by_test) == 4
    assert any(len({tuple(problem.valid) for problem in fold}) > 1 for fold in by_test.values())
    assert [row["seed"] for row in result["by_seed"]] == seeds
    assert [row["pooled"]["WA"] for row in result["by_seed"]] == [100, 0, 0, 0, 0]
    assert result["pooled"]["WA"] == result["mean"]["WA"] == 20
    assert result["std"]["WA"] == 0 and np.sum(result["confusion"]) == 160
    assert result.clips == 32  # however often each is tested
    for fold in result["folds"]:
        assert fold["WA"] == 20 and [row["seed"] for row in fold["chosen"]] == seeds and fold["clips"] == 8
        assert np.sum(fold["confusion"]) == 8 * len(seeds) and np.trace(fold["confusion"]) == 8
