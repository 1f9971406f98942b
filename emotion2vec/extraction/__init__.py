"""Extraction of frozen features: audio of any kind in, arrays on disk or in memory out.

Audio passes through three rooms: `sources` (what is named -> utterances -> decoded audio), `encode` (decoded audio ->
features) and `writers` (features -> files). `engine` joins them to `extract`, `api` to `extract_features` for audio in
memory, `predict` to labels, and `streaming` is for live audio. `executor` and `ray` say where a job runs, `pipeline`
what it does there, and `run` what became of its items.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emotion2vec.extraction.api import extract_features as extract_features
    from emotion2vec.extraction.engine import extract as extract
    from emotion2vec.extraction.run import ExtractionReport as ExtractionReport

_HOMES = {"extract_features": "api", "ExtractionReport": "run", "extract": "engine"}

__all__ = ["ExtractionReport", "extract", "extract_features"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that options can be checked before torch is imported."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
