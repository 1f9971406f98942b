"""Measure calls that come one by one, as a service makes them: how much memory they keep, and what the call costs.

OMP_NUM_THREADS=1 python benchmarks/repeated.py --clips 3000 [--model compact] [--forms method function predict job]
OMP_NUM_THREADS=1 python benchmarks/repeated.py --clips 60 --rounds 5    # the function's time over the method's

Every form runs in a process of its own on clips of distinct lengths between two. Memory is what is resident after each
tenth of them; the plateau is the largest of what follows the first three tenths. Times are alternated in one process.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

import emotion2vec
from emotion2vec.audio.frames import SAMPLE_RATE

FORMS = ("method", "predict method", "function", "frame", "file", "rates")
"""`model.extract_features`, `model.predict`, `emotion2vec.extract_features` and `emotion2vec.predict` by name, the
function of a file, and of samples at rates that are all different."""


def resident() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def clips(count: int, shortest: float, longest: float) -> list[int]:
    """Distinct lengths in samples, in an order that is no order."""
    lengths = np.linspace(shortest * SAMPLE_RATE, longest * SAMPLE_RATE, count).round().astype(int)
    return [int(length) for length in np.random.default_rng(0).permutation(np.unique(lengths))]


def call_of(form: str, model: str, folder: Path) -> Callable[[np.ndarray], object]:
    """A call of a form, which takes samples (S,) at 16 kHz."""
    loaded = emotion2vec.load_model(model)
    if form == "method":
        return lambda x: loaded.extract_features(x, SAMPLE_RATE)
    if form == "predict method":
        return lambda x: loaded.predict(x, SAMPLE_RATE)
    if form == "function":
        return lambda x: emotion2vec.extract_features(x, SAMPLE_RATE, model=model)
    if form == "frame":
        return lambda x: emotion2vec.predict(x, SAMPLE_RATE, model=model)
    if form == "rates":
        return lambda x: emotion2vec.extract_features(x, 16_000 + x.size % 8000, model=model)

    def from_file(x: np.ndarray) -> object:
        soundfile.write(folder / "clip.wav", x, SAMPLE_RATE)
        return emotion2vec.extract_features(folder / "clip.wav", model=model)

    return from_file


def noise(samples: int) -> np.ndarray:
    """Noise (S,) float32."""
    return (0.1 * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)


def keep(form: str, options: argparse.Namespace) -> None:
    """Print the memory of a form after each tenth of the clips."""
    lengths = clips(options.clips, options.shortest, options.longest)
    with tempfile.TemporaryDirectory() as folder:
        call = call_of(form, options.model, Path(folder))
        call(noise(SAMPLE_RATE))
        found = [resident()]
        for number, length in enumerate(lengths, start=1):
            call(noise(length))
            if number % max(1, len(lengths) // 10) == 0:
                found.append(resident())
    rest = found[4:] or found[-1:]
    shown = " ".join(f"{value:.0f}" for value in found)
    print(f"{form}: {shown} MB; after three tenths {max(rest) - min(rest):.0f} MB between least and most", flush=True)


def compare(options: argparse.Namespace) -> None:
    """Print the time of the function forms as shares of that of the methods."""
    lengths = clips(options.clips, options.shortest, options.longest)
    audio = [noise(length) for length in lengths]
    pairs = (("function", "method"), ("frame", "predict method"))
    with tempfile.TemporaryDirectory() as folder:
        calls = {form: call_of(form, options.model, Path(folder)) for pair in pairs for form in pair}
        seconds: dict[str, list[float]] = {form: [] for form in calls}
        for number in range(options.rounds + 1):
            for form, call in calls.items():
                started = time.process_time()
                for x in audio:
                    call(x)
                if number:  # the first round warms up
                    seconds[form].append(time.process_time() - started)
    for first, second in pairs:
        ratios = [a / b for a, b in zip(seconds[first], seconds[second], strict=True)]
        each = statistics.median(seconds[second]) / len(audio) * 1e3
        shown = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        print(f"{first} / {second}: {shown}, {second} {each:.1f} ms a clip")


def main() -> None:
    """Print a line per form."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="compact")
    parser.add_argument("--clips", type=int, default=3000)
    parser.add_argument("--shortest", type=float, default=0.2, help="s")
    parser.add_argument("--longest", type=float, default=1.5, help="s")
    parser.add_argument("--forms", nargs="*", default=FORMS)
    parser.add_argument("--rounds", type=int, default=0, help="compare times, in so many rounds, and nothing else")
    parser.add_argument("--here", action="store_true", help="in this process")
    options = parser.parse_args()
    if options.rounds:
        compare(options)
        return
    for form in options.forms:
        if options.here:
            keep(form, options)
        else:
            command = [sys.executable, __file__, *sys.argv[1:], "--forms", form, "--here"]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
