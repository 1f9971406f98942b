"""emotion2vec's own network, and the shapes of it that others have: a front end and a Transformer.

B: utterances. S: samples. T: frames. D: model width. N: utterance tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor, nn

from emotion2vec.model.backbone import Backbone
from emotion2vec.model.config import Emotion2vecConfig, FurtherHead, HeadConfig
from emotion2vec.model.frontend import Frontend
from emotion2vec.model.heads import MeanLinear
from emotion2vec.model.hidden import Hidden
from emotion2vec.model.known_heads import build_further, build_head
from emotion2vec.model.logmel import MelFrontend
from emotion2vec.model.speech import Encoded, Part, SpeechEncoder


class Emotion2vec(SpeechEncoder):
    """The network without what only pretraining needs: front end and backbone (Ma et al., ACL 2024).

    Args:
        config: its dimensions.
        labels: what its head tells apart, in the head's order; without labels there is no head.
        head: which head it is.
        further: heads beside it.
    """

    config: Emotion2vecConfig

    def __init__(
        self,
        config: Emotion2vecConfig,
        labels: Sequence[str] = (),
        head: HeadConfig | None = None,
        further: Sequence[FurtherHead] = (),
    ):
        super().__init__()
        self.config = config
        self.heard = None
        self.frontend = _frontend(config)
        self.backbone = Backbone(config)
        self.head = build_head(head or HeadConfig(), config.width, len(self.blocks), labels) if labels else None
        self.further = build_further(further, config.width, len(self.blocks))
        self.apply(_init_linear)

    def forward(
        self,
        waveforms: Tensor,
        padding: Tensor | None = None,
        hidden: Hidden | None = None,
        skip_blocks: Collection[int] = (),
    ) -> Encoded:
        """See `SpeechEncoder`; blocks may be left out (layerdrop), counted from the prenet's first."""
        lengths = None if padding is None else (~padding).sum(dim=1)  # (B,)
        frame_padding = None if padding is None else self.frame_padding(padding)
        local = self.frontend(waveforms, lengths)  # (B, T, D)
        local = local if hidden is None else hidden.put(local)
        out = self.backbone(local, padding=frame_padding, skip_blocks=skip_blocks)
        count = self.config.tokens
        return Encoded(
            embedded=out.embedded[:, count:],
            frames=out.x[:, count:],
            tokens=out.x[:, :count],
            layers=[layer[:, count:] for layer in out.layers],
            ffn=[ffn[:, count:] for ffn in out.ffn],
            padding=frame_padding,
        )

    @property
    def blocks(self) -> list[nn.Module]:
        """See `SpeechEncoder`: the prenet's first."""
        return [*self.backbone.prenet, *self.backbone.blocks]

    def parts(self) -> list[Part]:
        """See `SpeechEncoder`."""
        frontend, backbone = self.frontend, self.backbone
        stem: list[nn.Module] = [] if isinstance(frontend, MelFrontend) else [frontend.norm, frontend.projection]
        stem += [module for module in (backbone.positions, backbone.prenet_norm) if module is not None]
        loose = tuple(parameter for parameter in (backbone.tokens, backbone.alibi_scale) if parameter is not None)
        blocks = [Part(f"block {number}", [block]) for number, block in enumerate(self.blocks)]
        blocks[-1].modules.append(backbone.final_norm)
        return [Part("cnn", [frontend.layers]), Part("stem", stem, loose), *blocks]


def _frontend(config: Emotion2vecConfig) -> Frontend | MelFrontend:
    if config.frontend == "logmel":
        return MelFrontend(config.mels, config.channels, config.width, config.kernels, config.strides)
    return Frontend(config.channels, config.width, config.kernels, config.strides)


def _init_linear(module: nn.Module) -> None:
    """Initialize Linear layers like data2vec 2.0: N(0, 0.02), biases zero; the projection keeps PyTorch's default."""
    if isinstance(module, Frontend):
        module.projection.reset_parameters()
    elif isinstance(module, nn.Linear | MeanLinear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
