"""Time the heads on frames as many as nEMO's: CPU seconds of some epochs, what all folds would take, and the floor.

The floor is what the products alone would take at the best rate that any of them has here.

OMP_NUM_THREADS=1 python benchmarks/probe.py --channels 768 --precision bf16
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from emotion2vec.devices import HOST
from emotion2vec.hardware import time_candidates
from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.probe.heads import LogisticRegressionHead, MlpHead
from emotion2vec.probe.packed import PRECISIONS
from emotion2vec.probe.problem import Problem

NEMO_CLIPS, NEMO_FRAMES, NEMO_FOLDS = 4481, 552_000, 9


def random_table(clips: int, channels: int) -> FeatureTable:
    """Normal noise in clips as long as nEMO's on average."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.normal(NEMO_FRAMES / NEMO_CLIPS, 35, clips), 30, 400).astype(np.int64)
    frames = random.standard_normal((int(lengths.sum()), channels), dtype=np.float32)
    starts = np.cumsum(lengths) - lengths
    vectors = np.add.reduceat(frames, starts) / lengths[:, None]
    return FeatureTable(vectors=vectors.astype(np.float32), frames=frames, lengths=lengths, failures={})


def fold_of(clips: int) -> Problem:
    """Train on most clips, validate on a fifth, test on ten."""
    rows = np.arange(clips)
    return Problem(
        labels=np.random.default_rng(1).integers(0, 6, clips),
        outputs=6,
        speakers=rows * 8 // clips,
        train=rows[: clips * 4 // 5],
        valid=rows[clips * 4 // 5 :],
        test=rows[:10],
        standardize=True,
        seed=0,
    )


def floor(frames: int, training: int, channels: int, precision: str, hidden: int) -> float:
    """CPU seconds of an epoch's products: forward for all frames, and the weights' gradient for those of training."""
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(PRECISIONS[precision])

    rates = []
    for rows in (128, 512, 2048):
        x, weight, gradient = some(rows, channels), some(channels, hidden), some(rows, hidden)
        ways = ({"product": lambda x=x, w=weight: x @ w}, {"product": lambda x=x, g=gradient: x.t() @ g})
        rates += [2 * rows * channels * hidden / time_candidates(way, HOST)["product"] for way in ways]
    print(f"best of the products: {max(rates) / 1e9:.0f} GFLOP/s on {torch.get_num_threads()} thread")
    return 2 * (frames + training) * channels * hidden / max(rates)


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--precision", choices=["fp32", "bf16", "auto"], default="auto")
    parser.add_argument("--clips", type=int, default=1280)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    table, problem = random_table(arguments.clips, arguments.channels), fold_of(arguments.clips)
    head = MlpHead(epochs=2, precision=arguments.precision)
    data = head.prepare(table, "cpu")
    head.fit(data, problem)  # what is built on first use does not count
    took = []
    for _ in range(arguments.rounds):
        started = time.process_time()
        head.fit(data, problem)
        took.append((time.process_time() - started) / head.epochs)
    seconds = min(took)  # other work on the machine only slows it down
    whole = NEMO_FRAMES * 8 / 9 / table.lengths.sum() * 100 * NEMO_FOLDS
    frames, training = int(table.lengths.sum()), int(table.lengths[problem.train].sum())
    least = floor(frames, training, arguments.channels, data.precision, head.hidden)
    settings = f"{arguments.channels} channels, {data.precision}"
    print(f"mlp, {settings}: {seconds:.2f} CPU s an epoch of {len(problem.train)} clips")
    print(f"all of nEMO, leave one speaker out, 100 epochs: about {seconds * whole:.0f} CPU s")
    print(f"of which the products alone {least * whole:.0f} CPU s: {seconds / least:.2f} times them")
    started = time.process_time()
    LogisticRegressionHead().fit(table.vectors, problem)
    print(f"logreg with choice of C: {time.process_time() - started:.2f} CPU s a fold of {arguments.clips} clips")


if __name__ == "__main__":
    main()
