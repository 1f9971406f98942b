"""What pages tell to do is done: tutorials and the pages on extending, block by block, as a reader would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import ROOT, Reader

DOCS = ROOT / "docs"
FAST = ("checkpoints", "corpus", "writer", "loss", "objective")
"""Pages that take a few seconds; the others are run by `make test-slow`."""


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    """What pages enter by hand is taken out again."""
    from emotion2vec.corpora.named.registry import NAMED
    from emotion2vec.extraction import writers
    from emotion2vec.model.known_heads import BUILDERS
    from emotion2vec.probe.heads import SEQUENCE_HEADS

    entered = [(one, dict(one)) for one in (NAMED, writers._WRITERS, BUILDERS, SEQUENCE_HEADS)]
    yield
    for one, before in entered:
        one.clear()
        one.update(before)  # type: ignore[arg-type]


PAGES = [DOCS / "start.md", *sorted((DOCS / "tutorials").glob("*.md")), *sorted((DOCS / "extending").glob("*.md"))]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.relative_to(DOCS).as_posix(), marks=[] if page.stem in FAST else pytest.mark.slow)
        for page in PAGES
        if page.stem != "index"
    ],
)
def test_a_page_can_be_followed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Reader(tmp_path, monkeypatch).do(page) >= 3


def test_a_page_that_is_wrong_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, page = Reader(tmp_path, monkeypatch), tmp_path / "page.md"
    for code in ("```bash\nfalse\n```", "```python\nassert 0\n```", "```bash\nemotion2vec info gone\n```"):
        page.write_text(f"# Page\n\n{code}\n")
        with pytest.raises(AssertionError):
            reader.do(page)
        page.write_text(f"# Page\n\n*Not run as a test: it would fail.*\n\n{code}\n")
        assert reader.do(page) == 0
