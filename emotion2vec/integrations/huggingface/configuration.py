"""Our dimensions as a transformers configuration, under their own names and under those that transformers expects."""

from __future__ import annotations

import dataclasses
from typing import Any

from transformers import PretrainedConfig

from emotion2vec.checkpoint.formats.huggingface import HEAD, MODEL_TYPE, READS
from emotion2vec.model.config import Emotion2vecConfig, HeadConfig, head_config, model_config
from emotion2vec.settings import to_dict

_DIMENSIONS = [field.name for field in dataclasses.fields(Emotion2vecConfig)]


class Emotion2vecHFConfig(PretrainedConfig):
    """Dimensions of the network, as keyword arguments named like the fields of `emotion2vec.Emotion2vecConfig`.

    The defaults are the base model's. Labels are given the usual way, by `id2label` or `num_labels`; which head tells
    them, by `head`, a mapping with the fields of `emotion2vec.model.config.HeadConfig`, where it is not the usual one.
    """

    model_type = MODEL_TYPE
    attribute_map = {  # noqa: RUF012 (a class attribute of transformers)
        "hidden_size": "width",
        "num_attention_heads": "heads",
        "intermediate_size": "ffn_width",
        "conv_kernel": "kernels",
        "conv_stride": "strides",
        "hidden_dropout": "dropout",
    }

    def __init__(self, **kwargs: Any):
        defaults = to_dict(Emotion2vecConfig())
        for name in _DIMENSIONS:
            setattr(self, name, kwargs.pop(name, defaults[name]))
        self.head: dict[str, Any] | None = kwargs.pop(HEAD, None)
        super().__init__(**kwargs)

    @property
    def num_hidden_layers(self) -> int:
        """Transformer blocks, prenet and main; there is one hidden state more, what enters the first."""
        return self.prenet_depth + self.depth

    def dimensions(self) -> Emotion2vecConfig:
        """The network's own configuration.

        Raises:
            ConfigError: values out of range or that do not fit each other, all listed.
        """
        return model_config({name: getattr(self, name) for name in _DIMENSIONS}, "the Hugging Face configuration")

    def head_config(self) -> HeadConfig:
        """Which head it is. ConfigError: there is no such head."""
        values = {name: value for name, value in (self.head or {}).items() if name != READS}
        return head_config(values, "the Hugging Face configuration, head")

    def standardized(self) -> list[int] | None:
        """Shape of what the head standardizes by; None where it does not."""
        return (self.head or {}).get(READS)

    def labels(self) -> tuple[str, ...]:
        """The head's labels in its order."""
        return tuple(self.id2label[number] for number in sorted(self.id2label))
