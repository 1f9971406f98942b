from __future__ import annotations

import pytest

from emotion2vec.units import counted, data_size, digits, duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"),
        (0.025, "0.025 s"),
        (1, "1.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (187.4, "187 s"),
        (599.9, "600 s"),
        (600, "10 min"),
        (7_199, "120 min"),
        (7_200, "2.0 h"),
        (45_000, "12.5 h"),
        (359_999, "100 h"),
        (5.4e8, "150,000 h"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"), (1, "1 byte"), (812, "812 bytes"), (999.6, "1.0 kB"), (3_370, "3.4 kB"), (235e6, "235 MB"),
        (0.9999e9, "1.0 GB"), (12e9, "12 GB"), (1.8e15, "1,800 TB"),
    ],
)  # fmt: skip
def test_amounts_of_data(count: float, said: str) -> None:
    assert data_size(count) == said


@pytest.mark.parametrize(
    ("value", "written"), [(0.0, "0.0"), (0.0314, "0.031"), (0.86, "0.86"), (3, "3.0"), (9.99, "10"), (1234.5, "1,234")]
)
def test_no_speed_looks_like_none(value: float, written: str) -> None:
    assert digits(value) == written


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (1, ("clip",), "1 clip"), (2, ("clip",), "2 clips"), (0, ("clip",), "0 clips"), (1000, ("row",), "1000 rows"),
        (1, ("entry is", "entries are"), "1 entry is"), (3, ("entry is", "entries are"), "3 entries are"),
    ],
)  # fmt: skip
def test_counts_agree_with_what_is_counted(count: int, words: tuple[str, ...], text: str) -> None:
    assert counted(count, *words) == text
