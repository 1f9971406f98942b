from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from emotion2vec.cli import app
from emotion2vec.cli.options import takes
from emotion2vec.errors import ConfigError
from emotion2vec.pretrain.config import PretrainConfig
from emotion2vec.probe.benchmark.plan import BenchmarkPlan
from emotion2vec.settings import described, from_keywords, option


@dataclass(frozen=True, kw_only=True)
class Inner:
    width: int = option(3, "inner width in frames", ge=1)
    names: tuple[str, ...] = option((), "names of things")


@dataclass(frozen=True, kw_only=True)
class Outer:
    source: list[str] = option(MISSING, "what to read", argument=True)
    root: str | Path | None = option(None, "folder of it", flags=("--root", "--audio-root"))
    kind: str = option("a", "kind of it")
    keep: bool = option(False, "keep it")
    clean: bool = option(True, "clean it first")
    inner: Inner = field(default_factory=Inner)


def run(*arguments: str) -> tuple[list[Outer], str]:
    seen: list[Outer] = []
    app = typer.Typer(add_completion=False)

    @takes(Outer)
    def verb(options: Outer) -> None:
        """Do it."""
        seen.append(options)

    app.command()(verb)
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"}, catch_exceptions=False)
    return seen, done.output


def test_help_shows_the_help_texts_of_all_fields() -> None:
    _, text = run("--help")
    for shown in (
        "Do it.",
        "what to read",
        "folder of it",
        "--audio-root",
        "kind of it",
        "keep it",
        "inner width",
    ):
        assert shown in text
    assert "--no-keep" not in text
    assert "--no-clean" in text


def test_values_arrive_in_their_dataclasses() -> None:
    seen, _ = run(
        "x", "y", "--audio-root", "/r", "--width", "5", "--names", "p", "--names", "q", "--keep", "--no-clean"
    )
    assert seen == [
        Outer(source=["x", "y"], root=Path("/r"), keep=True, clean=False, inner=Inner(width=5, names=("p", "q")))
    ]


def test_defaults_are_those_of_the_fields() -> None:
    seen, _ = run("x")
    assert seen == [Outer(source=["x"])]


def test_keywords_fill_nested_dataclasses() -> None:
    assert from_keywords(Outer, {"source": ["x"], "width": 4}) == Outer(source=["x"], inner=Inner(width=4))
    with pytest.raises(ConfigError, match="unknown option widht; did you mean width"):
        from_keywords(Outer, {"source": ["x"], "widht": 4})


@pytest.mark.parametrize(
    ("verb", "config", "some"),
    [
        ("pretrain", PretrainConfig, {"optim.lr", "init.from", "model.frontend", "probe.table", "data.train"}),
        ("benchmark", BenchmarkPlan, {"data", "output", "corpora", "seeds"}),
    ],
)
def test_help_lists_every_key_of_a_configuration_with_its_meaning(verb: str, config: type, some: set[str]) -> None:
    text = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "250"}, catch_exceptions=False).output
    keys = list(described(config))
    assert some <= {key for key, _, _ in keys}
    for key, default, meaning in keys:
        (line,) = [line for line in text.splitlines() if line.split()[:1] == [key]]
        assert default in line and meaning in line
