"""How fast data is opened, planned, decoded and resumed: `python benchmarks/data.py start|decode --help`.

    python benchmarks/data.py start --utterances 10000000
    python benchmarks/data.py decode SPEECH --workers 0 1 2

`start` makes the summary and index of a prepared corpus of any size (no audio, since none is read before training) and
times what a start and a resume in the middle of an epoch take before the first audio is read. `decode` reads a folder,
a manifest or a prepared corpus through the loader as training does, and tells how much of a step waits for data if the
step takes as long as asked.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from emotion2vec.data.batches import batches
from emotion2vec.data.config import DataConfig
from emotion2vec.data.corpus import open_corpus
from emotion2vec.data.order import BatchOrder, Position, Stream
from emotion2vec.data.shards import FORMAT, FORMAT_VERSION, INDEX, INDEX_FILE, SUMMARY_FILE

SHARD_SIZE = 1_000
DATA = DataConfig()
OPEN = {"min_samples": DATA.min_samples, "max_bad_share": 1.0, "workers": 4}


def make_index(folder: Path, utterances: int) -> None:
    """Write what a start reads of a corpus of utterances of 1 to 15 s."""
    rng, samples, counts = np.random.default_rng(0), 0, []
    with open(folder / INDEX_FILE, "wb") as index:
        for first in range(0, utterances, SHARD_SIZE):
            rows = np.zeros(min(SHARD_SIZE, utterances - first), dtype=INDEX)
            rows["length"] = rng.integers(16_000, 240_000, len(rows))
            rows["size"] = rows["length"] // 5
            rows["offset"] = np.cumsum(rows["size"]) - rows["size"]
            index.write(rows.tobytes())
            samples += int(rows["length"].sum())
            counts.append(len(rows))
    summary = {"format": FORMAT, "format_version": FORMAT_VERSION, "audio": "tar", "utterances": utterances}
    summary |= {"seconds": samples / 16_000, "counts": counts}
    (folder / SUMMARY_FILE).write_text(json.dumps(summary))


def start(utterances: int) -> None:
    """Time opening, the first plan, and a resume in the middle of an epoch."""
    with tempfile.TemporaryDirectory() as name:
        make_index(Path(name), utterances)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        def first_request(place: Position) -> tuple[float, BatchOrder]:
            started = time.perf_counter()
            corpus = open_corpus([name], **OPEN)
            order = BatchOrder(corpus.sources, DATA, Stream(seed=0), place)
            next(iter(order))
            return time.perf_counter() - started, order

        fresh, order = first_request(Position())
        windows = len(order.windows(0))
        resumed, order = first_request(Position(epoch=3, window=windows // 2, batch=500, index=10**6))
        print(f"{utterances} utterances, {windows} windows per epoch")
        print(f"fresh start to first plan   {fresh:.2f} s")
        print(f"resume in mid-epoch         {resumed:.2f} s")
        started, count, seen = time.perf_counter(), 0, 0
        for request in order:
            count, seen = count + 1, seen + sum(len(part) for _, part in request.parts)
            if time.perf_counter() - started > 5:
                break
        print(f"planning                    {seen / (time.perf_counter() - started):,.0f} utterances/s")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        print(f"memory beyond the imports   {grown / 1024:.0f} MB")


def decode(source: str, workers: int, seconds: float, step: float) -> None:
    """Time the loader alone, then what a loop waits that computes for `step` s per micro-batch."""
    corpus = open_corpus([source], **OPEN)
    iterator = batches(corpus.sources, replace(DATA, workers=workers), Stream(seed=0))
    started = time.perf_counter()
    next(iterator)
    first, heard, began, used = time.perf_counter() - started, 0.0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        heard += next(iterator).seconds
    rate, used = heard / (time.perf_counter() - began), time.process_time() - used
    waited, began = 0.0, time.perf_counter()
    while step and time.perf_counter() - began < seconds:
        asked = time.perf_counter()
        next(iterator)
        waited += time.perf_counter() - asked
        time.sleep(step)
    core = f", {heard / used:,.0f} per second of one core" if workers == 0 else ""
    share = f", {waited / (time.perf_counter() - began):.2%} of steps of {step:g} s waited" if step else ""
    iterator.close()
    print(f"{workers} workers: first after {first:.2f} s, {rate:,.0f} audio-seconds per second{core}{share}")


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    starting = kinds.add_parser("start", help="open, plan and resume a corpus of any size")
    starting.add_argument("--utterances", type=int, default=10_000_000)
    decoding = kinds.add_parser("decode", help="decode real audio")
    decoding.add_argument("source")
    decoding.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    decoding.add_argument("--seconds", type=float, default=10.0, help="length of each measurement")
    decoding.add_argument("--step", type=float, default=0.0, help="computation per micro-batch to imitate, in s")
    options = parser.parse_args()
    if options.kind == "start":
        start(options.utterances)
        return
    for workers in options.workers:
        decode(options.source, workers, options.seconds, options.step)


if __name__ == "__main__":
    main()
