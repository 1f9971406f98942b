"""A network small enough for tests, and a corpus of tones that it can tell apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch

from emotion2vec.audio.samples import load_audio
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.model.features import Features
from emotion2vec.probe.benchmark.plan import BenchmarkPlan
from emotion2vec.probe.benchmark.results import BenchmarkResult
from emotion2vec.probe.benchmark.run import run_benchmark
from emotion2vec.probe.problem import Problem
from emotion2vec.report import page

PITCHES = {"high": 900.0, "low": 300.0}


class StandIn(torch.nn.Module):
    """Frames of 20 ms, projected by random weights and cut off below: three layers of eight channels."""

    def __init__(self, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.nn.Parameter(torch.randn(3, 320, 8, generator=generator))
        self.calls = 0

    def extract_features(self, source: Path, *, layers: bool = False) -> Features:
        self.calls += 1
        waveform = torch.from_numpy(load_audio(source))
        frames = torch.fft.rfft(waveform[: len(waveform) // 320 * 320].view(-1, 320), 638).abs()  # (T, 320)
        outputs = (frames @ self.weight.detach()).relu().numpy()  # (L, T, D)
        return Features(frames=outputs[-1], layers=outputs if layers else None)


def clip_of(path: Path) -> Utterance:
    """A clip of which nothing is known but its audio."""
    return Utterance(id=path.name, file=path.name, audio=path)


def problem_of(labels: np.ndarray, outputs: int) -> Problem:
    """120 clips of six speakers, 20 each: three train, one validates, two are tested."""
    rows = np.arange(120)
    return Problem(
        labels=labels,
        outputs=outputs,
        speakers=rows // 20,
        train=rows[:60],
        valid=rows[60:80],
        test=rows[80:],
        standardize=True,
        seed=0,
    )


def run_plan(plan: BenchmarkPlan, command: str = "") -> BenchmarkResult:
    """Run a benchmark with its report, as the command line does."""
    return run_benchmark(plan, lambda result: page.write_report(plan, result, command))


def write_tones(root: Path, speakers: int = 4, each: int = 4) -> Path:
    """Write tones of two labels, spoken by speakers of different loudness, and their table; return the table."""
    random = np.random.default_rng(0)
    lines = ["file,emotion,speaker"]
    for speaker in range(speakers):
        for take in range(each):
            for label, pitch in PITCHES.items():
                seconds = np.arange(4000 + 400 * take) / 16000
                tone = np.sin(2 * np.pi * pitch * random.uniform(0.9, 1.1) * seconds) / (2 + speaker)
                file = f"{label}_{speaker}_{take}.wav"
                soundfile.write(root / file, tone + 0.02 * random.standard_normal(len(tone)), 16000)
                lines.append(f"{file},{label},s{speaker}")
    table = root / "tones.csv"
    table.write_text("\n".join(lines))
    return table
