"""`make demo`, the first thing that anybody runs: every step, and a page whose path is the last line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_demo_ends_with_the_path_of_its_page(root: Path, tmp_path: Path) -> None:
    commands = {"emotion2vec": "-m emotion2vec", "python": ""}  # of this environment, in place of one of its own
    for name, words in commands.items():
        (tmp_path / name).write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} {words} "$@"\n')
        (tmp_path / name).chmod(0o755)
    variables = [f"BIN={tmp_path}", f"STAMP={tmp_path / 'python'}", f"DEMO={tmp_path / 'demo'}"]
    done = subprocess.run(["make", "demo", *variables], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    page = Path(done.stdout.splitlines()[-1])
    assert page == (tmp_path / "demo" / "page.html").resolve()
    text = page.read_text(encoding="utf-8")
    titles = ["Emotion over time", "Labels", "Pretraining", "Probe of the pretrained features"]
    assert re.findall("<h2[^>]*>(.*?)</h2>", text)[:4] == titles
    assert not re.search(r"(src|href)=\"(?!data:|#)", text) and "@import" not in text  # nothing from elsewhere
    assert len(list((tmp_path / "demo" / "features").glob("*.npy"))) == 80
