"""A page of nothing but features in two dimensions, for the eye."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from emotion2vec.corpora.options import read_corpus
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.devices import choose_device
from emotion2vec.files import check_file_name, check_writable, write_text
from emotion2vec.probe.embedding import MOST_POINTS, embed
from emotion2vec.probe.features.names import make_extractor
from emotion2vec.report.corpus import embedding_plots
from emotion2vec.report.html import html_page
from emotion2vec.report.options import PlotOptions

PAGE_SUFFIXES = (".html", ".htm")
"""What a page may end in."""


@dataclass(frozen=True)
class Drawn:
    """What was drawn: the corpus, how many of its clips at most, and files of clips that could not be, with reasons."""

    clipset: Corpus
    most: int
    left_out: Mapping[str, str]


def draw_features(options: PlotOptions, progress: bool = False) -> Drawn:
    """Write a page of nothing but the plots of some features of a corpus.

    Raises:
        ConfigError: a feature is not known, or the file cannot be written.
        ManifestError: the corpus cannot be read, or fewer than three of its clips can.
    """
    check_file_name(options.output, "output", PAGE_SUFFIXES)
    clipset = read_corpus(options.corpus)
    check_writable(options.output)
    device, blocks, left_out = str(choose_device(options.device)), "", dict(clipset.left_out)
    for name in options.features:
        extractor = make_extractor(name, layer=options.layer, pooling=options.pooling, device=device)
        found = embed(clipset, extractor, options.cache, progress)
        left_out.update(found.unread)
        blocks += f"<h2>{escape(name)}</h2>{embedding_plots(found)}"
    title = f"{clipset.name}: features in two dimensions"
    write_text(options.output, html_page(title, f"<h1>{escape(title)}</h1>{blocks}"))
    return Drawn(clipset, min(MOST_POINTS, len(clipset.utterances)), left_out)
