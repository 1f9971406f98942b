"""Low-rank adapters in an encoder: where they go, and how the encoder is saved with and without them.

Hu et al. 2021, "LoRA: Low-rank adaptation of large language models". The adapters are those of the package peft.

I: input channels. O: output channels. r: rank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from emotion2vec.corpora.faults import examples
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.learnt import LoraConfig
from emotion2vec.model.speech import Part, SpeechEncoder
from emotion2vec.seeding import keyed_seed
from emotion2vec.training.state import as_sharded
from emotion2vec.training.strategy import whole

if TYPE_CHECKING:
    from emotion2vec.finetune.adapted import AdaptedLinear

ATTENTION = ("qkv", "q_proj", "v_proj", "linear_q", "linear_v")
"""Projections to queries and values by the names that networks give them; ours have one for all three."""


class Adapters:
    """The adapters of an encoder.

    Args:
        encoder: which has them.
        layers: its adapted layers, by the names that the layers had before.
    """

    def __init__(self, encoder: SpeechEncoder, layers: Mapping[str, AdaptedLinear]):
        self.encoder = encoder
        self.layers = layers

    def parameters(self) -> list[nn.Parameter]:
        """What learns: A (r, I) and B (O, r) of every layer."""
        return [p for layer in self.layers.values() for part in (layer.lora_A, layer.lora_B) for p in part.parameters()]

    def base(self) -> dict[str, Tensor]:
        """All tensors of the encoder as they are without adapters, by the names that they have without them."""
        own = self.encoder.state_dict()
        plain = {}
        for name, value in own.items():
            layer, _, rest = name.partition(".base_layer.")
            if rest:
                plain[f"{layer}.{rest}"] = value
            elif not any(name.startswith(f"{adapted}.") for adapted in self.layers):
                plain[name] = value
        return plain

    def merged(self) -> dict[str, Tensor]:
        """All tensors of a plain encoder that does the same as this one with its adapters; all processes call this."""
        from emotion2vec.finetune.adapted import merged

        found = self.base()
        for name, layer in self.layers.items():
            down, up, scale = layer.matrices()
            weight = whole(found[f"{name}.weight"])
            found[f"{name}.weight"] = merged(weight, whole(down.detach()), whole(up.detach()), scale)
        return found

    def state(self) -> dict[str, Tensor]:
        """What a restart needs beside `merged`: the layers' weights as they were before, and A and B."""
        return {
            f"{name}.{key}": value for name, layer in self.layers.items() for key, value in layer.state_dict().items()
        }

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up a saved state."""
        for name, value in self.state().items():
            value.copy_(as_sharded(state[name], value))


def adapt(encoder: SpeechEncoder, frozen: int, config: LoraConfig, seed: int) -> Adapters:
    """Give an encoder adapters, which change nothing before they have learnt.

    Args:
        encoder: whose layers are replaced.
        frozen: how many of its parts, from the bottom, get none.
        config: how they are.
        seed: what they are drawn by.

    Raises:
        ConfigError: peft is not installed, or the targets are no layers.
    """
    names = find_targets(encoder, frozen, config.targets)
    try:
        import peft

        from emotion2vec.finetune.adapted import AdaptedLinear
    except ModuleNotFoundError as error:
        if error.name != "peft":
            raise
        raise ConfigError(
            "finetune.strategy is lora, which needs the package peft: pip install 'emotion2vec[lora]'"
        ) from error
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # it is only ever divided
        lora_dropout=config.dropout,
        target_modules="|".join(re.escape(f"encoder.{name}") for name in names),
    )
    settings._register_custom_module({nn.Linear: AdaptedLinear})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_seed(seed, "adapters"))
        peft.inject_adapter_in_model(settings, nn.ModuleDict({"encoder": encoder}))
    for head in encoder.heads(symbols=True).values():
        head.requires_grad_(True)  # peft freezes all that is no adapter
    return Adapters(encoder, {name: encoder.get_submodule(name) for name in names})  # type: ignore[misc]


def find_targets(encoder: SpeechEncoder, frozen: int, wanted: Sequence[str]) -> list[str]:
    """Names of the Linear layers that get adapters.

    Args:
        encoder: without adapters.
        frozen: how many of its parts, from the bottom, get none.
        wanted: names, ends of names after a dot, or regular expressions for either; none for `ATTENTION`.

    Raises:
        ConfigError: one of them is none of these, or fits no layer.
    """
    there = _linear_layers(encoder, encoder.parts()[frozen:])
    faults, found = [], set()
    for target in wanted or ["|".join(ATTENTION)]:
        try:
            pattern = re.compile(rf"(?:.*\.)?(?:{target})")
        except re.error as error:
            faults.append(f"lora.targets has {target!r}, which is no regular expression ({error})")
            continue
        fitting = {name for name in there if pattern.fullmatch(name)}
        found |= fitting
        if not fitting:
            ends = sorted({_end(name) for name in there})
            faults.append(
                f"lora.targets has {target!r}, which no layer that learns is called, expected "
                f"{', '.join(ends) or 'another model'} (such as {examples(there[:1])})"
            )
    if faults:
        raise ConfigError("; ".join(faults))
    return [name for name in there if name in found]


def _linear_layers(encoder: SpeechEncoder, parts: Sequence[Part]) -> list[str]:
    """Names of the Linear layers of parts of an encoder."""
    own = {id(module) for part in parts for top in part.modules for module in top.modules()}
    return [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear) and id(module) in own]


def _end(name: str) -> str:
    """What follows the last number of a layer's name."""
    return re.sub(r"^.*\.\d+\.", "", name)
