"""Our `Pretrainer` as a fairseq model: masks and losses are ours, the loop around them is fairseq's.

B: utterances. M: views. S: samples. T: frames. D: model width.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel, register_model
from omegaconf import II
from torch import Tensor

from emotion2vec.assets import asset_folder
from emotion2vec.checkpoint.formats.data2vec.names import state_from_fairseq, state_to_fairseq
from emotion2vec.checkpoint.formats.data2vec.to_settings import model_settings
from emotion2vec.checkpoint.source import Source
from emotion2vec.errors import ConfigError
from emotion2vec.pretrain.config import load_config
from emotion2vec.pretrain.ema import ema_decay
from emotion2vec.pretrain.masking import batch_masks
from emotion2vec.pretrain.network import Pretrainer
from emotion2vec.pretrain.warm_start import warm_start
from emotion2vec.seeding import keyed_seed

logger = logging.getLogger(__name__)

STATISTICS = "emotion2vec"
"""Entry of the model's state that holds the utterance target's running statistics."""


@dataclass
class Emotion2vecFairseqConfig(FairseqDataclass):
    """What decides the model: a pretraining configuration of ours; its optim, data, run and log are not read."""

    config: str = field(default="base", metadata={"help": "YAML file, or tiny, small, base or large"})
    overrides: list[str] = field(default_factory=list, metadata={"help": "settings such as model.depth=4"})
    seed: int = II("common.seed")
    d2v_args: Any = field(default=None, metadata={"help": "written into checkpoints: the network's dimensions"})


@register_model("emotion2vec", dataclass=Emotion2vecFairseqConfig)
class Emotion2vecFairseqModel(BaseFairseqModel):
    """Student, decoder and teacher; its state has the names of fairseq's data2vec 2.0, teacher under `_ema`."""

    def __init__(self, cfg: Emotion2vecFairseqConfig):
        super().__init__()
        shipped = asset_folder("configs") / "pretrain" / f"{cfg.config}.yaml"
        path = shipped if shipped.is_file() else Path(cfg.config)
        self.config = load_config(path, [*cfg.overrides, "data.train=fairseq", "run.dir=fairseq"])
        self.pretrainer = Pretrainer(self.config)
        if self.config.init.from_:
            warm_start(self.pretrainer, self.config.init, logger.info)
        self.seed = cfg.seed
        self.num_updates = 0
        self.pooled: list[Tensor] = []
        for parameter in self.pretrainer.parameters():
            if parameter.ndim < 2:
                parameter.optim_overrides = {"optimizer": {"weight_decay_scale": 0}}  # type: ignore[attr-defined]

    @classmethod
    def build_model(cls, cfg: Emotion2vecFairseqConfig, task: Any = None) -> Emotion2vecFairseqModel:
        """Build the model, as fairseq asks for it."""
        return cls(cfg)

    def forward(self, source: Tensor, id: Tensor, padding_mask: Tensor | None = None, **kwargs: Any) -> dict[str, Any]:
        """Compute the losses of one batch, as sums, for fairseq's criterion `model`.

        Args:
            source: (B, S) normalized samples of equal length.
            id: (B,) numbers of the utterances, the keys of their masks.
            padding_mask: absent or without padding.
            kwargs: what else the task's batches hold.
        """
        if padding_mask is not None and bool(padding_mask.any()):
            raise ConfigError("a batch holds padding, expected task.enable_padding=false, which crops batches")
        model, update = self.config.model, self.num_updates + 1
        names = [str(int(number)) for number in id]
        frames = model.grid.count(source.shape[1])
        mask = batch_masks(names, frames, self.config.mask, seed=self.seed, update=update)  # (B, M, T)
        rng = random.Random(keyed_seed(self.seed, "layerdrop", update, names[0]))
        skipped = [i for i in range(model.prenet_depth + model.depth) if rng.random() < model.layerdrop]
        output = self.pretrainer(source, mask.to(source.device), skipped if self.training else ())
        if self.training:
            self.pooled.append(output.pooled.detach())
        # fairseq divides every loss by the same sum of sample sizes, which are masked frames here.
        per_view = output.masked / output.views
        return {
            "losses": {
                "frame": output.frame_loss,
                "utterance": self.config.loss.alpha * per_view * output.utterance_loss,
            },
            "sample_size": output.masked,
            "target_std": float(output.targets.std()),
            "prediction_std": float(output.predictions.std()),
        }

    def extract_features(self, source: Tensor, **kwargs: Any) -> dict[str, Tensor]:
        """Features (B, T, D) of normalized waveforms (B, S), as fairseq's models give them."""
        return {"x": self.pretrainer.student(source).frames}

    def set_num_updates(self, num_updates: int) -> None:
        """Move the teacher and the utterance target after an optimizer step; fairseq calls this after each."""
        super().set_num_updates(num_updates)
        if self.training and num_updates == self.num_updates + 1 and self.pooled:
            self.pretrainer.teacher.update(self.pretrainer.student, ema_decay(num_updates, self.config.ema))
            pooled = _all_ranks(torch.cat(self.pooled))  # (U, D)
            self.pretrainer.utterance_target.update(pooled.mean(dim=0), pooled.square().mean(dim=0), len(pooled))
        self.pooled.clear()
        self.num_updates = num_updates

    def half(self) -> Emotion2vecFairseqModel:
        """Refuse half-precision weights: the teacher moves by less than they resolve.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("common.fp16 and common.bf16 halve the teacher's weights too, expected common.amp=true")

    bfloat16 = half

    def settings(self) -> dict[str, Any]:
        """The network's dimensions in data2vec 2.0's terms."""
        config = self.config
        decoder, teacher = self.pretrainer.decoder.state_dict(), self.pretrainer.teacher.state_dict()
        student = self.pretrainer.student.state_dict()
        return model_settings(
            Source("fairseq", Path(), [], config.model, student, teacher, decoder, decoder_config=config.decoder)
        )

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The state, under the names that `load_model` reads."""
        parts = {name: dict(module.state_dict()) for name, module in self.pretrainer.named_children()}
        decoder = {f"decoder.{name}": value for name, value in parts["decoder"].items()}
        return {
            **state_to_fairseq(parts["student"] | decoder),
            "_ema": state_to_fairseq(parts["teacher"]),
            STATISTICS: parts["utterance_target"],
        }

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, model_cfg: Any = None, args: Any = None
    ) -> Any:
        """Load what `state_dict` gives."""
        flat = {name: value for name, value in state_dict.items() if name not in ("_ema", STATISTICS)}
        ours = state_from_fairseq(flat)
        state = {name if name.startswith("decoder.") else f"student.{name}": value for name, value in ours.items()}
        state |= {f"teacher.{name}": value for name, value in state_from_fairseq(state_dict["_ema"]).items()}
        state |= {f"utterance_target.{name}": value for name, value in state_dict[STATISTICS].items()}
        return self.pretrainer.load_state_dict(state, strict=strict)


def _all_ranks(pooled: Tensor) -> Tensor:
    """The pooled vectors (U, D) of all ranks."""
    if not torch.distributed.is_initialized():
        return pooled
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, pooled.cpu())
    return torch.cat(found).to(pooled.device)
