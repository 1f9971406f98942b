from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from emotion2vec.corpora.folds import scheme_fault
from emotion2vec.corpora.named.registry import dataset_names
from emotion2vec.report.published import published_rows, published_scores
from emotion2vec.tasks.metrics import METRICS


def test_every_number_has_a_source_and_a_feature(root: Path) -> None:
    document = yaml.safe_load((root / "configs" / "published.yaml").read_text())
    for source in document["sources"]:
        assert source["address"].startswith("https://") and source["source"] and source["head"]
        for entry in source["scores"]:
            numbers = {key: entry[key] for key in entry if key not in ("dataset", "folds", "protocol", "independent")}
            assert numbers and numbers.keys() <= set(METRICS), entry
            assert all(len(values) == len(source["features"]) for values in numbers.values()), entry
            assert all(20 < value < 100 for values in numbers.values() for value in values), entry
            assert scheme_fault(entry.get("folds", "random")) is None
    named = {entry["dataset"] for entry in document["sources"][0]["scores"]}
    assert named <= set(dataset_names())
    assert len({entry["dataset"] for entry in document["sources"][1]["scores"]}) == 32


def test_scores_find_their_feature() -> None:
    found = {score.feature: score for score in published_scores("ased")}
    assert len(found) == 10
    assert found["WavLM base"].scores == {"WA": 94.31, "UA": 94.27}
    assert found["wav2vec 2.0 base"].scores == {"WA": 88.63, "UA": 88.59}
    assert published_scores("no corpus") == []


@pytest.mark.parametrize(
    ("dataset", "folds", "head", "differing", "same"),
    [
        ("iemocap", "8-1-1", "mlp-paper", ["20 % of training for validation. Another protocol"], "1 test). <cite>"),
        ("iemocap", "8-1-1", "mlp", ["1 test). Features are not standardized there", "compare mlp-paper"], ""),
        ("iemocap", "session-80-20", "linear", ["ten-fold by speaker (8 train, 1 validation, 1 test). Another"], ""),
        ("emodb", "speaker", "mlp", ["full length. Another protocol: does not compare", "Speakers are shared"], ""),
        (
            "savee",
            "emobox",
            "linear",
            ["Another head: a classifier of EmoBox"],
            "folds of whole speakers. Another head",
        ),
    ],
)
def test_the_report_marks_published_scores_of_other_protocols(
    dataset: str, folds: str, head: str, differing: list[str], same: str
) -> None:
    rows = published_rows(dataset, folds, {head}, ("WA", "UA"))
    for part in differing:
        assert part in rows
    assert same in rows
    assert "https://" in rows and "href" not in rows
    assert rows.count("<tr") - rows.count("Published: ") == len(published_scores(dataset)) > 0


def test_standardized_features_are_a_difference_of_protocol() -> None:
    entry = next(score for score in published_scores("iemocap") if score.folds == "session-80-20")
    assert entry.differences("session-80-20", {"mlp-paper"}) == []
    assert entry.differences("session-80-20", {"mlp"}, standardize=False) == []
    (found,) = entry.differences("session-80-20", {"mlp"})
    assert "not standardized" in found
    assert entry.differences("session-80-20", {"linear"}) == ["Another head: mlp-paper."]
