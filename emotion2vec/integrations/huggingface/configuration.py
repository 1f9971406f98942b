"""Our dimensions as a transformers configuration, under their own names and under those that transformers expects."""

from __future__ import annotations

import dataclasses
from typing import Any

from transformers import PretrainedConfig

from emotion2vec.checkpoint.formats.huggingface import MODEL_TYPE
from emotion2vec.model.config import Emotion2vecConfig, model_config
from emotion2vec.settings import to_dict

_DIMENSIONS = [field.name for field in dataclasses.fields(Emotion2vecConfig)]


class Emotion2vecHFConfig(PretrainedConfig):
    """Dimensions of the network, as keyword arguments named like the fields of `emotion2vec.Emotion2vecConfig`.

    The defaults are the base model's. Labels are given the usual way, by `id2label` or `num_labels`.
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

    def labels(self) -> tuple[str, ...]:
        """The head's labels in its order."""
        return tuple(self.id2label[number] for number in sorted(self.id2label))
