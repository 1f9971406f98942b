"""Extraction of frozen features: audio of any kind in, arrays on disk or in memory out.

The parts, in the order that audio passes through them: `sources`, `clips` (decode), `chunks` (windows of long audio),
`batching`, `encoder` (model), `reduction` (what is kept), `writers`; `choices` says which features. `engine` joins them
to `extract`, `api` to `extract_features` for audio in memory, `predict` to labels, and `streaming` is for live audio.
"""

from emotion2vec.extraction.api import extract_features
from emotion2vec.extraction.engine import ExtractionReport, extract

__all__ = ["ExtractionReport", "extract", "extract_features"]
