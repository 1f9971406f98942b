"""The documentation becomes a site, strictly: what leads nowhere or is not there fails; nothing is from elsewhere."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pages import ROOT

pytestmark = pytest.mark.slow
DOCS = ROOT / "docs"


def build(source: Path, output: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", source, output]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def small(folder: Path, text: str) -> Path:
    """A site of one page with the settings and extensions of ours, in a repository of its own."""
    docs = folder / "docs"
    docs.mkdir(parents=True)
    (folder / "emotion2vec").mkdir()
    settings = (DOCS / "conf.py").read_text(encoding="utf-8").replace('html_static_path = ["site/static"]\n', "")
    settings = settings.replace("DOCS = Path(__file__).resolve().parent", f"DOCS = Path({str(DOCS)!r})")
    (docs / "conf.py").write_text(settings.replace('html_css_files = ["site.css"]\n', ""))
    (docs / "index.md").write_text(f"# Page\n\n{text}\n\n```{{toctree}}\ncard\n```\n")
    (docs / "card.md").write_text("```{include} ../CARD.md\n```\n")
    (folder / "CARD.md").write_text("---\nlicense: mit\n---\n# A card\n")
    (folder / "code.py").write_text("answer = 42\n")
    return docs


def test_links_out_of_the_folder_lead_to_pages_or_copies(tmp_path: Path) -> None:
    docs = small(tmp_path, "[the card](../CARD.md) and [code](../code.py), $\\frac{1}{x}$")
    done = build(docs, tmp_path / "html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "html" / "index.html").read_text(encoding="utf-8")
    assert re.search(r'href="card.html"[^>]*><span[^>]*>the card', page)
    copy = re.search(r'href="(_downloads/[^"]+/code.py)"', page)
    assert copy and (tmp_path / "html" / copy[1]).read_text() == "answer = 42\n"
    assert "<mfrac>" in page and not re.search(r"<script[^>]*mathjax", page, re.IGNORECASE)
    assert "license: mit" not in (tmp_path / "html" / "card.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[lost](gone.md)", "gone.md"),
        ("[lost](../gone.py)", "gone.py"),
        ("[lost](card.md#nothing)", "nothing"),
        ("![lost](gone.png)", "gone.png"),
        ("{py:func}`emotion2vec.nothing`", "emotion2vec.nothing"),
        ("```{eval-rst}\n.. autofunction:: emotion2vec.nothing\n```", "nothing"),
        ("```{keys} emotion2vec.pretrain.config.Nothing\n```", "Nothing"),
    ],
)
def test_what_is_not_there_fails(tmp_path: Path, text: str, said: str) -> None:
    done = build(small(tmp_path, text), tmp_path / "html")
    assert done.returncode != 0 and said in done.stderr


def test_the_site_is_built_strictly_and_alone(tmp_path: Path) -> None:
    done = build(DOCS, tmp_path)
    assert done.returncode == 0, done.stderr
    pages = [*tmp_path.rglob("*.html")]
    for name in (
        "start",
        "tutorials/deploy",
        "reference/configuration/finetune",
        "reference/modules/model",
        "security",
    ):
        assert tmp_path / f"{name}.html" in pages
    taken = re.compile(r"<(?:script|img|link|iframe|source)\b[^>]*\b(?:src|href)=\"(?:https?:)?//[^\"]*\"")
    for page in pages:
        assert not taken.search(page.read_text(encoding="utf-8")), page
    for style in tmp_path.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", style.read_text(encoding="utf-8")), style
    keys = (tmp_path / "reference/configuration/pretrain.html").read_text(encoding="utf-8")
    assert 'id="key-mask-prob"' in keys and "share of frames masked in every view" in keys
    verbs = (tmp_path / "reference/verbs.html").read_text(encoding="utf-8")
    assert 'id="finetune-search"' in verbs and "--abstain" in verbs


def script(name: str) -> ModuleType:
    """A script of docs/figures."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "figures" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    script("architecture").main(tmp_path / "architecture.svg")
    assert "utterance loss" in (tmp_path / "architecture.svg").read_text(encoding="utf-8")
    for scheme, score in (("random", 70.0), ("speaker", 51.26)):
        document = {"results": [{"feature": "logmel", "pooled": {"UA": score}}]}
        (tmp_path / f"emodb_{scheme}.json").write_text(json.dumps(document))
    script("folds").main(tmp_path, tmp_path / "folds.svg")
    assert capsys.readouterr().out == "| EmoDB | logmel | 70.0 | 51.3 |\n"
    assert ">51<" in (tmp_path / "folds.svg").read_text(encoding="utf-8")
