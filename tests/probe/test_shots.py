"""Few labelled clips: how they are drawn, and scores against them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from probe.stand_in import StandIn, write_tones

from emotion2vec.corpora.shots import few_shot
from emotion2vec.errors import ConfigError
from emotion2vec.probe import probe
from emotion2vec.probe.results import ProbeResult


def test_so_many_clips_of_each_class_are_drawn_and_larger_draws_hold_smaller_ones() -> None:
    labels = np.random.default_rng(0).choice(["a", "b", "c"], 200, p=[0.5, 0.3, 0.2])
    rows = np.arange(0, 200, 2)
    draws = {count: few_shot(labels, rows, count, 0, "fold") for count in (1, 2, 5, 10, 1_000)}
    for count, (train, valid) in draws.items():
        both = {*train.tolist(), *valid.tolist()}
        assert both <= set(rows.tolist())
        expected = {label: min(count, found) for label, found in Counter(labels[rows]).items()}
        assert Counter(labels[sorted(both)]) == expected
        assert (set(train) & set(valid) == both) if count == 1 else not set(train) & set(valid)
        assert set(labels[train]) == set(labels[valid]) == {"a", "b", "c"}
    whole = [{*train.tolist(), *valid.tolist()} for train, valid in draws.values()]
    assert all(small < large for small, large in pairwise(whole))
    assert not np.array_equal(few_shot(labels, rows, 5, 1, "fold")[0], draws[5][0])
    assert not np.array_equal(few_shot(labels, rows, 5, 0, "other")[0], draws[5][0])


def test_a_probe_scores_each_number_of_clips(tmp_path: Path) -> None:
    how = {"table": write_tones(tmp_path), "model": StandIn(), "heads": ("logreg",), "seeds": (0, 1, 2)}
    result = probe(shots=(1, 3), **how)
    (scores,) = result.results
    assert [shot.count for shot in scores.shots] == [1, 3, None] and {shot.seeds for shot in scores.shots} == {3}
    assert scores.shots[-1].scores == pytest.approx(scores.pooled)
    assert scores.pooled == probe(**how).results[0].pooled
    assert scores.shots[-1].interval == pytest.approx(scores.intervals["UA"])
    one = scores.shots[0]
    assert one.interval[0] <= one.scores["UA"] <= one.interval[1]
    assert one.scores["UA"] <= scores.shots[-1].scores["UA"]
    assert ProbeResult.from_dict(result.to_dict()) == result
    with pytest.raises(ConfigError, match="shots are 0, 2, expected numbers from 1 on"):
        probe(shots=(0, 2), **how)
