"""Weights under our own names: what their shapes tell of the network, whether they fit it, and copies to write.

D: model width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emotion2vec.audio.frames import KERNELS, STRIDES
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.model.config import DecoderConfig, Emotion2vecConfig, model_config

if TYPE_CHECKING:
    from torch import Tensor

SHOWN_FAULTS = 20
"""Most faults that one error lists."""


def load_weights(module: Any, weights: Mapping[str, Tensor], source: str) -> None:
    """Load weights into a module, all of them and nothing else.

    Raises:
        CheckpointError: every name and shape that differs.
    """
    check_weights(module, weights, source)
    module.load_state_dict(dict(weights))


def check_weights(module: Any, weights: Mapping[str, Tensor], source: str) -> None:
    """Compare weights with a module's.

    Raises:
        CheckpointError: names and shapes that differ, the first of them by name.
    """
    expected = module.state_dict()
    faults = [f"missing {name} {tuple(value.shape)}" for name, value in expected.items() if name not in weights]
    faults += [f"unexpected {name} {tuple(weights[name].shape)}" for name in weights if name not in expected]
    faults += [
        f"{name} has shape {tuple(weights[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    faults += [
        f"{name} has {str(weights[name].dtype).removeprefix('torch.')} numbers, expected floating-point ones"
        for name, value in expected.items()
        if name in weights and value.is_floating_point() and not weights[name].is_floating_point()
    ]
    if faults:
        shown = [f"  {fault}" for fault in faults[:SHOWN_FAULTS]]
        if len(faults) > SHOWN_FAULTS:
            shown.append(f"  and {len(faults) - SHOWN_FAULTS} more")
        raise CheckpointError(f"{source}: weights do not fit the model:\n" + "\n".join(shown))


def check_layers(config: Emotion2vecConfig, weights: Mapping[str, Tensor], source: str) -> None:
    """Compare numbers of layers, which decide how much is built, with those of the weights before anything is.

    Raises:
        CheckpointError: they differ.
    """
    stacks = {"frontend.layers": len(config.kernels), "backbone.prenet": config.prenet_depth}
    stacks["backbone.blocks"] = config.depth
    if config.positions == "convolution":
        stacks["backbone.positions.convs"] = config.position_layers
    for stack, expected in stacks.items():
        numbers = {name[len(stack) + 1 :].partition(".")[0] for name in weights if name.startswith(f"{stack}.")}
        there = max((int(number) + 1 for number in numbers if number.isdecimal()), default=0)
        if there != expected:
            raise CheckpointError(
                f"{source}: {there} layers are there as {stack}, expected {expected} as its dimensions say"
            )


def check_finite(name: str, value: Tensor, source: str) -> None:
    """Check that a tensor holds numbers.

    Raises:
        CheckpointError: it holds NaN or infinite ones.
    """
    import torch

    if not value.is_floating_point() or bool(torch.isfinite(value.sum(dtype=torch.float64))):
        return
    bad = int((~torch.isfinite(value)).sum())
    if bad:
        raise CheckpointError(f"{source}: {bad} of {value.numel()} numbers of {name} are NaN or infinite")


def dimensions_of(weights: Mapping[str, Tensor], source: str, notes: list[str]) -> Emotion2vecConfig:
    """Recognize the network by the shapes of its weights; only the CNN's strides cannot be seen in them.

    Raises:
        CheckpointError: shapes that no such network has, or another CNN than the standard one.
    """

    def count(pattern: str) -> int:
        return len({match[1] for name in weights if (match := re.match(pattern, name))})

    layers, positions = count(r"frontend\.layers\.(\d+)\."), count(r"backbone\.positions\.convs\.(\d+)\.")
    try:
        kernels = [weights[f"frontend.layers.{i}.weight"].shape[2] for i in range(layers)]
        width, channels = weights["frontend.projection.weight"].shape
        _, group_width, kernel = weights["backbone.positions.convs.0.weight"].shape
        heads = weights["backbone.alibi_scale"].numel()
        ffn_width = weights["backbone.blocks.0.fc1.weight"].shape[0]
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"{source}: has no configuration, and its weights do not show the dimensions of the network ({error})"
        ) from error
    if heads < 2:
        raise CheckpointError(f"{source}: has no configuration, and its ALiBi scale does not show the number of heads")
    if kernels != list(KERNELS):
        raise CheckpointError(
            f"{source}: has no configuration, and its CNN's kernels are {kernels}, whose strides weights do not show; "
            f"without configuration only {list(KERNELS)} are read"
        )
    notes.append(
        "no configuration of data2vec 2.0 in the file: dimensions are those of the weights' shapes, and the CNN's "
        f"strides are taken to be the usual {list(STRIDES)}"
    )
    values = {
        "channels": channels,
        "width": width,
        "heads": heads,
        "ffn_width": ffn_width,
        "prenet_depth": count(r"backbone\.prenet\.(\d+)\."),
        "depth": count(r"backbone\.blocks\.(\d+)\."),
        "tokens": len(weights["backbone.tokens"]) if "backbone.tokens" in weights else 0,
        "position_layers": positions,
        "position_width": kernel * positions,
        "position_groups": width // group_width if group_width else 0,
    }
    try:
        return model_config(values, source)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def decoder_dimensions(weights: Mapping[str, Tensor]) -> DecoderConfig | None:
    """The decoder's dimensions by the shapes of its weights; None when they are not those of our decoder."""
    convs = [weights[f"convs.{i}.weight"] for i in range(len(weights)) if f"convs.{i}.weight" in weights]
    projection = weights.get("proj.weight")
    if not convs or projection is None or convs[0].ndim != 3 or projection.ndim != 2 or not convs[0].shape[1]:
        return None
    width, group_width, kernel = convs[0].shape  # (width, D / groups, kernel)
    return DecoderConfig(width=width, layers=len(convs), kernel=kernel, groups=projection.shape[0] // group_width)


def split_head(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Part weights of `Emotion2vec` into those of the head and all others."""
    head = {name: value for name, value in weights.items() if name.startswith("head.")}
    return head, {name: value for name, value in weights.items() if name not in head}


def decoder_names(decoder: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's weights under the prefix that keeps them apart from the encoder's."""
    return {f"decoder.{name}": value for name, value in decoder.items()}


def plain_tensors(weights: Mapping[str, Tensor], *, float32: bool = False) -> dict[str, Tensor]:
    """Weights on the CPU that share no memory, since a saved view would bring all of its storage along."""
    import torch

    return {
        name: value.detach().to("cpu", torch.float32 if float32 else value.dtype, copy=True).contiguous()
        for name, value in weights.items()
    }
