"""Hugging Face classes of our models; `register()` makes them known to transformers' Auto classes."""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification

from emotion2vec.integrations.huggingface.configuration import Emotion2vecHFConfig
from emotion2vec.integrations.huggingface.feature_extraction import Emotion2vecFeatureExtractor
from emotion2vec.integrations.huggingface.modeling import Emotion2vecForAudioClassification, Emotion2vecModel

__all__ = [
    "Emotion2vecFeatureExtractor",
    "Emotion2vecForAudioClassification",
    "Emotion2vecHFConfig",
    "Emotion2vecModel",
    "register",
]


def register() -> None:
    """Let transformers' `from_pretrained` and `pipeline` read converted folders, without trusting them.

    It is said once in a process; calling it again changes nothing.
    """
    AutoConfig.register(Emotion2vecHFConfig.model_type, Emotion2vecHFConfig, exist_ok=True)
    AutoFeatureExtractor.register(Emotion2vecHFConfig, Emotion2vecFeatureExtractor, exist_ok=True)
    AutoModel.register(Emotion2vecHFConfig, Emotion2vecModel, exist_ok=True)
    AutoModelForAudioClassification.register(Emotion2vecHFConfig, Emotion2vecForAudioClassification, exist_ok=True)
