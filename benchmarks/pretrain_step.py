"""Time a whole pretraining update of the base model, ours and fairseq's in turn, on the same audio and masks.

python benchmarks/pretrain_step.py --fairseq FAIRSEQ_ENVIRONMENT/bin/python --utterances 3 --length 10

FAIRSEQ_ENVIRONMENT has fairseq-fixed of PyPI. With `--against plain` ours is timed against the same network without any
special path (benchmarks/plain.py), and the exit code is 1 where it is slower in float32. Each side runs in processes of
its own, one at a time, so that the machine's noise is in both. Loss, backward, gradient norm and clipping, Adam and EMA
are in the time; reading audio is not.

B: utterances. M: views. S: samples. T: frames.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

FAIRSEQ, PLAIN = "fairseq fp32", "plain fp32"


def worker(data: Path, steps: int, threads: int, settings: list[str], profiled: bool, plain: bool) -> None:
    """Run our updates, the ones that the trainer runs, and print what each took; the profiler watches one more."""
    import numpy as np
    import torch
    from plain import plain_network

    from emotion2vec.data.corpus import TrainingCorpus
    from emotion2vec.data.micro_batch import MicroBatch
    from emotion2vec.data.order import Position
    from emotion2vec.hardware import best_rate
    from emotion2vec.pretrain.config import load_config
    from emotion2vec.pretrain.network import Pretrainer
    from emotion2vec.pretrain.objective import Pretraining
    from emotion2vec.training.metrics import reduced
    from emotion2vec.training.ranks import Ranks
    from emotion2vec.training.run_folder import RunFolder
    from emotion2vec.training.speech import Speech
    from emotion2vec.training.strategy import build_fabric
    from emotion2vec.training.trainer import Trainer

    torch.set_num_threads(threads)
    special = ExitStack()  # for as long as this function runs
    if plain:
        special.enter_context(plain_network())
    own = ["model.layerdrop=0", "optim.accumulate=1", "optim.clip_norm=1", "loss.utterance=none"]
    config = load_config(None, ["data.train=unused", f"run.dir={data.parent}", *own, *settings])
    fabric = build_fabric(config.run)
    fabric.launch()
    torch.manual_seed(0)
    objective = Pretraining(config, Pretrainer(config).train(), fabric.device)
    speech = Speech(TrainingCorpus([], [], [], []))  # whose batches are given below
    trainer = Trainer(config, fabric, Ranks(fabric), objective, speech, RunFolder(config))
    waveforms = torch.from_numpy(np.load(data)["waveforms"])  # (B, S)
    batch = MicroBatch(waveforms, [str(number) for number in range(len(waveforms))], Position(0, 1, 1))
    cuda = fabric.device.type == "cuda"

    def update(step: int) -> dict[str, float]:
        _, size = trainer._fetch(iter([batch]), None, None)  # type: ignore[arg-type]
        sums = reduced(objective.sums(trainer._forward_backward(step, [batch], size)), trainer.ranks.add_up)
        metrics = trainer._metrics(sums, size)
        trainer._step(step, metrics, sums, batch.ids)
        return metrics

    for step in range(1, steps + 2):
        wall, processor = time.perf_counter(), time.process_time()
        metrics = update(step)
        if cuda:
            torch.cuda.synchronize()
        times = {"seconds": time.perf_counter() - wall, "processor": time.process_time() - processor}
        if step > 1:
            print(json.dumps(times | {"loss": metrics["loss"]}), flush=True)
    memory = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if profiled:
        with torch.profiler.profile() as watched:
            update(steps + 2)
        print(watched.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=40))
    facts = {"memory": memory, "flops": objective.flops(batch)}
    dtype = torch.bfloat16 if config.run.precision == "bf16" else torch.float32
    facts["peak"] = best_rate(fabric.device, dtype, 1024 if fabric.device.type == "cpu" else 8192)
    print(json.dumps(facts), flush=True)


def write_batch(folder: Path, utterances: int, length: float) -> Path:
    """Normalized noise and the masks that our trainer draws for the first update, for both sides."""
    import numpy as np

    from emotion2vec.audio.frames import SAMPLE_RATE, WAVEFORM_GRID
    from emotion2vec.audio.samples import normalize
    from emotion2vec.pretrain.config import MaskConfig
    from emotion2vec.pretrain.masking import batch_masks

    samples, rng = round(length * SAMPLE_RATE), np.random.default_rng(0)
    waveforms = np.stack([normalize(rng.normal(size=samples).astype(np.float32)) for _ in range(utterances)])
    names = [str(number) for number in range(utterances)]
    mask = batch_masks(names, WAVEFORM_GRID.count(samples), MaskConfig(), seed=0, update=1).flatten(0, 1)  # (B·M, T)
    np.savez(folder / "batch.npz", waveforms=waveforms, mask=mask.numpy())
    return folder / "batch.npz"


def run(command: list[str], threads: int) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Run one side and read its steps and its facts."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    if Path(command[0]) != Path(sys.executable):
        environment.pop("PYTHONPATH", None)  # the other environment is its own
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    print("\n".join(line for line in done.stdout.splitlines() if not line.startswith("{")), end="")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return lines[:-1], lines[-1]


Found = dict[str, list[dict[str, float]]]
"""What each step of each side took."""


def ratio(found: Found, name: str, reference: str, clock: str) -> float:
    """How many times faster than the reference a side is, by medians."""
    theirs, mine = (statistics.median(step[clock] for step in found[side]) for side in (reference, name))
    return theirs / mine


def report(seconds: float, found: Found, facts: dict[str, dict[str, Any]], reference: str) -> None:
    """Print the table, with the ratios to the reference's medians."""
    other = reference.split()[0]
    print(
        f"| side | s / update | processor s | s of audio / s | times {other} | by CPU | memory | of {other}'s | MFU |"
    )
    print("| --- " * 9 + "|")
    for name, steps in found.items():
        wall, processor = (statistics.median(step[key] for step in steps) for key in ("seconds", "processor"))
        memory, row = facts[name]["memory"], [name, f"{wall:.1f}", f"{processor:.1f}", f"{seconds / wall:.2f}"]
        faster = frugal = less = ""
        if reference in found:
            faster, frugal = (f"{ratio(found, name, reference, clock):.2f}" for clock in ("seconds", "processor"))
            less = f"{memory / facts[reference]['memory']:.0%}"
        share = f"{facts[name]['flops'] / wall / facts[name]['peak']:.0%}" if "flops" in facts[name] else ""
        print("| " + " | ".join([*row, faster, frugal, f"{memory / 1e9:.1f} GB", less, share]) + " |")


def main() -> None:
    """Run the sides in turn and report medians; other jobs disturb ratios of processor time less than of the clock."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fairseq", help="Python of an environment with fairseq-fixed; without it only ours is timed")
    parser.add_argument("--utterances", type=int, default=3)
    parser.add_argument("--length", type=float, default=10.0, help="of each utterance, in s")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1, help="updates per round, after one that is not counted")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], help="more settings of ours, such as run.compile=true")
    parser.add_argument("--profile", action="store_true", help="print which operations one of our updates consists of")
    parser.add_argument("--against", choices=["plain"], help="time our network without special paths, too")
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker, options.steps, options.threads, options.set, options.profile, options.plain)
    found: Found = {}
    facts: dict[str, dict[str, Any]] = {}
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        data = write_batch(Path(folder), options.utterances, options.length)
        common = ["--steps", str(options.steps), "--threads", str(options.threads)]
        ours = [sys.executable, str(here / "pretrain_step.py"), "--worker", str(data), *common]
        ours += ["--profile"] * options.profile
        sides = {
            f"ours {precision}": [*ours, "--set", *options.set, f"run.precision={precision}"]
            for precision in options.precisions
        }
        if options.against:
            sides[PLAIN] = [*ours, "--plain", "--set", *options.set, "run.precision=fp32"]
        if options.fairseq:
            theirs = str(here / "fairseq_step.py")
            sides[FAIRSEQ] = [options.fairseq, theirs, str(data), str(options.steps), str(options.threads)]
        for _ in range(options.rounds):
            for name, command in sides.items():
                steps, facts[name] = run(command, options.threads)
                found.setdefault(name, []).extend(steps)
    reference = PLAIN if options.against else FAIRSEQ
    report(options.utterances * options.length, found, facts, reference)
    if options.against and "ours fp32" in found and ratio(found, "ours fp32", PLAIN, "processor") < 1:
        sys.exit("ours fp32 is slower than the plain network")


if __name__ == "__main__":
    main()
