"""Curves with axes: round numbers, and places that can be read back."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.ticker import MaxNLocator

from emotion2vec.report.lines import HEIGHT, WIDTH, line_chart, ticks
from emotion2vec.report.score_section import condition_curves


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.3, 97.2), (-4.1, 3.9), (1e-6, 9e-4), (0, 123_456)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high, 5)
    assert 2 <= len(found) <= 6 and low - 1e-9 <= found[0] and found[-1] <= high + 1e-9
    wanted = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
    assert found == pytest.approx([value for value in wanted if low <= value <= high * (1 + 1e-12)])


def test_points_lie_where_the_numbers_of_the_axes_say() -> None:
    curve = [(0.0, 10.0), (50.0, 35.0), (100.0, 20.0)]
    found = line_chart({"loss": curve, "nothing": []}, "a <b>", "update")
    assert "a &lt;b&gt;" in found and "<b>" not in found and "nothing" not in found
    ups = re.findall(r'class="up" x="[\d.]+" y="([\d.]+)">([\d.]+)<', found)
    scale = np.polyfit([float(text) for _, text in ups], [float(y) - 3 for y, _ in ups], 1)
    places = np.array([[float(x), float(y)] for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', found)])
    assert places[:, 1] == pytest.approx(np.polyval(scale, [y for _, y in curve]), abs=0.3)
    assert (places > 0).all() and (places[:, 0] <= WIDTH).all() and (places[:, 1] <= HEIGHT).all()
    assert places[1, 0] == pytest.approx((places[0, 0] + places[2, 0]) / 2, abs=0.1)
    assert line_chart({"nothing": []}, "t", "x") == ""


def test_squares_are_drawn_from_0_to_100_with_the_line_where_both_are_equal() -> None:
    found = line_chart({"roc": [(0, 0), (100, 100)]}, "t", "x", notes={"roc": "AUC 50"}, square=True)
    (even,) = re.findall(r'class="even" d="M([\d. L]+)"', found)
    drawn = re.findall(r'<path d="M([\d. L]+)" fill="none"', found)
    numbers = [[float(part) for part in re.split(r"[ L]", one)] for one in (even, *drawn)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.1) and "roc: AUC 50" in found


def test_conditions_are_named_by_what_their_levels_are_of() -> None:
    rows = [{"kind": "none", "level": "", "UA": 90.0, "interval": [80.0, 95.0]}]
    rows += [{"kind": "pink noise", "level": f"SNR {snr} dB", "UA": 50.0, "interval": [40.0, 60.0]} for snr in (20, -5)]
    rows += [{"kind": "reverberation", "level": f"T60 {t} s", "UA": 50.0, "interval": [40.0, 60.0]} for t in (0.3, 1)]
    rows += [{"kind": "mp3", "level": "", "UA": 50.0, "interval": [40.0, 60.0]}]
    found = condition_curves(rows, "UA", "%")
    assert found.count("<svg") == 2 and ">SNR dB<" in found and ">T60 s<" in found
    assert re.findall(r'y="\d+">([^<a-zA-Z]+)<', found) == ["20", "-5", "0.3", "1"]
