"""What is to be drawn: the options of `visualize`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from pathlib import Path

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.corpora.options import CorpusOptions
from emotion2vec.settings import option


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """What is to be drawn, and where to; see `ProbeOptions`."""

    output: Path = option(MISSING, "HTML file.")
    corpus: CorpusOptions = field(default_factory=CorpusOptions)
    features: tuple[str, ...] = option((DEFAULT_MODEL,), "As for probe; may be repeated.")
    layer: str = option("last", "last, mean, mean:N, all, or a block number from 0.")
    pooling: str | None = option(None, "mean or mean+std over time.")
    cache: Path | None = option(None, "Folder that keeps features between runs.")
    device: str | None = option(None, "cpu, cuda, cuda:1, mps, xpu, npu, ...; by default a CUDA GPU if there is one.")
