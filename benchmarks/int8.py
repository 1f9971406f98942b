"""What int8 costs and brings: speed, cosine to float32 per frame, and probe scores, on real speech.

OMP_NUM_THREADS=2 python benchmarks/int8.py CORPUS... [--model tiny] [--clips 100]

A CORPUS is a folder with a `metadata.tsv` of the columns file, speaker and emotion. The speed is the network's alone,
by processor time, in rounds that take turns; the score is that of logistic regression on means over time, leaving one
speaker out, on features that the engine extracted in each precision.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from emotion2vec import load_model
from emotion2vec.audio.samples import load_audio, normalize
from emotion2vec.extraction import extract
from emotion2vec.model.cpu.packing import int8_product_gain, packed
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.probe.run import probe
from emotion2vec.processors import instruction_sets, processor

DTYPES = {"fp32": torch.float32, "int8": torch.int8}


@torch.inference_mode()
def compare(model: Emotion2vec, paths: list[Path], rounds: int = 5) -> tuple[float, np.ndarray]:
    """How many times faster int8 is than float32, and the cosine of every frame of some clips."""
    waveforms = [torch.from_numpy(normalize(load_audio(path))).unsqueeze(0) for path in paths]
    frames: dict[str, list[torch.Tensor]] = {}
    times: dict[str, list[float]] = {name: [] for name in DTYPES}
    for _ in range(rounds):
        for name, dtype in DTYPES.items():
            with packed(model, dtype):
                model(waveforms[0])
                started = time.process_time()
                frames[name] = [model(waveform).frames[0] for waveform in waveforms]
                times[name].append(time.process_time() - started)
    ratio = statistics.median(exact / rounded for exact, rounded in zip(*times.values(), strict=True))
    return ratio, torch.cosine_similarity(*(torch.cat(part) for part in frames.values()), dim=1).numpy()


def score(model: Emotion2vec, corpus: Path, precision: str, folder: Path) -> dict[str, float]:
    """Extract a corpus in a precision, whether or not it pays, and probe the features."""
    with mock.patch("emotion2vec.extraction.encode.ready.INT8_GAIN", 0.0):
        report = extract(corpus, model=model, output=folder, granularity="utterance", precision=precision)
    assert report.precision == precision and not report.failed, report
    table = corpus / "metadata.tsv"
    result = probe(table=table, root=corpus, features=[str(folder)], folds="speaker", heads=["logreg"])
    return {name: result.to_dict()["mean"][name] for name in ("WA", "UA")}


def main() -> None:
    """Print a row per corpus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", type=Path)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--clips", type=int, default=100, help="clips of each corpus whose frames are compared")
    options = parser.parse_args()
    model = load_model(options.model)
    print(f"{processor()} ({' '.join(instruction_sets())}), {torch.get_num_threads()} threads; {options.model}")
    print(f"products in int8 are {int8_product_gain():.2f} times as fast as in float32")
    print("| corpus | speed | cosine: mean | lowest | WA fp32 | int8 | UA fp32 | int8 |\n" + "| --- " * 8 + "|")
    for corpus in options.corpora:
        with (corpus / "metadata.tsv").open(encoding="utf-8") as table:
            files = [corpus / row["file"] for row in csv.DictReader(table, delimiter="\t")]
        ratio, cosine = compare(model, files[:: max(1, len(files) // options.clips)])
        with tempfile.TemporaryDirectory() as name:
            scores = {precision: score(model, corpus, precision, Path(name) / precision) for precision in DTYPES}
        cells = [corpus.name, f"{ratio:.2f}", f"{cosine.mean():.5f}", f"{cosine.min():.5f}"]
        cells += [f"{scores[precision][metric]:.2f}" for metric in ("WA", "UA") for precision in DTYPES]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
