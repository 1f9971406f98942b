"""Pages of Markdown: their blocks of code and links, what of a command would be refused, and running a page."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command import run as run_command

ROOT = Path(__file__).resolve().parents[1]
LEFT = "*Not run as a test: "
"""How the paragraph begins that stands before a block which a test cannot run."""


ASKED = ("curl", "docker", "ffmpeg")
"""Programs of others that pages name: where one is missing, the page is not followed."""


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: as the fence names it; `before` for what a test does and readers do not see.
        code: without the fence's indentation.
        line: of its first line of code, from 1.
        runs: whether a test runs it.
    """

    language: str
    code: str
    line: int
    runs: bool


BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>[^\s`]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$"
    r"|^<!-- before the test\n(?P<before>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)


def pages() -> list[Path]:
    """All pages that people read: those of the repository, of docs/ and of what ships beside."""
    inside = [page for name in ("docs", "examples", "checkpoints") for page in (ROOT / name).rglob("*.md")]
    return sorted([*ROOT.glob("*.md"), *(page for page in inside if "_build" not in page.parts)])


def blocks(text: str) -> list[Block]:
    """The blocks of a page, in their order."""
    found = []
    for match in BLOCK.finditer(text):
        before = text[: match.start()].rstrip().rpartition("\n\n")[2]
        hidden = match["before"] is not None
        code = match["before"] if hidden else re.sub(f"^{match['indent']}", "", match["code"], flags=re.MULTILINE)
        line = text.count("\n", 0, match.start()) + 2
        language = "before" if hidden else match["language"]
        found.append(Block(language, code, line, not before.startswith(LEFT)))
    return found


def shell_lines(code: str) -> list[str]:
    """Lines of a shell block, those that go on joined, without comments that are lines."""
    lines = re.sub(r"\\\n\s*", "", code).splitlines()
    return [line for line in map(str.strip, lines) if line and not line.startswith("#")]


def command_lines(text: str) -> list[list[str]]:
    """Words after `emotion2vec` of every command in shell blocks of Markdown, or in a Makefile's recipes."""
    shells = [block.code for block in blocks(text) if block.language in ("bash", "sh", "console")]
    found = []
    for line in shell_lines("\n".join(shells or [text])):
        match = re.search(r"(?:^\s*(?:[A-Z_]+=\S+ )*|/|-m |\| *)emotion2vec +([^|>&;]*)", line)
        if match:
            found.append(shlex.split(match.group(1), comments=True))
    return found


def faults_of(words: list[str]) -> list[str]:
    """What the command line would refuse: an unknown verb or option, a wrong value, a wrong configuration."""
    from typer.main import get_command

    from emotion2vec.cli import CommandError, app

    verbs: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    verb, *rest = words
    if verb.startswith("--"):
        return []
    if verb not in verbs:
        return [f"no verb {verb}"]
    try:
        context = verbs[verb].make_context(verb, list(rest))
    except CommandError as error:
        return [f"{verb}: {error.format_message()}"]
    return config_faults(context.info_name, context.params)


def config_faults(command: str, given: dict[str, Any]) -> list[str]:
    """Faults of the configuration that a command names, and of its overrides."""
    from emotion2vec.cli.shared import find_config
    from emotion2vec.clusters.config import load_config as load_pretrain
    from emotion2vec.distil.checks import load_config as load_distil
    from emotion2vec.errors import ConfigError
    from emotion2vec.finetune.config import load_config as load_finetune
    from emotion2vec.finetune.evaluation.plan import load_plan as load_tested
    from emotion2vec.finetune.search.plan import load_plan as load_search
    from emotion2vec.iterate.config import load_plan as load_iterate
    from emotion2vec.probe.benchmark.loading import load_plan as load_benchmark
    from emotion2vec.systems.plan import is_systems, load_systems

    overrides = [re.sub(r"^teacher=hf:.*", "teacher=compact", word) for word in given.get("overrides") or []]
    if any("$" in word for word in overrides):  # a shell says what it is
        return []
    loaders: dict[str, tuple[str, Any]] = {
        "pretrain": ("pretrain", load_pretrain),
        "distil": ("distil", load_distil),
        "finetune": ("finetune", load_finetune),
        "finetune search": ("finetune", load_search),
        "iterate": ("iterate", load_iterate),
        "benchmark": ("benchmark", load_benchmark),
    }
    try:
        if command == "finetune evaluate":
            load_tested([*overrides, *([f"model={given['model']}"] if given["model"] else [])])
        if command not in loaders:
            return []
        kind, load = loaders[command]
        if command == "benchmark" and given["config"] == "systems":
            kind = "systems"
        path = ROOT / find_config(given["config"], kind)
        if path.is_file():  # a file of the reader's own is not there
            (load_systems if is_systems(path) and command == "benchmark" else load)(path, overrides)
    except ConfigError as error:
        return [f"{command}: {error}"]
    return []


LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\((?!https?://|mailto:)([^)\s]+)\)")


def links(text: str) -> Iterator[str]:
    """Targets of links that lead into the repository."""
    yield from LINK.findall(BLOCK.sub("", text))


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for title in re.findall(r"^#+ +(.*?)\s*$", BLOCK.sub("", text), flags=re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()).replace(" ", "-")
        number = sum(name == plain or re.fullmatch(rf"{re.escape(plain)}-\d+", name) is not None for name in found)
        found.add(f"{plain}-{number}" if number else plain)
    return found


def lost_links(page: Path) -> list[str]:
    """Links of a page to what is not there."""
    text = page.read_text(encoding="utf-8")
    lost = []
    for target in links(text):
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        wants_heading = anchor and path.suffix == ".md"
        if not path.exists() or (wants_heading and anchor not in anchors(path.read_text(encoding="utf-8"))):
            lost.append(target)
    return lost


class Reader:
    """Somebody who does what a page says, block by block, in a folder with the repository's examples and configs.

    Python blocks share their names, as in one session. Commands of ours run in this process, all others in a shell.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        for name in ("examples", "configs"):
            shutil.copytree(ROOT / name, folder / name)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        self.monkeypatch = monkeypatch
        self.module = types.ModuleType("page")
        monkeypatch.setitem(sys.modules, "page", self.module)

    def do(self, page: Path) -> int:
        """Run a page's blocks; how many were run."""
        done = 0
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.language in ("python", "before"):
                code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
                if block.runs:
                    exec(code, self.module.__dict__)
            elif block.language == "bash" and block.runs:
                self._shell(block.code, f"{page}:{block.line}")
            done += block.runs and block.language in ("python", "before", "bash")
        return done

    def _shell(self, code: str, where: str) -> None:
        if missing := [name for name in ASKED if re.search(rf"\b{name} -", code) and shutil.which(name) is None]:
            pytest.skip(f"needs {missing[0]}")
        lines = shell_lines(code)
        if all(re.fullmatch(r"emotion2vec [^|<>&;$]*", line) for line in lines):
            for line in lines:
                assert run_command(self.monkeypatch, *shlex.split(line, comments=True)[1:]) == 0, f"{where}: {line}"
            return
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, f"{where}: {done.stdout}{done.stderr}"
