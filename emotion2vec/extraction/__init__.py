"""Extraction of frozen features: audio of any kind in, arrays on disk or in memory out.

The parts, in the order that audio passes through them: `sources`, `clips` (decode), `chunks` (windows of long audio),
`batching`, `encoder` (model), `reduction` (what is kept), `spool` (long features), `writers`; `choices` says which
features. `outcomes` is what happens to a clip wherever a job runs, and `executor` and `ray_executor` say where that is.
`engine` joins them to `extract`, `api` to `extract_features` for audio in memory, `predict` to labels, and `streaming`
is for live audio.
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
