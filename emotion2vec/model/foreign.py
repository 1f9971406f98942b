"""Encoders of Hugging Face's transformers as models: wav2vec 2.0, HuBERT, WavLM, data2vec and their siblings.

transformers makes the network of its configuration, by classes of its own: no code comes out of a checkpoint.

B: utterances. S: samples. T: frames. D: width. L: blocks.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotion2vec.model.config import FurtherHead, HeadConfig
from emotion2vec.model.foreign_config import ForeignConfig, transformers, transformers_config
from emotion2vec.model.heads import Head
from emotion2vec.model.hidden import Hidden
from emotion2vec.model.known_heads import build_further, build_head
from emotion2vec.model.shapes import Undrawn
from emotion2vec.model.speech import Encoded, Part, SpeechEncoder

_states: ContextVar[list[Tensor] | None] = ContextVar("states", default=None)
"""Where the blocks that run in this thread put what enters the first of them, and what they give."""

_hidden: ContextVar[Hidden | None] = ContextVar("hidden", default=None)
"""Which frames the blocks that run in this thread do not see."""

_rotating = threading.Lock()
"""Held while a Conformer with rotary positions runs: it keeps those of the last length, whichever thread's that was."""


class ForeignEncoder(SpeechEncoder):
    """An encoder of transformers behind our interface, to extract with and to train.

    Utterances of different lengths may be encoded together, and each gets what it would get alone: padded frames are
    hidden where the network can do that (`ForeignConfig.pads`); otherwise those of each length are encoded by
    themselves, as a norm over time, or a convolution after it, would let the padding show.

    The network masks nothing and leaves no block out while it is trained: SpecAugment and layerdrop are off.

    Args:
        config: which encoder.
        labels: what its head tells apart, in the head's order; without labels there is no head.
        head: which head it is.
        further: heads beside it.
    """

    config: ForeignConfig

    def __init__(
        self,
        config: ForeignConfig,
        labels: Sequence[str] = (),
        head: HeadConfig | None = None,
        further: Sequence[FurtherHead] = (),
    ):
        super().__init__()
        self.config = config
        self.heard = None
        full = transformers_config(config.type, config.settings, "the configuration")
        self.network = transformers().AutoModel.from_config(full)
        if hasattr(self.network, "masked_spec_embed"):  # some have it though nothing is masked
            self.network.masked_spec_embed = None
        if config.conformer:  # it makes positional convolutions, and never uses them
            self.network.encoder.pos_conv_embed = None
        if config.stable and not config.last_norm:
            self.network.encoder.layer_norm = nn.Identity()
        self.network.feature_extractor._requires_grad = False  # else it lets no waveform in that is derived
        self.network.feature_projection.register_forward_hook(_hide)
        for block in self.blocks:
            block.register_forward_hook(_keep)
        self.head = build_head(head or HeadConfig(), config.width, config.depth, labels) if labels else None
        self.further = build_further(further, config.width, config.depth)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it as what it is made of: PyTorch does not pickle layers whose weights are computed of others."""
        trained = [name for name, parameter in self.named_parameters() if parameter.requires_grad]
        network = {name: value.detach() for name, value in self.network.state_dict().items()}
        return _rebuilt, (self.config, network, (self.head, self.further), self.heard, self.training, trained)

    def __deepcopy__(self, memo: dict[int, Any]) -> ForeignEncoder:
        """Copy it as modules are copied, without pickling."""
        new = memo[id(self)] = type(self).__new__(type(self))
        new.__dict__ = copy.deepcopy(self.__dict__, memo)
        return new

    def forward(self, waveforms: Tensor, padding: Tensor | None = None, hidden: Hidden | None = None) -> Encoded:
        """See `SpeechEncoder`."""
        if padding is None or not bool(padding.any()):
            states = self._run(waveforms, None, hidden)
            frame_padding = None if padding is None else self.frame_padding(padding)
        else:
            frame_padding = self.frame_padding(padding)  # (B, T)
            run = self._run if self.config.pads else self._by_length
            states = run(waveforms, padding, hidden)
        frames = states[-1]
        none = frames[:, :0]
        return Encoded(states[0], frames, none, states[1:], [], frame_padding)

    def _run(self, waveforms: Tensor, padding: Tensor | None, hidden: Hidden | None) -> list[Tensor]:
        """What enters the first block and what all blocks give, L + 1 times (B, T, D); the last with the last norm."""
        mask = None if padding is None else (~padding).long()
        states: list[Tensor] = []
        tokens = _states.set(states), _hidden.set(hidden)
        rotary = self.config.settings.get("position_embeddings_type") == "rotary"
        try:
            with _rotating if rotary else nullcontext():
                last = self.network(waveforms.to(self.dtype), attention_mask=mask).last_hidden_state
        finally:
            _states.reset(tokens[0])
            _hidden.reset(tokens[1])
        return [*states[:-1], last]

    def _by_length(self, waveforms: Tensor, padding: Tensor, hidden: Hidden | None) -> list[Tensor]:
        """The same, of utterances of each length by themselves; zeros after their ends."""
        lengths = (~padding).sum(dim=1)  # (B,)
        order, pieces = [], []
        total = self.config.grid.count(waveforms.shape[1])
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero().flatten()
            frames = self.config.grid.count(length)
            own = None if hidden is None else replace(hidden, mask=hidden.mask[rows, :frames])
            states = self._run(waveforms[rows, :length], None, own)
            order.append(rows)
            pieces.append([F.pad(state, (0, 0, 0, total - state.shape[1])) for state in states])  # (b, T, D)
        back = torch.cat(order).argsort()
        return [torch.cat(layer)[back] for layer in zip(*pieces, strict=True)]

    @property
    def blocks(self) -> list[nn.Module]:
        """See `SpeechEncoder`."""
        return list(self.network.encoder.layers)

    def parts(self) -> list[Part]:
        """See `SpeechEncoder`."""
        network, encoder = self.network, self.network.encoder
        stem = [network.feature_projection, *(child for name, child in encoder.named_children() if name != "layers")]
        blocks = [Part(f"block {number}", [block]) for number, block in enumerate(self.blocks)]
        if self.config.stable:
            stem.remove(encoder.layer_norm)
            blocks[-1].modules.append(encoder.layer_norm)
        return [Part("cnn", [network.feature_extractor]), Part("stem", stem), *blocks]


def _rebuilt(
    config: ForeignConfig,
    network: dict[str, Tensor],
    heads: tuple[Head | None, nn.ModuleList],
    heard: Any,
    training: bool,
    trained: list[str],
) -> ForeignEncoder:
    """The encoder that was pickled."""
    with Undrawn():
        model = ForeignEncoder(config)
    model.network.load_state_dict(network, assign=True)
    (model.head, model.further), model.heard = heads, heard
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    return model.train(training)


def _hide(projection: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    """What enters the encoder, without the frames that its blocks are not to see."""
    hidden = _hidden.get()
    if hidden is None:
        return None
    return (hidden.put(output[0]), *output[1:]) if isinstance(output, tuple) else hidden.put(output)


def _keep(block: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    """Put aside what a block gives, and what enters the first one."""
    states = _states.get()
    if states is not None:
        if not states:
            states.append(inputs[0])
        states.append(output[0] if isinstance(output, tuple) else output)
