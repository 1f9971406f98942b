"""Heads in the form that other formats have: linear layers over the mean, which standardize nothing.

K: scores. H: hidden width. P: channels that the head reads.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from emotion2vec.checkpoint.source import Source
from emotion2vec.errors import CheckpointError
from emotion2vec.model.config import HeadConfig

LINEAR = ("mean", "two")
"""Kinds that are linear in the mean over time."""


def one_layer(source: Source) -> Source:
    """The same with one linear layer (K, P) for a head, which computes the same; without a head the same.

    Raises:
        CheckpointError: the head is not linear in the mean.
    """
    if not source.labels or (source.head == HeadConfig() and "head.shift" not in source.student):
        return source
    layers = _layers(source)
    weight, bias = layers[0]
    for next_weight, next_bias in layers[1:]:
        weight, bias = next_weight @ weight, next_weight @ bias + next_bias
    return _with_head(source, {"head.weight": weight, "head.bias": bias}, HeadConfig())


def two_layers(source: Source) -> Source:
    """The same with two linear layers (H, P) and (K, H) for a head, which computes the same.

    Raises:
        CheckpointError: the head is not linear in the mean.
    """
    if not source.labels or (source.head.kind == "two" and "head.shift" not in source.student):
        return source
    layers = _layers(source)
    if len(layers) == 1:
        width = layers[0][0].shape[1]
        layers.insert(0, (torch.eye(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)))
    (hidden, hidden_bias), (output, output_bias) = layers
    weights = {"head.hidden.weight": hidden, "head.hidden.bias": hidden_bias}
    weights |= {"head.output.weight": output, "head.output.bias": output_bias}
    return _with_head(source, weights, HeadConfig(kind="two", hidden=len(hidden)))


def _layers(source: Source) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of the head's layers in float64, with the standardization in the first of them."""
    head = source.head
    if head.kind not in LINEAR or head.pooling != "mean":
        raise CheckpointError(
            f"{source.path}: its head is of kind {head.kind} (pooling {head.pooling}), and the format holds linear "
            "ones on the mean alone; expected to be native, or a head that learnt with head.kind=mean head.pooling=mean"
        )
    names = ("head.hidden", "head.output") if head.kind == "two" else ("head",)
    layers = [(source.student[f"{n}.weight"].double(), source.student[f"{n}.bias"].double()) for n in names]
    if (shift := source.student.get("head.shift")) is not None:
        weight = layers[0][0] / source.student["head.scale"].double()
        layers[0] = (weight, layers[0][1] - weight @ shift.double())
    return layers


def _with_head(source: Source, weights: dict[str, Tensor], head: HeadConfig) -> Source:
    """The source with another head, in the dtype of the one that it had."""
    dtype = next(value.dtype for name, value in source.student.items() if name.startswith("head."))
    student = {name: value for name, value in source.student.items() if not name.startswith("head.")}
    student |= {name: value.to(dtype) for name, value in weights.items()}
    note = "the head was multiplied out to linear layers on the mean, which compute the same"
    return replace(source, student=student, head=head, notes=[*source.notes, note])
