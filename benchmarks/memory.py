"""Measure the memory of `extract`: that it grows neither with the length of a file nor with the number of files.

python benchmarks/memory.py [--model tiny] [--audio FOLDER] [--hours 0.25 1 10] [--files 200 20000] [--format npy]
OMP_NUM_THREADS=2 python benchmarks/memory.py --model base-size --seconds 16 39    # what batches side by side cost
python benchmarks/memory.py --lists 200000    # what an item costs before anything is extracted

Every job runs in a process of its own, with the files and features in a temporary folder (--scratch).
`--model base-size` is an untrained network of the base model's dimensions, `base-width` one that is as wide, and small
in everything else: as many bytes of features, in a fraction of the time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.samples import load_audio
from emotion2vec.corpora.lists.manifests import read_manifest

JOB = """
import json, resource, sys
from emotion2vec.extraction import extract
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
source, model, output, options = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
small = dict(channels=16, heads=1, ffn_width=16, prenet_depth=0, depth=1, position_layers=1, position_width=3)
untrained = {"base-size": {}, "base-width": small}
if model in untrained:
    from emotion2vec.model.config import Emotion2vecConfig
    from emotion2vec.model.encoder import Emotion2vec
    model = Emotion2vec(Emotion2vecConfig(**untrained[model]))
report = extract(source, model=model, output=output, **options)
assert not report.failed, report.failed[:3]
print(json.dumps([peak(), report.written, report.frames]))
"""


LIST = """
import json, resource, sys, time
from emotion2vec.extraction.sources.named import read_sources
def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
memory, seconds = peak(), time.process_time()
items = read_sources(sys.argv[1]).utterances
memory, seconds = (peak() - memory) / len(items), (time.process_time() - seconds) / len(items)
print(f"{memory:.0f} bytes and {seconds * 1e3:.2f} ms an item")
"""


def run(source: Path, scratch: Path, model: str, options: dict[str, str | float]) -> str:
    """Extract in a process of its own: its largest resident size, time, and the size of what it wrote."""
    with tempfile.TemporaryDirectory(dir=scratch) as output:
        started = time.monotonic()
        command = [sys.executable, "-c", JOB, str(source), model, output, json.dumps(options)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        elapsed = time.monotonic() - started
        peak, written, frames = json.loads(done.stdout)
        size = sum(path.stat().st_size for path in Path(output).rglob("*") if path.is_file())
    return f"{peak:.0f} MiB, {elapsed:.0f} s, {written} files written, {frames} frames, {size / 1e9:.3f} GB"


def write_long(path: Path, folder: Path, hours: float) -> None:
    """Write a FLAC file of speech, 16 kHz, that is as long as asked for: some clips, again and again."""
    speech = np.concatenate([load_audio(utterance.audio) for utterance in read_manifest(folder).utterances[:400]])
    left = int(hours * 3600 * SAMPLE_RATE)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
        while left > 0:
            file.write(speech[:left])
            left -= speech.size


def write_many(folder: Path, count: int, shortest: float = 0.1, longest: float = 0.3) -> None:
    """Write files of noise of lengths between two, in s, 200 to a folder."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number // 200:05d}" / f"{number:07d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(
            path,
            0.1 * rng.standard_normal(rng.integers(int(shortest * SAMPLE_RATE), int(longest * SAMPLE_RATE))),
            SAMPLE_RATE,
        )


def write_list(folder: Path, count: int) -> Path:
    """Write JSON lines that name so many segments of one file, with ids as corpora have them."""
    soundfile.write(folder / "a.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    rows = (
        {
            "audio_filepath": "a.wav",
            "offset": 0.0,
            "duration": 0.5,
            "key": f"speaker{number % 100:03d}/clip_{number:09d}",
        }
        for number in range(count)
    )
    path = folder / "list.jsonl"
    with open(path, "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def main() -> None:
    """Print a line per job."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--audio", type=Path, default=Path("examples/sample_speech"))
    parser.add_argument("--hours", type=float, nargs="*", default=[])
    parser.add_argument("--files", type=int, nargs="*", default=[])
    parser.add_argument("--seconds", type=float, nargs="*", default=[], help="of four files; with several threads")
    parser.add_argument("--lists", type=int, nargs="*", default=[])
    parser.add_argument("--format", default="npy")
    parser.add_argument("--granularity", default="frame")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--chunk-seconds", type=float, default=40.0)
    parser.add_argument("--chunk-overlap", type=float, default=10.0)
    options = parser.parse_args()
    names = ("format", "granularity", "precision", "chunk_seconds", "chunk_overlap")
    chosen = {name: getattr(options, name) for name in names}
    for hours in options.hours:
        with tempfile.TemporaryDirectory(dir=options.scratch) as name:
            write_long(Path(name) / "long.flac", options.audio, hours)
            print(f"one file of {hours} h: {run(Path(name), options.scratch, options.model, chosen)}", flush=True)
    for count in options.files:
        with tempfile.TemporaryDirectory(dir=options.scratch) as name:
            write_many(Path(name), count)
            print(f"{count} files: {run(Path(name), options.scratch, options.model, chosen)}", flush=True)
    for seconds in options.seconds:
        with tempfile.TemporaryDirectory(dir=options.scratch) as name:
            write_many(Path(name), 4, 0.98 * seconds, seconds)
            print(f"4 files of {seconds} s: {run(Path(name), options.scratch, options.model, chosen)}", flush=True)
    for count in options.lists:
        with tempfile.TemporaryDirectory(dir=options.scratch) as name:
            command = [sys.executable, "-c", LIST, str(write_list(Path(name), count))]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            print(f"a list of {count}: {done.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main()
