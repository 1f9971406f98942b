"""The guard against spikes: it stops a run, or leaves an update out, before the optimizer moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from emotion2vec.errors import TrainingError
from emotion2vec.training.config import GuardConfig


@dataclass
class SpikeGuard:
    """Finds updates that are out of line: a loss or gradient norm that is not finite, or a norm far over its mean.

    Attributes:
        config: the policy.
        mean_norm: running mean of the gradient norms that were in line, 0 before the first.
        seen: updates in that mean.
        spikes: all spikes of the run.
        streak: spikes since the last update in line.
    """

    config: GuardConfig
    mean_norm: float = 0.0
    seen: int = 0
    spikes: int = 0
    streak: int = 0

    def passes(self, update: int, metrics: dict[str, float], ids: Sequence[str]) -> bool:
        """Judge an update: True lets the optimizer move, False leaves the update out.

        Args:
            update: its number.
            metrics: its `loss` and `grad_norm`.
            ids: utterances of this process in it, for the message.

        Raises:
            TrainingError: a spike where the policy is to stop, or one too many in a row.
        """
        fault = self._fault(metrics)
        if fault is None:
            self.seen, self.streak = self.seen + 1, 0
            self.mean_norm += (metrics["grad_norm"] - self.mean_norm) / min(self.seen, _MEMORY)
            return True
        self.spikes, self.streak = self.spikes + 1, self.streak + 1
        if self.config.spike == "skip" and self.streak <= self.config.max_spikes:
            return False
        shown = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        row = f", spike {self.streak} in a row (guard.max_spikes)" if self.config.spike == "skip" else ""
        raise TrainingError(
            f"update {update}: {fault}{row}; the optimizer did not move, and the last checkpoint is intact. "
            f"Utterances of this update: {shown}. A lower optim.lr, optim.clip_norm, run.precision=fp32 or "
            "guard.spike=skip may help."
        )

    def _fault(self, metrics: dict[str, float]) -> str | None:
        bad = [f"{name} is {metrics[name]}" for name in ("loss", "grad_norm") if not math.isfinite(metrics[name])]
        if bad:
            return f"{' and '.join(bad)}, expected finite numbers"
        limit = self.config.spike_factor * self.mean_norm
        if limit and self.seen >= _WARM_UP and metrics["grad_norm"] > limit:
            return f"grad_norm is {metrics['grad_norm']:.4g}, expected at most {limit:.4g} (guard.spike_factor)"
        return None

    def state(self) -> dict[str, float]:
        """What a restart needs."""
        return {name: value for name, value in asdict(self).items() if name != "config"}

    def load(self, state: dict[str, float]) -> None:
        """Take up a saved state."""
        for name, value in state.items():
            setattr(self, name, value)


# Updates that the running mean of the gradient norm spans, and that it needs before it is a measure.
_MEMORY, _WARM_UP = 100, 20
