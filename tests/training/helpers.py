"""Runs of the command line in processes of their own, and how they are compared.

The processes are forked from a server that has imported everything, so that starting one costs nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch
from networks import TINY
from safetensors.torch import load_file
from signals import default_signals

TIMINGS = {"seconds", "data_wait", "audio_seconds_per_second", "mfu", "memory_gb"}

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(
    [
        "emotion2vec.cli",
        "emotion2vec.pretrain.run",
        "emotion2vec.distil.run",
        "emotion2vec.finetune.run",
        "lightning.fabric",
        "lhotse",
        "omegaconf",
        "torch.distributed.fsdp",
    ]
)


def overrides(speech: Path, run: Path, *more: str) -> list[str]:
    return [*TINY, f"data.train={speech}", f"run.dir={run}", "log.every=1", *more]


def _child(arguments: list[str], environment: dict[str, str], log: Path, die_in_step: int, verb: str) -> None:
    """Be `emotion2vec VERB ARGUMENTS`; dies as by SIGKILL in the optimizer step of one update, if asked to.

    What is saved before that step is on disk by then: how far a thread came with it would be chance.
    """
    default_signals()
    os.environ.update(environment)
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    from emotion2vec.cli import main
    from emotion2vec.training.saver import Saver
    from emotion2vec.training.trainer import Trainer

    step = Trainer._step

    def dying(self: Trainer, update: int, *rest: object) -> dict[str, float]:
        if update == die_in_step:
            for saver in savers:
                saver.failed()
            os._exit(9)
        return step(self, update, *rest)  # type: ignore[arg-type]

    savers: list[Saver] = []
    enter = Saver.__enter__

    def entered(self: Saver) -> Saver:
        savers.append(self)
        return enter(self)

    Saver.__enter__ = entered  # type: ignore[method-assign]
    Trainer._step = dying  # type: ignore[method-assign, assignment]
    sys.argv = ["emotion2vec", verb, *arguments]
    main()


class Run:
    """A run on one or more processes, started as torchrun starts them."""

    def __init__(
        self, arguments: list[str], log: Path, *, ranks: int = 1, die_in_step: int = 0, verb: str = "pretrain"
    ):
        self.log = log
        self.processes: list[ForkServerProcess] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for rank in range(ranks):
            environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank)}
            environment |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
            environment |= {"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0"}
            own = environment if ranks > 1 else {}
            self.processes.append(server.Process(target=_child, args=(arguments, own, log, die_in_step, verb)))
            self.processes[-1].start()

    def wait(self, seconds: float = 600.0) -> list[int | None]:
        """Exit codes of all processes; negative for a signal."""
        until = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, until - time.monotonic()))
        return [process.exitcode for process in self.processes]

    def wait_for(self, file: Path) -> None:
        """Wait until a file is there and holds something."""
        while not (file.exists() and file.stat().st_size):
            assert all(process.is_alive() for process in self.processes), self.said
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL all processes."""
        for process in self.processes:
            process.kill()
        self.wait()

    @property
    def said(self) -> str:
        """What all processes printed."""
        return self.log.read_text() if self.log.exists() else ""


def finish(arguments: list[str], log: Path, *, ranks: int = 1, verb: str = "pretrain") -> str:
    """Run to the end and return what was said."""
    run = Run(arguments, log, ranks=ranks, verb=verb)
    assert run.wait() == [0] * ranks, run.said
    return run.said


def metrics(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMINGS} for line in lines]


def tensors(run: Path, update: int) -> dict[str, torch.Tensor]:
    folder = run / "checkpoints" / f"update_{update:08d}"
    return load_file(folder / "model.safetensors") | load_file(folder / "training.safetensors")


def assert_same_run(ours: Path, theirs: Path, update: int) -> None:
    """Bit for bit: weights, teacher, moments, statistics and every number logged."""
    mine, other = tensors(ours, update), tensors(theirs, update)
    assert mine.keys() == other.keys()
    assert [name for name in mine if not torch.equal(mine[name], other[name])] == []
    assert metrics(ours) == metrics(theirs)
