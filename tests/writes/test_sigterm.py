"""SIGTERM: what was done is on disk and said, the exit code is 75, and the same command does the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from extraction.helpers import speech as noise
from signals import start_child

CLIPS = 60


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder with many clips in `in`."""
    (tmp_path / "in").mkdir()
    for number in range(CLIPS):
        soundfile.write(tmp_path / "in" / f"{number:03d}.wav", noise(48_000, number), 16_000)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "started", "rest"),
    [
        (["extract", "in", "--output", "out"], "out/*.npy", ["--resume"]),
        (["extract", "in", "--output", "out", "--format", "npz"], "out/.features.npz.*.partial", ["--resume"]),
        (["predict", "in", "--output", "out/p.jsonl"], "out/.p.jsonl.*.partial", []),
        (["prepare", "in", "out", "--shard-size", "6", "--workers", "1"], "out/.prepare/*.json", []),
    ],
)
def test_what_is_done_stays_and_the_rest_follows(
    clips: Path, ask: Callable[..., Iterator[Any]], words: list[str], started: str, rest: list[str]
) -> None:
    (first,) = ask(once=words, before=str(clips), stop=started)
    code, said = first["code"], first["said"]
    assert code == 75 and "Traceback" not in said, said
    assert "stopped" in said
    assert not [path.name for path in (clips / "out").iterdir() if "partial" in path.name or "lock" in path.name]
    if words[0] == "predict":
        rows = (clips / "out" / "p.jsonl").read_text().splitlines()
        assert all(json.loads(row)["confidence"] for row in rows) and 0 < len(rows) < CLIPS
    (again,) = ask(once=[*words, *rest], before=str(clips), stop=None)
    code, said = again["code"], again["said"]
    assert code == 0, said
    if words[0] == "extract":
        assert "there already" in said


def test_before_anything_is_written(clips: Path, root: Path) -> None:
    process = start_child(
        [sys.executable, "-m", "emotion2vec", "extract", "in", "--output", "out"],
        cwd=clips,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=240)
    assert process.returncode in (75, -signal.SIGTERM) and "Traceback" not in said  # before or after Python has started
