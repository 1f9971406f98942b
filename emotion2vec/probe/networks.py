"""The neural heads' networks on frozen features, and their training loop.

N: clips. T: frames of all clips together. R: frames of a block of clips. B: clips of a batch. D: channels. W: width of
the bank's rows, channels, ones and padding. H: hidden width. K: outputs, one per class or dimension of
values.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from emotion2vec.probe.frames import FrameBank
from emotion2vec.probe.parallel import stop_if_asked
from emotion2vec.probe.tasks import Prediction, Task
from emotion2vec.seeding import keyed_seed
from emotion2vec.tasks.losses import Objective, objective_of

EVALUATION_CLIPS = 256
"""Clips per batch when predicting."""


class ClipClassifier(Protocol):
    """A module that turns positions of clips (B,) into logits (B, K)."""

    def __call__(self, clips: Tensor) -> Tensor:
        """Logits (B, K) of the clips at these positions."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Its weights."""
        ...

    def load_state_dict(self, weights: dict[str, Any]) -> Any:
        """Take weights back."""
        ...


def seeded_linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """An nn.Linear with PyTorch's default distribution, drawn from a generator so that threads do not disturb it."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    bound = inputs**-0.5
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer


class VectorClassifier(nn.Module):
    """Linear D → H, Linear H → K on clip vectors, multiplied out first: the same function and gradients, less work."""

    def __init__(self, vectors: Tensor, *, hidden: int, outputs: int, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.hidden = seeded_linear(vectors.shape[1], hidden, generator)
        self.output = seeded_linear(hidden, outputs, generator)
        self.to(vectors.device)
        self._vectors = vectors

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits (B, K) of the clips at these positions."""
        weight = self.output.weight @ self.hidden.weight  # (K, D)
        bias = self.output.weight @ self.hidden.bias + self.output.bias  # (K,)
        return functional.linear(self._vectors[clips], weight, bias)


class LayerClassifier(nn.Module):
    """Softmax weights over layers, Linear P → H, Linear H → K on the layers' clip vectors (N, L, P)."""

    def __init__(self, stacked: Tensor, *, hidden: int, outputs: int, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.mixing = nn.Parameter(torch.zeros(stacked.shape[1]))
        self.hidden = seeded_linear(stacked.shape[2], hidden, generator)
        self.output = seeded_linear(hidden, outputs, generator)
        self.to(stacked.device)
        self._stacked = stacked

    def layer_weights(self) -> Tensor:
        """(L,), adding up to 1."""
        return self.mixing.detach().softmax(dim=0)

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits (B, K) of the clips at these positions."""
        mixed = torch.einsum("l,blp->bp", self.mixing.softmax(dim=0), self._stacked[clips])
        return self.output(self.hidden(mixed))


class FrameClassifier(nn.Module):
    """Linear D → H and ReLU per frame, mean over a clip's frames, Linear H → K.

    Standardization by `shift` and `scale` (D,) is folded into the first layer, which gives the numbers and gradients of
    standardized frames; so does that of the bank, which only keeps rounding small.
    """

    def __init__(
        self,
        bank: FrameBank,
        shift: np.ndarray | float,
        scale: np.ndarray | float,
        *,
        hidden: int,
        outputs: int,
        seed: int,
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.hidden = seeded_linear(bank.channels, hidden, generator)
        self.output = seeded_linear(hidden, outputs, generator)
        self.to(bank.rows.device)
        self._bank = bank
        like = self.hidden.weight
        self._gain = torch.as_tensor(bank.scale / scale, dtype=like.dtype).to(like.device)  # (D,)
        self._offset = torch.as_tensor((bank.shift - shift) / scale, dtype=like.dtype).to(like.device)  # (D,)

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits (B, K) of the clips at these positions."""
        weight = self.hidden.weight * self._gain  # (H, D)
        bias = self.hidden.bias + self.hidden.weight @ self._offset  # (H,)
        return self.output(_mean_hidden(weight, bias, self._bank, clips))


def _mean_hidden(weight: Tensor, bias: Tensor, bank: FrameBank, clips: Tensor) -> Tensor:
    """Mean over frames of ReLU(frames · weightᵀ + bias), (B, H) float32, differentiable in weight and bias."""
    return _MeanHidden.apply(weight, bias, bank, clips)  # type: ignore[no-any-return, no-untyped-call]


class _MeanHidden(torch.autograd.Function):
    """The first layer and the mean over time, with the backward written out: frames need no gradient.

    Whole clips go through in blocks that stay in the processor's cache, one after another and never padded.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, bank: FrameBank, clips: Tensor) -> Tensor:
        kernel = weight.new_zeros(bank.rows.shape[1], len(bias), dtype=bank.rows.dtype)  # (W, H)
        kernel[: bank.channels], kernel[bank.channels] = weight.t(), bias
        sums, ctx.blocks = [], []
        for block in bank.blocks(clips):
            hidden = _relu_(block.rows @ kernel)  # (R, H)
            sums.append(block.sums(hidden).float())  # (clips of the block, H)
            if any(ctx.needs_input_grad):
                ctx.blocks.append((block, hidden))
        ctx.channels, ctx.lengths = bank.channels, bank.lengths[clips].unsqueeze(1)  # (B, 1)
        return torch.cat(sums) / ctx.lengths

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        each_frame = grads[0] / ctx.lengths  # (B, H), the gradient of every frame of a clip where ReLU is open
        kernel = torch.zeros((), device=each_frame.device)
        start = 0
        for block, hidden in ctx.blocks:
            end = start + len(block.firsts)
            spread = each_frame[start:end].to(hidden.dtype).index_select(0, block.owner)  # (R, H)
            kernel = kernel + (block.rows.t() @ _gate_(spread, hidden)).float()  # (W, H)
            start = end
        return kernel[: ctx.channels].t(), kernel[ctx.channels], None, None


def _relu_(x: Tensor) -> Tensor:
    """ReLU in place; a bfloat16 is negative when its bits are as an integer, and integers compare faster."""
    if x.dtype == torch.bfloat16:
        x.view(torch.int16).clamp_min_(0)
        return x
    return x.relu_()


def _gate_(gradient: Tensor, hidden: Tensor) -> Tensor:
    """Zero the gradient in place where ReLU's output `hidden` is 0; bfloat16 `hidden` is overwritten."""
    if hidden.dtype == torch.bfloat16:
        ones_where_open = hidden.view(torch.int16).neg_().bitwise_right_shift_(15)
        gradient.view(torch.int16).bitwise_and_(ones_where_open)
        return gradient
    return torch.ops.aten.threshold_backward(gradient, hidden, 0)  # type: ignore[no-any-return]


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


def train(network: ClipClassifier, task: Task, optimizer: torch.optim.Optimizer, schedule: Schedule) -> Prediction:
    """Train for the task's objective, keep the weights with its best score on validation, the first of equals.

    Classes are trained with cross-entropy and validated by WA, values with CCC as both. Training ends early when
    validation is perfect, for nothing better can follow.

    Args:
        network: what to train.
        task: labels, and which clips validate and test.
        optimizer: of the network's parameters.
        schedule: batches and length.

    Returns:
        What the best weights, which the network keeps, say of the test clips.
    """
    device = next(network.parameters()).device
    objective = objective_of(task, device)
    best, best_at, since_best, weights = float("-inf"), 0, 0, network.state_dict()
    for update in range(1, schedule.updates + 1):
        stop_if_asked()
        clips = torch.from_numpy(next(schedule.batches)).to(device)
        optimizer.zero_grad()
        objective.loss(network(clips), clips).backward()
        if schedule.clip_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), schedule.clip_norm)
        optimizer.step()
        if update % schedule.validate_every and update != schedule.updates:
            continue
        score = objective.score(predict(network, task.valid, objective, device), task.valid)
        since_best += 1
        if score > best:
            best, best_at, since_best, weights = score, update, 0, copy.deepcopy(network.state_dict())
        if schedule.after_validation is not None:
            schedule.after_validation()
        if best == 1.0 or since_best == schedule.patience:
            break
    network.load_state_dict(weights)
    shown = round(best, 4) if task.continuous else round(100 * best, 2)
    details = {"update": best_at, f"validation_{objective.metric}": shown}
    return Prediction(scores=predict(network, task.test, objective, device), details=details)


@torch.inference_mode()
def predict(network: ClipClassifier, clips: np.ndarray, objective: Objective, device: torch.device) -> np.ndarray:
    """Logarithms of class probabilities, or values (len(clips), K), of the clips at these positions."""
    parts = torch.from_numpy(clips).split(EVALUATION_CLIPS)
    return torch.cat([objective.answers(network(part.to(device))).cpu() for part in parts]).numpy()


def batch_order(clips: np.ndarray, size: int, seed: int) -> Iterator[np.ndarray]:
    """Yield batches of clips without end, reshuffled every epoch; an epoch's last batch may be smaller."""
    epoch = 0
    while True:
        order = np.random.default_rng(keyed_seed("batches", seed, epoch)).permutation(clips)
        yield from (order[start : start + size] for start in range(0, len(order), size))
        epoch += 1
