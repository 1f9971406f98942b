"""Time the shipped model `compact` against a network of the base size, and its start.

python benchmarks/compact.py [--threads 1] [--files 24] [--rounds 5] [--seconds 3] [--starts 5]

Both sides extract the same files with our engine, from disk to disk, and take turns, so that whatever else the machine
does hits both; base has random weights. A start is a fresh process until a first feature: of the command line, until
the file is written, and of three lines of Python; `torch alone` is a process that imports PyTorch and does nothing, of
which every start consists for the most part. Bytecode is kept in a folder of the benchmark's own, filled by a start
that is not counted, as an installed package has it.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile
import torch
from extract import measure, ours, report, write_audio

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.checkpoint import load_model
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.processors import instruction_sets, processor

BASE = "base"
PYTHON = "import emotion2vec; emotion2vec.load_model().extract_features(r'{}')"


def starts(clip: Path, folder: Path) -> dict[str, list[str]]:
    """Commands by name."""
    command = [sys.executable, "-m", "emotion2vec", "extract", str(clip), "--output", str(folder / "first")]
    return {
        "torch alone": [sys.executable, "-c", "import torch"],
        "from Python": [sys.executable, "-c", PYTHON.format(clip)],
        "extract": command,
    }


def time_starts(clip: Path, folder: Path, rounds: int) -> None:
    """Let the starts take turns, and print the medians of what they took; the first round warms up."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    commands = starts(clip, folder)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(command, env=environment, check=True, capture_output=True)
            took, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            if number:
                times[name].append((took, spent))
    print("| start | s, median | least | by CPU time |\n| --- | --- | --- | --- |")
    for name, pairs in times.items():
        walls, spent = zip(*pairs, strict=True)
        print(f"| {name} | {statistics.median(walls):.2f} | {min(walls):.2f} | {statistics.median(spent):.2f} |")


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "audio").mkdir()
        paths = write_audio(folder / "audio", options.files, options.seconds)
        audio = sum(soundfile.info(path).duration for path in paths)
        print(f"{processor()} ({' '.join(instruction_sets())}), {options.threads} threads")
        print(f"{options.files} files, {audio:.0f} s of audio, {options.rounds} rounds", flush=True)
        sides = {BASE: Emotion2vec(Emotion2vecConfig()).eval(), DEFAULT_MODEL: load_model()}
        runs = {side: ours(model, "fp32") for side, model in sides.items()}
        report(measure(runs, paths, folder, options.rounds, audio), audio, BASE)
        if options.starts:
            time_starts(paths[0], folder, options.starts)


if __name__ == "__main__":
    main()
