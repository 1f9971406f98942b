"""What one of two processes does that keeps the other one waiting; in a file that a forked server can import."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch.distributed as dist
from torch.distributed import distributed_c10d

from emotion2vec.errors import ConfigError, TrainingError
from emotion2vec.training.ranks import Ranks


def slow_then_small(rank: int, folder: str) -> None:
    """Work of one process that takes longer than processes wait by default, which is a moment here."""
    distributed_c10d.default_pg_timeout = timedelta(seconds=0.3)  # what new groups have where nothing is said
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=30))
    ranks = Ranks(SimpleNamespace(global_rank=rank, world_size=2))  # type: ignore[arg-type]

    def work() -> str:
        time.sleep(0.8)
        return "clusters"

    assert ranks.main_only(work) == "clusters"
    time.sleep(0.8 * rank)  # its parts take longer
    with pytest.raises(ConfigError if rank else TrainingError, match="bad"):
        ranks.raise_together(ConfigError("bad") if rank else None)
    Path(folder, f"done{rank}").touch()
