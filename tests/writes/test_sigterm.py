"""SIGTERM: what was done is on disk and said, the exit code is 75, and the same command does the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
from extraction.helpers import speech as noise
from signals import start_child

CLIPS = 60


def run(words: list[str], folder: Path, root: Path, started: str | None = None) -> tuple[int, str]:
    """Run a command, and send it SIGTERM as soon as there is a file that matches; its exit code and what it said."""
    process = start_child(
        [sys.executable, "-m", "emotion2vec", *words],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    if started is not None:
        until = time.monotonic() + 120
        while not any(path.stat().st_size for path in folder.glob(started)) and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=240)
    return process.returncode, said


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
    clips: Path, root: Path, words: list[str], started: str, rest: list[str]
) -> None:
    code, said = run(words, clips, root, started)
    assert code == 75 and "Traceback" not in said, said
    assert "stopped" in said
    assert not [path.name for path in (clips / "out").iterdir() if "partial" in path.name or "lock" in path.name]
    if words[0] == "predict":
        rows = (clips / "out" / "p.jsonl").read_text().splitlines()
        assert all(json.loads(row)["confidence"] for row in rows) and 0 < len(rows) < CLIPS
    code, said = run([*words, *rest], clips, root)
    assert code == 0, said
    if words[0] == "extract":
        assert "there already" in said


def test_before_anything_is_written(clips: Path, root: Path) -> None:
    code, said = run(["extract", "in", "--output", "out"], clips, root, "in")
    assert code in (75, -signal.SIGTERM) and "Traceback" not in said  # before or after Python has started
