"""README and Makefile are run-checked: every command line parses, every file and key that they name exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def command_lines(text: str) -> list[list[str]]:
    """Words after `emotion2vec` of every command in shell blocks of Markdown, or in a Makefile's recipes."""
    blocks = re.findall(r"```(?:bash|sh|console)\n(.*?)```", text, flags=re.DOTALL) or [text]
    lines = re.sub(r"\\\n\s*", "", "\n".join(blocks)).splitlines()
    found = []
    for line in lines:
        match = re.search(r"(?:^\s*|/|-m )emotion2vec +(.*)", line)
        if match:
            found.append(shlex.split(match.group(1), comments=True))
    return found


COMMANDS = [
    pytest.param(words, id=f"{name}: {' '.join(words)[:60]}")
    for name in ("README.md", "docs/data.md", "Makefile", "examples/sample_speech/README.md")
    for words in command_lines((ROOT / name).read_text(encoding="utf-8"))
]


def faults_of(words: list[str]) -> list[str]:
    """What the command line would refuse: an unknown verb, unknown options, missing configs, wrong overrides."""
    from typer.main import get_command

    from emotion2vec.cli import app

    verbs: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    verb, *rest = words
    if verb not in verbs:
        return [f"no verb {verb}"]
    options = {name for item in verbs[verb].params for name in (*item.opts, *item.secondary_opts)} | {"--help"}
    faults = [f"{verb} has no option {word}" for word in rest if word.startswith("-") and word not in options]
    if verb == "pretrain":
        faults += config_faults(rest)
    return faults


def config_faults(words: list[str]) -> list[str]:
    """Faults of the configuration file and the overrides of a `pretrain` command."""
    from emotion2vec.clusters.config import load_config
    from emotion2vec.errors import ConfigError

    path = ROOT / words[words.index("--config") + 1]
    try:
        load_config(path, [word for word in words if re.match(r"[a-z0-9_.]+=", word)])
    except ConfigError as error:
        return [str(error)]
    return []


@pytest.mark.parametrize("words", COMMANDS)
def test_commands_parse(words: list[str]) -> None:
    assert faults_of(words) == []


def test_readme_shows_every_verb() -> None:
    from typer.main import get_command

    from emotion2vec.cli import app

    shown = {words[0] for words in command_lines((ROOT / "README.md").read_text(encoding="utf-8"))}
    assert shown == set(get_command(app).commands)  # type: ignore[attr-defined]


def test_wrong_commands_are_noticed(tmp_path: Path) -> None:
    text = "```bash\nemotion2vec pretend x\nemotion2vec info --nope x\npython -m emotion2vec \\\n  pretend\n```"
    assert [bool(faults_of(words)) for words in command_lines(text)] == [True, True, True]


def test_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_config_table_lists_every_config() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`(configs/pretrain/[a-z0-9_]+\.yaml)`", text))
    assert listed == {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs" / "pretrain").glob("*.yaml")}
