"""Extraction of frozen features: audio of any kind in, arrays on disk or in memory out.

The parts, in the order that audio passes through them: `clips` (decode), `batching`, `encoder` (model), `writers`;
`engine` joins them to `extract`, and `api` to `extract_features` for audio in memory.
"""

from emotion2vec.extraction.api import extract_features
from emotion2vec.extraction.engine import ExtractionReport, extract

__all__ = ["ExtractionReport", "extract", "extract_features"]
