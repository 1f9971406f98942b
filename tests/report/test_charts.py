from __future__ import annotations

import re

import numpy as np
import pytest

from emotion2vec.report.charts import PALETTE, agreement, layer_bars, scatter


def test_groups_have_colours_by_their_names_and_the_smallest_share_one() -> None:
    few = scatter([(0, 0), (1, 1), (2, 2)], ["sad", "angry", "sad"], "title")
    assert re.findall(r'background:(#\w+)"></i>(\w+)', few) == [(PALETTE[0], "angry"), (PALETTE[1], "sad")]
    assert re.findall(r'fill="(#\w+)"', few) == [PALETTE[1], PALETTE[0], PALETTE[1]]
    groups = [f"{number:02d}" for number in range(14) for _ in range(14 - number)]
    many = scatter([(i, i) for i in range(len(groups))], groups, "title")
    named = [(PALETTE[number], f"{number:02d}") for number in range(11)]
    assert re.findall(r'background:(#\w+)"></i>([^<]+)', many) == [*named, (PALETTE[11], "3 more")]
    assert re.findall(r'fill="(#\w+)"', many)[-6:] == [PALETTE[11]] * 6


def test_predictions_far_off_do_not_squeeze_the_others() -> None:
    found = agreement([(1, 2), (5, 4), (3, 90), (2, 2), (4, 7)], "arousal")
    assert "both from 1.0 to 7.0; 5 test clips, 1 of them beyond" in found
    places = [(float(x), 260 - float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', found)]
    scale = (260 - 2 * 8) / (7 - 1)
    expected = [(1, 2), (5, 4), (3, 7), (2, 2), (4, 7)]
    assert np.array(places) == pytest.approx(8 + (np.array(expected) - 1) * scale, abs=0.1)
    assert "5 test clips</figcaption>" in agreement([(1, 2), (5, 4), (3, 3), (2, 2), (4, 7)], "arousal")


def test_predictions_of_a_single_true_value_are_drawn_where_they_are() -> None:
    found = agreement([(3, 2), (3, 4), (3, 7)], "arousal")
    assert "both from 2.0 to 7.0; 3 test clips</figcaption>" in found
    heights = [260 - float(y) for y in re.findall(r'cy="([\d.]+)"', found)]
    assert heights == pytest.approx([8, 8 + 244 * 2 / 5, 252], abs=0.1)
    edge = agreement([(1, 2), (5, 4), (7, 10.0), (7, 10.5)], "arousal")  # just as far as is drawn, and farther
    assert "both from 1.0 to 10.0; 4 test clips, 1 of them beyond" in edge


def test_layer_weights_are_bars_with_as_many_numbers_as_fit() -> None:
    found = layer_bars([0.2, 0.5, 0.3], "weights")
    heights = [float(height) for height in re.findall(r'height="([\d.]+)"/?><title>', found)]
    assert np.array(heights) / 90 == pytest.approx([0.4, 1, 0.6], abs=1e-3)
    assert "weights: 0.200 to 0.500; all alike would be 0.333" in found and re.findall(r">(\d)</text>", found) == list(
        "012"
    )
    assert re.findall(r">(\d+)</text>", layer_bars([0.04] * 25, "w")) == [str(number) for number in range(0, 25, 2)]
