"""Hugging Face classes of our models; `import emotion2vec` makes them known to transformers' Auto classes."""

from emotion2vec.integrations.huggingface.configuration import Emotion2vecHFConfig
from emotion2vec.integrations.huggingface.feature_extraction import Emotion2vecFeatureExtractor
from emotion2vec.integrations.huggingface.modeling import Emotion2vecForAudioClassification, Emotion2vecModel

__all__ = [
    "Emotion2vecFeatureExtractor",
    "Emotion2vecForAudioClassification",
    "Emotion2vecHFConfig",
    "Emotion2vecModel",
]
