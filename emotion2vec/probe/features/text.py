"""Features of what is said: hidden states of a Hugging Face text encoder over the text that a corpus has of a clip."""

from __future__ import annotations

from collections.abc import Sequence

from emotion2vec.checkpoint.text import TextEncoder
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.probe.features.extractor import ClipFeatures
from emotion2vec.probe.features.layers import at_layer


class TextExtractor:
    """Token states of an encoder at one layer, or as `at_layer` says, and their mean as the clip's vector."""

    reads = ("text",)

    def __init__(self, name: str, encoder: TextEncoder, layer: int | str, pooling: str | None):
        pooling = pooling or "mean"
        self.name = name
        self.fingerprint = f"text {encoder.fingerprint} layer={layer} {pooling}"
        self._encoder = encoder
        self._layer = layer
        self._pooling = pooling

    def extract(self, clips: Sequence[Utterance]) -> list[ClipFeatures | str]:
        """Extract clips, equal texts once; see `Extractor`. ConfigError: the network has no such layer."""
        known: dict[str, ClipFeatures | str] = {}
        for text in dict.fromkeys(clip.text or "" for clip in clips):
            try:
                known[text] = at_layer(self._encoder.encode(text), self._layer, self._pooling, self.name)
            except (RuntimeError, IndexError) as error:
                known[text] = f"the network cannot use its text: {str(error).partition(chr(10))[0]}"
        return [known[clip.text or ""] for clip in clips]
