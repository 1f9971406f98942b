"""fairseq's audio pretraining task, for our model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairseq.tasks import register_task
from fairseq.tasks.audio_pretraining import AudioPretrainingConfig, AudioPretrainingTask
from omegaconf import OmegaConf, open_dict

from emotion2vec.errors import ConfigError
from emotion2vec.integrations.fairseq.emotion2vec_fairseq.model import Emotion2vecFairseqModel


@dataclass
class Emotion2vecPretrainingConfig(AudioPretrainingConfig):
    """Settings of fairseq's `audio_pretraining`, with whole utterances normalized."""

    normalize: bool = True


@register_task("emotion2vec_pretraining", dataclass=Emotion2vecPretrainingConfig)
class Emotion2vecPretrainingTask(AudioPretrainingTask):
    """Reads fairseq's manifests (`train.tsv`) and leaves masks and losses to the model."""

    def build_model(self, model_cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the model, and keep its dimensions in the configuration that fairseq writes into checkpoints."""
        faults = [
            f"task.{name} is {getattr(self.cfg, name)}, expected {wanted}"
            for name, wanted in (("normalize", True), ("enable_padding", False), ("sample_rate", 16_000))
            if getattr(self.cfg, name) != wanted
        ]
        if faults:
            raise ConfigError("; ".join(faults))
        model = super().build_model(model_cfg, from_checkpoint)
        assert isinstance(model, Emotion2vecFairseqModel)
        with open_dict(model_cfg):
            model_cfg.d2v_args = OmegaConf.create({"model": model.settings()})
        return model

    def train_step(self, sample: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Run one training batch; the model learns whose utterances it sees."""
        return super().train_step(_with_ids(sample), *args, **kwargs)

    def valid_step(self, sample: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Run one validation batch, likewise."""
        return super().valid_step(_with_ids(sample), *args, **kwargs)


def _with_ids(sample: dict[str, Any]) -> dict[str, Any]:
    """Pass the utterances' numbers, which key their masks, on to the model."""
    return {**sample, "net_input": {**sample["net_input"], "id": sample["id"]}}
