"""What the processes of a run agree on, over the host's network stack, so that no accelerator is waited for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from emotion2vec.errors import Emotion2vecError, TrainingError

if TYPE_CHECKING:
    from lightning.fabric import Fabric

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""How long processes wait for work that takes hours, such as clusters of a whole corpus; others give up in minutes."""


class Ranks:
    """The processes of a run; with one process everything here is immediate.

    Attributes:
        rank: number of this process.
        size: number of processes.
    """

    def __init__(self, fabric: Fabric):
        self.rank = fabric.global_rank
        self.size = fabric.world_size
        # A group of its own: small facts travel by gloo whatever carries the gradients.
        self._group = dist.new_group(backend="gloo") if self.size > 1 else None
        self._patient = dist.new_group(backend="gloo", timeout=PATIENCE) if self.size > 1 else None

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Add up numbers over all processes."""
        if self._group is None:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self._group)
        return total.tolist()

    def add_up(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over all processes, on the devices."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, value: T) -> list[T]:
        """Collect a small object from every process, in the order of their numbers."""
        if self._group is None:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self._group)
        return found

    def main_only(self, work: Callable[[], T]) -> T:
        """Do something on the main process while the others wait, however long it takes, and give its result to all.

        Raises:
            Emotion2vecError: what `work` raises, on every process.
        """
        result: Any = None
        if self.is_main:
            try:
                result = work()
            except Emotion2vecError as error:
                result = error
        self._wait()
        result = self.gather(result)[0]
        if isinstance(result, Emotion2vecError):
            raise result
        return result

    def raise_together(self, error: Emotion2vecError | None) -> None:
        """Raise on every process what went wrong on any, once all are here, however long their work takes.

        Raises:
            Emotion2vecError: this process's own error, or a `TrainingError` that quotes another's.
        """
        self._wait()
        if not any(self.sum([error is not None])):
            return
        faults = self.gather(None if error is None else str(error))
        if error is not None:
            raise error
        rank, fault = next((rank, fault) for rank, fault in enumerate(faults) if fault is not None)
        raise TrainingError(f"stopped because process {rank} of {self.size} failed: {fault}")

    def _wait(self) -> None:
        """Wait until every process is here."""
        if self._patient is not None:
            dist.barrier(group=self._patient)
