"""Enter our classes into transformers' Auto classes, one registry at a time and each with no more than it needs."""

from __future__ import annotations

from types import ModuleType


def register_config(registry: ModuleType) -> None:
    """Register the configuration in `transformers.models.auto.configuration_auto`."""
    from emotion2vec.integrations.huggingface.configuration import Emotion2vecHFConfig

    registry.AutoConfig.register(Emotion2vecHFConfig.model_type, Emotion2vecHFConfig, exist_ok=True)


def register_feature_extractor(registry: ModuleType) -> None:
    """Register the feature extractor in `transformers.models.auto.feature_extraction_auto`."""
    from emotion2vec.integrations.huggingface.configuration import Emotion2vecHFConfig
    from emotion2vec.integrations.huggingface.feature_extraction import Emotion2vecFeatureExtractor

    registry.AutoFeatureExtractor.register(Emotion2vecHFConfig, Emotion2vecFeatureExtractor, exist_ok=True)


def register_models(registry: ModuleType) -> None:
    """Register the models in `transformers.models.auto.modeling_auto`."""
    from emotion2vec.integrations.huggingface.configuration import Emotion2vecHFConfig
    from emotion2vec.integrations.huggingface.modeling import Emotion2vecForAudioClassification, Emotion2vecModel

    registry.AutoModel.register(Emotion2vecHFConfig, Emotion2vecModel, exist_ok=True)
    registry.AutoModelForAudioClassification.register(
        Emotion2vecHFConfig, Emotion2vecForAudioClassification, exist_ok=True
    )
