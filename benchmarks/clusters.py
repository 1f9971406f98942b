"""What clusters of a model's frames know of a corpus, before anything is trained: by layer, K and standardization.

OMP_NUM_THREADS=1 python benchmarks/clusters.py MODEL TABLE --layers 1 2 3 --counts 50 100 --clips 180

TABLE has columns for files and emotions, such as a `metadata.tsv`, and maybe for genders and speakers. Of each scale
inertia, use, and normalized mutual information with what is known of clips, as `finetune --config gmp` says them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric

from emotion2vec.clusters.frames import ModelFrames
from emotion2vec.clusters.labels import Task, make_labels
from emotion2vec.clusters.settings import ClusterSettings
from emotion2vec.corpora.lists.tables import read_table
from emotion2vec.data.cuts import cuts_of
from emotion2vec.data.sources import CutSource
from emotion2vec.training.ranks import Ranks


def main() -> None:
    """Cluster twice, with standardized channels and with channels as they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("table", type=Path)
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--counts", type=int, nargs="+", default=[50, 100])
    parser.add_argument("--clips", type=int, default=180, help="drawn at random")
    asked = parser.parse_args()
    clips = read_table(asked.table).utterances
    chosen = np.sort(np.random.default_rng(0).permutation(len(clips))[: asked.clips])
    drawn = [clips[number] for number in chosen]
    facts = {
        name: {clip.id: value for clip in drawn if (value := getattr(clip, field))}
        for name, field in (("emotion", "label"), ("gender", "gender"), ("speaker", "speaker"))
    }
    source = CutSource(cuts_of(drawn, min_samples=1_600, workers=0).cuts)
    print(f"{len(drawn)} clips of {asked.table}, {source.seconds:.0f} s")
    frames = ModelFrames(asked.model, asked.layers, torch.device("cpu"))
    for standardize in (True, False):
        print("standardized channels" if standardize else "channels as they are", flush=True)
        settings = ClusterSettings(layers=asked.layers, counts=asked.counts, standardize=standardize)
        with tempfile.TemporaryDirectory() as folder:
            task = Task(Path(folder) / "clusters", frames, settings, 0, facts)
            make_labels(task, [source], Ranks(Fabric(accelerator="cpu", devices=1)), print)


if __name__ == "__main__":
    main()
