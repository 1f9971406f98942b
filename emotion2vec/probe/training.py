"""The training loop of the neural heads.

B: clips of a batch. K: scores, one per class or dimension of values.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emotion2vec.model.heads import Head
from emotion2vec.probe.parallel import stop_if_asked
from emotion2vec.probe.problem import Fitted, Problem
from emotion2vec.seeding import keyed_seed
from emotion2vec.tasks.calibration import fit_temperature
from emotion2vec.tasks.class_losses import ClassLoss
from emotion2vec.tasks.losses import criterion_for
from emotion2vec.tasks.scaling import Scaling

EVALUATION_CLIPS = 256
"""Clips per batch when predicting."""


@dataclass(frozen=True)
class Schedule:
    """How long to train and when to look at the validation clips.

    Attributes:
        batches: positions of the clips of each update.
        updates: how many updates to train for at most.
        validate_every: updates between validations.
        after_validation: called after each, for a learning rate by epochs.
        patience: stop after that many validations without a better one; None never stops early.
        clip_norm: largest norm of the gradients; None leaves them alone.
    """

    batches: Iterator[np.ndarray]
    updates: int
    validate_every: int
    after_validation: Callable[[], None] | None = None
    patience: int | None = None
    clip_norm: float | None = None

    @classmethod
    def of_epochs(cls, problem: Problem, batch: int, epochs: int, **settings: Any) -> Schedule:
        """So many epochs of batches of the training clips, with a validation after each."""
        epoch = -(-len(problem.train) // batch)
        return cls(batch_order(problem.train, batch, problem.seed), epochs * epoch, epoch, **settings)


def train(
    head: Head,
    scores_of: Callable[[Tensor], Tensor],
    problem: Problem,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    scaling: Scaling | None = None,
    loss: ClassLoss | None = None,
) -> Fitted:
    """Train a head on stored features, keep the weights with the best score on validation, the first of equals.

    Classes are trained with cross-entropy, or the loss that is given, and validated by WA, values with CCC as both.
    Training ends early when validation is perfect, for nothing better can follow. The temperature that calibrates
    probabilities is found on the same clips, and told.

    Args:
        head: what to train.
        scores_of: the head's scores (B, K) of the clips at these positions (B,), from standardized features.
        problem: labels, and which clips validate and test.
        optimizer: of the head's parameters.
        schedule: batches and length.
        scaling: what features were standardized by; the head standardizes by itself in the end.
        loss: of classes; None for cross-entropy.
    """
    device = next(head.parameters()).device
    criterion = criterion_for(problem.labels[problem.train], device, loss)
    targets = criterion.targets(problem.labels)

    @torch.inference_mode()
    def answers(clips: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(clips).split(EVALUATION_CLIPS)
        return torch.cat([criterion.answers(scores_of(part.to(device))).cpu() for part in parts]).numpy()

    best, best_at, since_best, weights = float("-inf"), 0, 0, head.state_dict()
    for update in range(1, schedule.updates + 1):
        stop_if_asked()
        clips = torch.from_numpy(next(schedule.batches)).to(device)
        optimizer.zero_grad()
        criterion.loss(scores_of(clips), targets[clips]).backward()
        if schedule.clip_norm is not None:
            nn.utils.clip_grad_norm_(head.parameters(), schedule.clip_norm)
        optimizer.step()
        if update % schedule.validate_every and update != schedule.updates:
            continue
        score = criterion.score(answers(problem.valid), problem.labels[problem.valid])
        since_best += 1
        if score > best:
            best, best_at, since_best, weights = score, update, 0, copy.deepcopy(head.state_dict())
        if schedule.after_validation is not None:
            schedule.after_validation()
        if best == 1.0 or since_best == schedule.patience:
            break
    head.load_state_dict(weights)
    details = {"update": best_at, **_validated(best, criterion.metric, problem, answers)}
    scores = answers(problem.test)
    if criterion.units is not None:
        head.rescale(*criterion.units)
    if scaling is not None:
        head.standardize(scaling)
    return Fitted(head=head.requires_grad_(False).eval(), scores=scores, details=details)


def _validated(
    best: float, metric: str, problem: Problem, answers: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float]:
    """What is told of the validation clips: the best score, and of classes the temperature that calibrates them."""
    if problem.continuous:
        return {f"validation_{metric}": round(best, 4)}
    temperature = fit_temperature(problem.labels[problem.valid], answers(problem.valid))
    return {f"validation_{metric}": round(100 * best, 2), "temperature": round(temperature, 4)}


def batch_order(clips: np.ndarray, size: int, seed: int) -> Iterator[np.ndarray]:
    """Yield batches of clips without end, reshuffled every epoch; an epoch's last batch may be smaller."""
    epoch = 0
    while True:
        order = np.random.default_rng(keyed_seed("batches", seed, epoch)).permutation(clips)
        yield from (order[start : start + size] for start in range(0, len(order), size))
        epoch += 1
