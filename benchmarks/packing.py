"""How much of the audio micro-batches keep, and how often the same utterances meet: `python benchmarks/packing.py`.

Lengths are drawn like those of corpora: log-normal, with the corpus's number of utterances and mean.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from emotion2vec.data.config import DataConfig
from emotion2vec.data.order import pack

CORPORA = {"IEMOCAP": (4.5, 0.65, 10_039), "MELD": (3.2, 0.8, 13_000), "CMU-MOSEI": (7.3, 0.6, 23_000)}
"""Mean length in s, deviation of its logarithm, utterances."""


def main() -> None:
    """Print a row per corpus."""
    data = DataConfig()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--buckets", type=int, default=data.buckets)
    parser.add_argument("--seconds", type=float, default=data.batch_seconds, help="audio per micro-batch")
    arguments = parser.parse_args()
    for name, (mean, sigma, count) in CORPORA.items():
        drawn = np.random.default_rng(0).lognormal(np.log(mean) - sigma**2 / 2, sigma, count)
        lengths = np.minimum((16_000 * drawn).astype(np.int64).clip(data.min_samples), data.max_samples)
        rng, budget = np.random.default_rng(1), int(16_000 * arguments.seconds)
        first, second = (pack(lengths, budget, arguments.buckets, rng) for _ in range(2))
        kept = sum(len(batch) * lengths[batch].min() for batch in first) / lengths.sum()
        place = {item: number for number, batch in enumerate(second) for item in batch.tolist()}
        met = sum(len(batch) * (len(batch) - 1) for batch in first)
        again = sum(n * (n - 1) for batch in first for n in Counter(place[i] for i in batch.tolist()).values())
        print(f"{name}: {count} utterances, kept {kept:.1%}, meet again {again / met:.0%}")


if __name__ == "__main__":
    main()
