"""Figures of a probe's scores: which there are, what stands in them, and what is refused."""

from __future__ import annotations

import html
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from probe.stand_in import write_tones

from emotion2vec.errors import ConfigError
from emotion2vec.probe import probe
from emotion2vec.probe.heads import MlpHead
from emotion2vec.report.figures import draw_figures
from emotion2vec.report.score_figures import COLOURS, looks

pytest.importorskip("matplotlib")
from matplotlib.textpath import TextPath


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


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores of one head."""
    return scores(tmp_path_factory.mktemp("scored"), heads=("logreg",))[0]


def many(tmp_path: Path, scored: Path, classes: int) -> tuple[Path, list[str]]:
    """Scores of two features with long names, on so many classes, some of whose names are formulas elsewhere."""
    found = json.loads(scored.read_text())
    names = [f"${n}$ & <b> of many classes" if n % 2 else f"c{n}" for n in range(classes)]
    matrix = np.eye(classes, dtype=int) * 30 + 1
    curves = {name: [[0.0, 0.0], [0.0, n / classes], [0.5, 1.0], [1.0, 1.0]] for n, name in enumerate(names)}
    row = {**found, "confusion": matrix.tolist(), "roc": curves}
    rows = [{**row, "feature": f"wav2vec2-large-robust-12-emotion-{n}"} for n in range(2)]
    path = tmp_path / "many.json"
    path.write_text(json.dumps({**found, "classes": names, "results": rows}))
    return path, names


def extent(path: Path) -> tuple[float, list[tuple[float, float, str]]]:
    """The width of an SVG in points, and about how far each of its level texts reaches from left to right."""
    root, found = ET.fromstring(path.read_text()), []
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        style = text.attrib["style"]
        if "rotate(-0 " in text.attrib.get("transform", "rotate(-0 "):
            size = float(re.search(r"font(?:-size)?: ([\d.]+)px", style)[1])
            wide = TextPath((0, 0), text.text or " ", size).get_extents().width
            x = float(text.attrib.get("x") or 0)
            left = x - wide * {"start": 0, "middle": 0.5, "end": 1}[re.search(r"text-anchor: (\w+)", style)[1]]
            found.append((left, left + wide, text.text or ""))
    return float(root.attrib["width"].removesuffix("pt")), found


@pytest.mark.parametrize("width", [3.3, 6.9])
def test_figures_fit_a_column_and_a_page_whatever_is_in_them(tmp_path: Path, scored: Path, width: float) -> None:
    path, names = many(tmp_path, scored, 20)
    bars, confusion, roc, *_ = draw_figures(path, tmp_path / "out", "svg", width)
    for file in (bars, confusion, roc):
        size, shown = extent(file)
        assert size == pytest.approx(72 * width, abs=0.1)
        assert shown and [one for one in shown if one[0] < -1 or one[1] > size + 1] == []
    said = texts(bars)
    assert sum("emotion-" in text or "…" in text for text in said) == 2
    assert texts(confusion).count("62") == (20 if width > 5 else 0)  # 31 of 50 clips, where there is room for numbers
    assert sum("$" in text for text in texts(roc)) == 10
    assert {f"{name[:8]}" for name in names if "$" in name} <= {html.unescape(text)[:8] for text in texts(roc)}


def test_lines_are_told_apart_in_colour_and_in_grey() -> None:
    assert len({str(look) for look in looks(49)}) == 49
    assert len({str(dashes) for _, dashes in looks(7)}) == 7


def test_what_lies_at_an_edge_is_drawn_whole(tmp_path: Path, scored: Path) -> None:
    _, _, roc, calibration = draw_figures(scored, tmp_path / "out", "svg")
    for file in (roc, calibration):
        lines = [
            path.attrib
            for path in ET.fromstring(file.read_text()).iter("{http://www.w3.org/2000/svg}path")
            if any(f"stroke: {colour}" in path.attrib.get("style", "") for colour in COLOURS[:2])
        ]
        assert lines and not any("clip-path" in line for line in lines)


def test_a_width_that_no_paper_has_is_refused(scored: Path) -> None:
    for width in (0.0, float("nan"), 1e6):
        with pytest.raises(ConfigError, match=r"width is .*, expected 2 to 20 inches"):
            draw_figures(scored, width=width)
