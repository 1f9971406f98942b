"""Time fine-tuning, and its peak memory: ours, and Hugging Face's Trainer, on the same model and clips.

OMP_NUM_THREADS=1 python benchmarks/finetune.py --corpora nemo=FOLDER emotale=FOLDER [--updates 6] [--rounds 3]
OMP_NUM_THREADS=1 python benchmarks/finetune.py --corpora nemo=FOLDER --model compact --sides full lora

Trainer needs the package accelerate. `full` and `lora` are ours by these strategies, `trainer` and `grouped` Trainer
without and with its batches of like length (train_sampling_strategy). Without --model it is a wav2vec 2.0 of random
weights, which both can run: what is below the blocks is frozen, and a mean over time and a linear layer are the head.
Ours shares out the clips of an update by length (--accumulate); Trainer pads those of a batch to the longest of them.
Both take clips whole, compute in float32, and are run in processes of their own, in turn. Printed are seconds for an
hour of audio, by processor time and by the clock, of some updates after the first; decoding is in them on our side
alone, and validation on none.

B: clips of a batch. S: samples. T: frames. D: width.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

OURS = ("full", "lora")
SERVER = multiprocessing.get_context("forkserver")
PRELOADED = ["emotion2vec.finetune.run", "lightning.fabric", "lhotse", "transformers.trainer", "peft"]
SHAPE = {
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "conv_dim": [128] * 7,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "layerdrop": 0.0,
    "apply_spec_augment": False,
}


class Watch:
    """Times updates after the first one, by processor time and by the clock."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float, float]] = []
        self.heard = 0.0

    def note(self) -> None:
        """An update is done."""
        self.marks.append((time.process_time(), time.perf_counter(), self.heard))

    def found(self, updates: int) -> dict[str, float]:
        """What so many updates took for an hour of audio, in s, and the most memory that was held."""
        processor, clock, heard = (last - first for first, last in zip(self.marks[0], self.marks[updates], strict=True))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return {"processor": 3600 * processor / heard, "clock": 3600 * clock / heard, "gigabytes": peak}


def write_model(folder: Path) -> None:
    """A wav2vec 2.0 of random weights."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config(**SHAPE)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)


def settings(args: argparse.Namespace, folder: Path) -> list[str]:
    """Overrides of our run."""
    updates = args.updates + 2  # the last one is validated
    side = args.side if args.side in OURS else "full"
    return [
        f"data.corpora=[{','.join(args.corpora)}]",
        "data.classes=shared",
        f"data.clips={args.batch}",
        "data.max_seconds=30",
        "data.balance=none",
        "data.workers=0",
        "data.cache=true",
        f"model={args.model}",
        f"finetune.strategy={side}",
        "finetune.standardize=0",
        "head.pooling=mean",
        f"optim.accumulate={args.accumulate}",
        f"optim.max_updates={updates}",
        "optim.warmup_updates=0",
        f"validation.every={updates}",
        f"checkpoint.every={updates}",
        f"run.dir={folder / 'run'}",
        "run.precision=fp32",
        "run.accelerator=cpu",
        f"log.every={updates}",
    ]


def read(args: argparse.Namespace, folder: Path) -> tuple[Any, Any, Any]:
    """Configuration, corpus, and which of its clips train: the same for all sides."""
    import numpy as np

    from emotion2vec.finetune.config import load_config
    from emotion2vec.finetune.labelled import read_labelled
    from emotion2vec.finetune.splits import Split

    config = load_config(None, settings(args, folder))
    corpus = read_labelled(config.data)
    order = np.random.default_rng(0).permutation(len(corpus.utterances))
    chosen = [np.sort(part) for part in np.split(order, [args.clips, args.clips + 4])[:2]]
    return config, corpus, Split(chosen[0], chosen[1], ("some",))


def ours(args: argparse.Namespace, folder: Path, results: Connection) -> None:
    """Run our loop."""
    from emotion2vec.finetune.fitting import fit
    from emotion2vec.finetune.kept import KeptRows
    from emotion2vec.training.monitor import Monitor

    config, corpus, split = read(args, folder)
    watch, advance = Watch(), Monitor.advance

    def watched(self: Monitor, update: int, seconds: float) -> None:
        advance(self, update, seconds)
        watch.heard += seconds
        watch.note()

    Monitor.advance = watched  # type: ignore[method-assign]
    fit(config, corpus, split, rows=KeptRows(), say=lambda text: print(text, file=sys.stderr))
    results.send(watch.found(args.updates))


def theirs(args: argparse.Namespace, folder: Path, results: Connection) -> None:
    """Run Trainer."""
    import torch
    from torch import nn
    from transformers import AutoModel, Trainer, TrainerCallback, TrainingArguments

    from emotion2vec.audio.samples import load_audio, normalize

    _, corpus, split = read(args, folder)
    watch, clips = Watch(), [corpus.utterances[i] for i in split.train]
    rows = [(normalize(load_audio(clip.path)), corpus.classes.index(clip.label)) for clip in clips]
    data = [{"input_ids": wave, "labels": label} for wave, label in rows]  # Trainer takes lengths by this name alone

    class Classifier(nn.Module):
        """The encoder, a mean over time, a linear layer."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = AutoModel.from_pretrained(args.model)
            self.head = nn.Linear(self.encoder.config.hidden_size, len(corpus.classes))
            below = [
                self.encoder.feature_extractor,
                self.encoder.feature_projection,
                self.encoder.encoder.pos_conv_embed,
            ]
            for module in below:
                module.requires_grad_(False)

        def forward(self, input_values: Any, attention_mask: Any, labels: Any) -> dict[str, Any]:
            watch.heard += float(attention_mask.sum()) / 16_000
            frames = self.encoder(input_values, attention_mask=attention_mask).last_hidden_state  # (B, T, D)
            real = self.encoder._get_feature_vector_attention_mask(frames.shape[1], attention_mask).unsqueeze(2)
            scores = self.head((frames * real).sum(dim=1) / real.sum(dim=1))
            return {"loss": nn.functional.cross_entropy(scores, labels), "logits": scores}

    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        sizes = torch.tensor([item["input_ids"].size for item in items])
        waves = nn.utils.rnn.pad_sequence([torch.from_numpy(item["input_ids"]) for item in items], batch_first=True)
        mask = (torch.arange(waves.shape[1]) < sizes.unsqueeze(1)).long()  # (B, S)
        labels = torch.tensor([item["labels"] for item in items])
        return {"input_values": waves, "attention_mask": mask, "labels": labels}

    class Noting(TrainerCallback):
        def on_step_end(self, *rest: Any, **named: Any) -> None:
            watch.note()

    arguments = TrainingArguments(
        output_dir=str(folder / "theirs"),
        per_device_train_batch_size=args.batch,
        max_steps=args.updates + 1,
        learning_rate=3e-5,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        remove_unused_columns=False,
        disable_tqdm=True,
        train_sampling_strategy="group_by_length" if args.side == "grouped" else "random",
    )
    Trainer(Classifier(), arguments, train_dataset=data, data_collator=collate, callbacks=[Noting()]).train()
    results.send(watch.found(args.updates))


def measure(args: argparse.Namespace, side: str, folder: Path) -> dict[str, float]:
    """Run a side in a process of its own, forked from one that has imported everything."""
    receiver, sender = SERVER.Pipe(duplex=False)
    run = ours if side in OURS else theirs
    process = SERVER.Process(target=run, args=(argparse.Namespace(**vars(args), side=side), folder / side, sender))
    process.start()
    process.join()
    shutil.rmtree(folder / side, ignore_errors=True)
    if process.exitcode:
        raise SystemExit(f"{side} failed")
    found: dict[str, float] = receiver.recv()
    return found


def main() -> None:
    """Measure all sides in turn, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", nargs="+", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--model", default="")
    parser.add_argument("--sides", nargs="+", default=["full", "trainer", "grouped"])
    parser.add_argument("--clips", type=int, default=800, help="that are there")
    parser.add_argument("--updates", type=int, default=6, help="that are timed, after one")
    parser.add_argument("--batch", type=int, default=16, help="clips of an update")
    parser.add_argument("--accumulate", type=int, default=4, help="batches by length of an update of ours")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    SERVER.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not args.model:
            args.model = str(folder / "wav2vec2")
            write_model(folder / "wav2vec2")
        found: dict[str, list[dict[str, float]]] = {side: [] for side in args.sides}
        for _ in range(args.rounds):
            for side in args.sides:
                found[side].append(measure(args, side, folder))
                print(side, found[side][-1], file=sys.stderr)
    medians = {
        side: {key: statistics.median(one[key] for one in runs) for key in runs[0]} for side, runs in found.items()
    }
    first = medians[args.sides[0]]
    print(f"{'side':10}{'processor s':>13}{'clock s':>10}{'peak GB':>10}{'times ' + args.sides[0]:>14}")
    for side, one in medians.items():
        share = one["processor"] / first["processor"]
        print(f"{side:10}{one['processor']:13.2f}{one['clock']:10.2f}{one['gigabytes']:10.2f}{share:14.2f}")


if __name__ == "__main__":
    main()
