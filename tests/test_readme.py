"""README and Makefile are run-checked: every command line parses, every file and key that they name exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT, command_lines, faults_of

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_commands_of_the_makefile_parse() -> None:
    found = command_lines((ROOT / "Makefile").read_text(encoding="utf-8"))
    assert found and [faults_of(words) for words in found] == [[]] * len(found)


def test_readme_shows_every_verb() -> None:
    from typer.main import get_command

    from emotion2vec.cli import app

    rows = re.findall(r"^\| (`emotion2vec [^|]*)\|", README, flags=re.MULTILINE)
    shown = [name.removeprefix("emotion2vec ") for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert sorted(shown) == sorted(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_what_readme_shows_is_what_commands_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (block,) = re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
    for command, shown in re.findall(r"^\$ emotion2vec (.*)\n((?:[^$].*\n)+)", block, flags=re.MULTILINE):
        words = [sys.executable, "-m", "emotion2vec", *shlex.split(command)]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        said = (done.stdout + done.stderr).splitlines()
        for expected, line in zip(shown.splitlines(), said, strict=False):
            numbers = [[float(one) for one in re.findall(r"\d+\.\d+", text)] for text in (expected, line)]
            assert re.sub(r"\d+\.\d+", "#", line) == re.sub(r"\d+\.\d+", "#", expected)
            assert numbers[0] == pytest.approx(numbers[1], abs=1e-3)
        assert done.returncode == 0 and len(said) >= len(shown.splitlines())


def test_config_table_lists_every_config() -> None:
    text = (ROOT / "docs" / "pretraining.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`(configs/pretrain/[a-z0-9_]+\.yaml)`", text))
    assert listed == {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs" / "pretrain").glob("*.yaml")}


def test_readme_is_short_and_names_the_extras() -> None:
    assert len(README.splitlines()) <= 100  # two pages are too long
    extras = (ROOT / "pyproject.toml").read_text("utf-8").split("[project.optional-dependencies]")[1].split("\n[")[0]
    known = set(re.findall(r"^(\w+) = ", extras, flags=re.MULTILINE))
    listed = re.findall(r"`([a-z0-9]+)`", (ROOT / "docs" / "start.md").read_text("utf-8").partition("| extra |")[2])
    assert known - set(listed) == set()
    assert {"serve", "demo", "phonemes", "lora", "transformers"} <= set(re.findall(r"`([a-z]+)`", README))
