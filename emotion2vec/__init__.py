"""Open pretraining, extraction and probing of emotion2vec, the self-supervised speech emotion representation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from emotion2vec.version import __version__

if TYPE_CHECKING:
    from emotion2vec.checkpoint.opening import load_model as load_model
    from emotion2vec.exporting.convert import convert as convert
    from emotion2vec.exporting.export import export as export
    from emotion2vec.extraction.api import extract_features as extract_features
    from emotion2vec.extraction.frame import predict as predict
    from emotion2vec.extraction.results.timelines.tables import timelines as timelines
    from emotion2vec.extraction.streaming import Stream as Stream
    from emotion2vec.extraction.streaming import StreamOptions as StreamOptions
    from emotion2vec.extraction.streaming import astream_features as astream_features
    from emotion2vec.extraction.streaming import stream_features as stream_features
    from emotion2vec.model.config import Emotion2vecConfig as Emotion2vecConfig
    from emotion2vec.model.encoder import Emotion2vec as Emotion2vec
    from emotion2vec.model.features import Features as Features
    from emotion2vec.pretrain.config import PretrainConfig as PretrainConfig
    from emotion2vec.pretrain.config import load_config as load_config

_HOMES = {
    "convert": "emotion2vec.exporting.convert",
    "export": "emotion2vec.exporting.export",
    "load_model": "emotion2vec.checkpoint.opening",
    "extract_features": "emotion2vec.extraction.api",
    "predict": "emotion2vec.extraction.frame",
    "timelines": "emotion2vec.extraction.results.timelines.tables",
    "Stream": "emotion2vec.extraction.streaming",
    "StreamOptions": "emotion2vec.extraction.streaming",
    "astream_features": "emotion2vec.extraction.streaming",
    "stream_features": "emotion2vec.extraction.streaming",
    "load_config": "emotion2vec.pretrain.config",
    "PretrainConfig": "emotion2vec.pretrain.config",
    "Emotion2vecConfig": "emotion2vec.model.config",
    "Emotion2vec": "emotion2vec.model.encoder",
    "Features": "emotion2vec.model.features",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that importing the package stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
