"""Documentation is checked as code is: links lead somewhere, commands parse, public names are described and listed."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import pytest
from pages import ROOT, blocks, command_lines, config_faults, faults_of, links, lost_links, pages

import emotion2vec

DOCS = ROOT / "docs"


@pytest.mark.parametrize("page", [*pages()], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert lost_links(page) == []


def test_wrong_links_are_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A *title*, twice\n\n[a](page.md#a-title-twice) [b](gone.md) ![c](c.png) [d](#a) `[e](e.md)`\n")
    assert lost_links(page) == ["gone.md", "c.png", "#a"]


COMMANDS = [
    pytest.param(words, id=f"{page.relative_to(ROOT).as_posix()}: {' '.join(words)[:60]}")
    for page in pages()
    for words in command_lines(page.read_text(encoding="utf-8"))
    if blocks(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("words", COMMANDS)
def test_commands_parse(words: list[str]) -> None:
    assert faults_of(words) == []


@pytest.mark.parametrize(
    "line",
    [
        "emotion2vec pretend x",
        "emotion2vec info --nope x",
        "python -m emotion2vec \\\n  pretend",
        "emotion2vec extract a.wav --batch-seconds many",
        "emotion2vec pretrain --config tiny data.train=x run.dir=y optim.lrate=1",
        "find . | emotion2vec extract - --nope",
        "emotion2vec finetune search data.table=x run.dir=y trails=3",
        "emotion2vec finetune evaluate --model m data.tabel=x",
        "emotion2vec distil teacher=x data.train=y run.dir=z loss.distance=far",
        "emotion2vec iterate data.table=x pool.sorces=y run.dir=z",
        "emotion2vec benchmark --config acted dta=/speech",
    ],
)
def test_wrong_commands_are_noticed(line: str) -> None:
    (words,) = command_lines(f"```bash\n{line}\n```")
    assert faults_of(words)


def test_every_public_name_is_described_and_in_the_reference() -> None:
    listed = set(re.findall(r"auto(?:function|class):: emotion2vec\.(\w+)", (DOCS / "reference/api.md").read_text()))
    assert listed == {*emotion2vec.__all__} - {"__version__"}
    assert [name for name in sorted(listed) if not inspect.getdoc(getattr(emotion2vec, name))] == []


def test_every_configuration_is_in_the_reference() -> None:
    """Every class whose keys `--help` of a verb shows."""
    shown = {
        path
        for page in (DOCS / "reference/configuration").glob("*.md")
        for path in re.findall(r"\{keys\} (\S+)", page.read_text(encoding="utf-8"))
    }
    used = re.findall(r'"(emotion2vec[\w.]+)", "(\w+)"', (ROOT / "emotion2vec/cli/__init__.py").read_text())
    assert shown == {f"{home}.{name}" for home, name in used}
    for path in shown:
        home, _, name = path.rpartition(".")
        assert dataclasses.is_dataclass(getattr(importlib.import_module(home), name))


def test_tables_of_options_have_every_key_and_option(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(DOCS / "site"))
    tables = importlib.import_module("tables_of_options")
    from emotion2vec.pretrain.config import PretrainConfig
    from emotion2vec.settings import described, dotted

    rows = [*tables.keys_of(PretrainConfig)]
    assert [row[0] for row in rows] == [key for key, _, _ in described(PretrainConfig)]
    assert {row[0] for row in rows} == dotted(PretrainConfig()).keys()
    by_key = {row[0]: row[1:] for row in rows}
    assert by_key["mask.prob"] == ("0.5", "float > 0, < 1", "share of frames masked in every view")
    assert by_key["init.use"][:2] == ("student", "student, teacher")
    found = tables.commands()
    assert {"extract", "pretrain", "finetune search", "finetune evaluate"} <= found.keys()
    options = {row[0]: row[1:] for row in tables.options_of(found["export"])}
    assert options["--format"][0] == "onnx" and options["--int8"][0] == "off" and options["MODEL"][0] == "required"


def test_no_page_takes_anything_from_elsewhere() -> None:
    """Pages load no script, style, font or picture of other sites."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"!\[[^\]]*\]\(https?:|<(script|link|img|iframe)\b", text), page
    for file in (DOCS / "site/static").iterdir():
        assert "http" not in file.read_text(encoding="utf-8") and "@import" not in file.read_text(encoding="utf-8")


def test_every_page_is_in_a_list_of_contents() -> None:
    listed = {DOCS / "index.md"}
    for page in pages():
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.language == "{toctree}":
                names = [line for line in block.code.splitlines() if line and not line.startswith(":")]
                listed |= {(page.parent / f"{name}.md").resolve() for name in names if "*" not in name}
    assert {page for page in pages() if page.is_relative_to(DOCS)} == listed


def test_links_are_found() -> None:
    assert [*links("[a](b.md) and ![c](d.png#e), not [f](https://g) nor\n```bash\n[h](i.md)\n```\n")] == [
        "b.md",
        "d.png#e",
    ]


def test_configurations_of_other_verbs_are_not_asked_for() -> None:
    assert config_faults("extract", {"source": ["x"]}) == []
