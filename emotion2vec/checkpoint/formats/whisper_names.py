"""What tools call the weights of Whisper's encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """What a tool calls the weights of the encoder; `{i}` is a block's number.

    Attributes:
        convs: the two convolutions.
        positions: the sinusoids.
        norm: the last layer norm.
        norm1: the layer norm before attention.
        qkv: queries, keys, which have no bias, and values; or the three together.
        proj: the projection after attention.
        norm2: the layer norm before the feed-forward layer.
        fc1: the first feed-forward matrix.
        fc2: the second.
        separator: what comes between a layer's name and `weight` or `bias`.
        norms: what the weight and bias of layer norms are called.
    """

    convs: tuple[str, str]
    positions: str
    norm: str
    norm1: str
    qkv: tuple[str, ...]
    proj: str
    norm2: str
    fc1: str
    fc2: str
    separator: str = "."
    norms: tuple[str, str] = ("weight", "bias")

    def of_layers(self, block: int) -> Iterator[tuple[str, str, tuple[str, str]]]:
        """Our name of each layer of a block but the queries' and their like, theirs, and theirs of weight and bias."""
        plain = ("weight", "bias")
        pairs = [("norm1", self.norm1, self.norms), ("attention.proj", self.proj, plain)]
        pairs += [("norm2", self.norm2, self.norms), ("fc1", self.fc1, plain), ("fc2", self.fc2, plain)]
        for ours, theirs, parts in pairs:
            yield f"backbone.blocks.{block}.{ours}", theirs.format(i=block), parts


HUGGING_FACE = Names(
    convs=("conv1", "conv2"),
    positions="embed_positions.weight",
    norm="layer_norm",
    norm1="layers.{i}.self_attn_layer_norm",
    qkv=tuple(f"layers.{{i}}.self_attn.{part}_proj" for part in "qkv"),
    proj="layers.{i}.self_attn.out_proj",
    norm2="layers.{i}.final_layer_norm",
    fc1="layers.{i}.fc1",
    fc2="layers.{i}.fc2",
)
OPENAI = Names(
    convs=("conv1", "conv2"),
    positions="positional_embedding",
    norm="ln_post",
    norm1="blocks.{i}.attn_ln",
    qkv=tuple(f"blocks.{{i}}.attn.{part}" for part in ("query", "key", "value")),
    proj="blocks.{i}.attn.out",
    norm2="blocks.{i}.mlp_ln",
    fc1="blocks.{i}.mlp.0",
    fc2="blocks.{i}.mlp.2",
)
CTRANSLATE2 = Names(
    convs=("conv1", "conv2"),
    positions="position_encodings/encodings",
    norm="layer_norm",
    norm1="layer_{i}/self_attention/layer_norm",
    qkv=("layer_{i}/self_attention/linear_0",),
    proj="layer_{i}/self_attention/linear_1",
    norm2="layer_{i}/ffn/layer_norm",
    fc1="layer_{i}/ffn/linear_0",
    fc2="layer_{i}/ffn/linear_1",
    separator="/",
    norms=("gamma", "beta"),
)
