from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from splits import corpus_of

from emotion2vec.corpora.folds import Fold, fold_of, make_folds
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
    assert found["warnings"][0].startswith("speakers of the test are also in training in 1 of 1 folds")
    assert found["warnings"][1] == "knowing only who speaks scores 100.0 % WA and 100.0 % UA on these folds"
    assert "4 of 4 speakers have clips of one class only" in told


def test_honest_folds_have_nothing_to_tell(tmp_path: Path) -> None:
    rows = [(f"s{i % 3}", "ab"[i // 3 % 2], bytes([i])) for i in range(36)]
    corpus = corpus_of(tmp_path, rows)
    found = audit(corpus, make_folds(corpus, "speaker"), make_goal(corpus))
    assert found["warnings"] == []
    assert found["folds"][0]["train"] == {"a": 12, "b": 12}


def test_baselines_learn_from_training_and_validation_and_nothing_of_the_test(tmp_path: Path) -> None:
    """The most frequent class, and a speaker's own, change with what of a fold's labels is looked at."""
    train, valid = [("s0", "a")] * 3, [("s1", "c"), *[("s2", "b")] * 4]
    test = [*[("s0", "b")] * 2, ("s1", "c"), ("s3", "b"), *[("s4", "c")] * 8]
    rows = [(speaker, label, bytes([number])) for number, (speaker, label) in enumerate(train + valid + test)]
    corpus = corpus_of(tmp_path, rows)
    fold = fold_of(corpus.utterances, "x", np.arange(3), np.arange(8, 20), np.arange(3, 8))
    found = audit(corpus, [fold], make_goal(corpus))
    truth = [label for _, label in test]
    answers = {"majority": ["b"] * 12, "speaker": ["a", "a", "c", *["b"] * 9]}
    for name, predicted in answers.items():
        scores = found["baselines"][name]
        assert scores["WA"] == pytest.approx(100 * accuracy_score(truth, predicted)), name
        with pytest.warns(UserWarning, match="classes not in y_true") if "a" in predicted else nullcontext():
            assert scores["UA"] == pytest.approx(100 * balanced_accuracy_score(truth, predicted)), name
    assert fold.shared_speakers == ("s0", "s1")
    assert not any("only who speaks" in text for text in found["warnings"])


@pytest.mark.parametrize(("known", "told"), [(9, False), (11, True)])
def test_a_speaker_baseline_is_told_of_from_5_points_on(tmp_path: Path, known: int, told: bool) -> None:
    """Of 100 test clips of the rarer class some are by a speaker whom training knows: each is worth half a point."""
    rows = [("s0", "b"), ("s1", "a"), ("s1", "a"), ("s2", "a")]
    rows += [("s0" if number < known else "s3", "b") for number in range(100)]
    corpus = corpus_of(tmp_path, [(speaker, label, b"%d" % i) for i, (speaker, label) in enumerate(rows)])
    found = audit(corpus, [fold_of(corpus.utterances, "x", np.arange(3), np.arange(3, 104))], make_goal(corpus))
    gain = found["baselines"]["speaker"]["UA"] - found["baselines"]["majority"]["UA"]
    assert gain == pytest.approx(known / 2)
    assert any("only who speaks" in text for text in found["warnings"]) == told
    assert sum("no clip" in text for text in found["warnings"]) == 0


def test_a_speaker_baseline_of_5_points_above_chance_is_not_told_of(tmp_path: Path) -> None:
    """One of four classes is always right, which is a UA of 25; a fifth of another one's clips makes it 30."""
    rows = [("s0", "b"), ("s1", "a"), ("s1", "a"), ("s1", "c"), ("s1", "d")]
    rows += [("s0" if label == "b" and not number else "s2", label) for label in "abcd" for number in range(5)]
    corpus = corpus_of(tmp_path, [(speaker, label, bytes([i])) for i, (speaker, label) in enumerate(rows)])
    found = audit(corpus, [fold_of(corpus.utterances, "x", np.arange(5), np.arange(5, 25))], make_goal(corpus))
    assert (found["baselines"]["majority"]["UA"], found["baselines"]["speaker"]["UA"]) == (25, 30)
    assert not any("only who speaks" in text for text in found["warnings"])


@pytest.mark.parametrize(("step", "told"), [(0.28, False), (0.4, True)])
def test_a_speaker_baseline_of_values_is_told_of_from_a_ccc_of_5_hundredths_on(
    tmp_path: Path, step: float, told: bool
) -> None:
    """Two speakers, whose values lie `step` apart on average: answered by their means of training."""
    noise = np.random.default_rng(0).standard_normal(200)
    values = noise - noise.reshape(2, 2, 50).mean(axis=2).repeat(50) + step * (np.arange(200) // 50 % 2)
    corpus = corpus_of(tmp_path, [(f"s{i // 50 % 2}", "a", b"%d" % i) for i in range(200)])
    clips = [replace(clip, values={"arousal": float(v)}) for clip, v in zip(corpus.utterances, values, strict=True)]
    corpus = replace(corpus, utterances=tuple(clips))
    fold = fold_of(clips, "x", np.arange(100), np.arange(100, 200))
    found = audit(corpus, [fold], make_goal(corpus, ["arousal"]))
    test, answers = values[100:], values[:100].reshape(2, 50).mean(axis=1).repeat(50)
    covariance = np.mean((test - test.mean()) * (answers - answers.mean()))
    ccc = 2 * covariance / (test.var() + answers.var() + (test.mean() - answers.mean()) ** 2)
    assert found["baselines"]["speaker"]["CCC"] == pytest.approx(ccc)
    assert found["baselines"]["majority"]["CCC"] == pytest.approx(0, abs=1e-9)
    assert (ccc > 0.05) == told
    assert any("knowing only who speaks scores CCC 0." in text for text in found["warnings"]) == told
    assert found["folds"][0]["train"]["arousal"]["mean"] == pytest.approx(values[:100].mean())


def test_baselines_are_means_over_folds(tmp_path: Path) -> None:
    rows = [("s0", "a"), ("s1", "a"), ("s2", "b"), ("s3", "a"), ("s4", "b"), ("s5", "b")]
    corpus = corpus_of(tmp_path, [(speaker, label, bytes([i])) for i, (speaker, label) in enumerate(rows)])
    folds = [Fold(name=str(i), train=np.arange(2), test=np.arange(2, 4 + i)) for i in (1, 2)]
    found = audit(corpus, folds, make_goal(corpus))
    assert found["baselines"]["majority"]["WA"] == pytest.approx((100 / 3 + 100 / 4) / 2)
    assert [fold["name"] for fold in found["folds"]] == ["1", "2"]
