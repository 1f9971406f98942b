"""README and Makefile are run-checked: every command line parses, every file and key that they name exists."""

from __future__ import annotations

import re

from pages import ROOT, command_lines, faults_of


def test_commands_of_the_makefile_parse() -> None:
    found = command_lines((ROOT / "Makefile").read_text(encoding="utf-8"))
    assert found and [faults_of(words) for words in found] == [[]] * len(found)


def test_readme_shows_every_verb() -> None:
    from typer.main import get_command

    from emotion2vec.cli import app

    shown = {words[0] for words in command_lines((ROOT / "README.md").read_text(encoding="utf-8"))}
    assert shown == set(get_command(app).commands)  # type: ignore[attr-defined]


def test_config_table_lists_every_config() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`(configs/pretrain/[a-z0-9_]+\.yaml)`", text))
    assert listed == {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs" / "pretrain").glob("*.yaml")}
