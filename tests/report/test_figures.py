"""Figures of a probe's scores: which there are, what stands in them, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from probe.stand_in import write_tones

from emotion2vec.errors import ConfigError
from emotion2vec.probe import probe
from emotion2vec.probe.heads import MlpHead
from emotion2vec.report.figures import draw_figures

pytest.importorskip("matplotlib")


def texts(path: Path) -> list[str]:
    """What is written in an SVG, in its order."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text())


def scores(tmp_path: Path, **options: Any) -> tuple[Path, Any]:
    path = tmp_path / "scores.json"
    return path, probe(table=write_tones(tmp_path), features=("logmel",), output=path, **options).to_dict()


def test_figures_say_what_the_scores_say(tmp_path: Path) -> None:
    path, found = scores(tmp_path, heads=("logreg",))
    files = draw_figures(path, suffix="svg")
    assert [file.name for file in files] == ["scores.svg", "confusion.svg", "roc.svg", "calibration.svg"]
    assert all(file.parent == tmp_path / "scores_figures" for file in files)
    assert f"{found['pooled']['UA']:.1f}" in " ".join(texts(files[0]))
    matrix = [[round(100 * count / sum(row)) for count in row] for row in found["confusion"]]
    shown = [text for text in texts(files[1]) if text.isdigit()]
    assert shown == [str(share) for row in matrix for share in row]
    assert {f"high ({sum(found['confusion'][0])})", "low"} <= set(texts(files[1]))
    assert f"high {found['AUC high']:.1f}" in texts(files[2])


def test_several_heads_have_figures_of_their_own(tmp_path: Path) -> None:
    path, found = scores(tmp_path, heads=("logreg", MlpHead(epochs=1)))
    files = draw_figures(path, tmp_path / "out", "pdf")
    assert [file.name for file in files[:2]] == ["scores.pdf", "logmel_logreg_confusion.pdf"]
    assert len(files) == 7 and all(file.read_bytes().startswith(b"%PDF") for file in files)
    shown = " ".join(texts(draw_figures(path, tmp_path / "svg", "svg")[0]))
    assert all(f"logmel, {row['head']}" in shown for row in found["results"])


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ConfigError, match=r"other\.json: holds no scores, expected what `probe --output` writes"):
        draw_figures(tmp_path / "other.json")
    with pytest.raises(ConfigError, match=r"broken\.json: cannot be read as JSON"):
        draw_figures(tmp_path / "broken.json")
    with pytest.raises(ConfigError, match="format is 'gif', expected one of pdf, svg, png"):
        draw_figures(tmp_path / "other.json", suffix="gif")
    assert not list(tmp_path.glob("*_figures"))
