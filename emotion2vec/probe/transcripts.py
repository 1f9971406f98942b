"""Features of what is said: hidden states of a Hugging Face text encoder over the text that a corpus has of a clip.

T: tokens. D: channels. L: layers. P: channels of a clip's vector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch

from emotion2vec.model.features import Features
from emotion2vec.probe.baselines import load_pretrained
from emotion2vec.probe.cache import ClipFeatures
from emotion2vec.probe.corpora import Clip
from emotion2vec.probe.layers import at_layer


class TextEncoder(torch.nn.Module):
    """A network that reads text, with its tokenizer."""

    def __init__(self, network: Any, tokenizer: Any):
        super().__init__()
        self.network = network
        self._tokenizer = tokenizer

    @property
    def fingerprint(self) -> str:
        """Hash of the weights and of how text becomes tokens."""
        from emotion2vec.extraction.models import weights_hash

        fast = getattr(self._tokenizer, "backend_tokenizer", None)
        vocabulary = sorted(self._tokenizer.get_vocab().items())
        rules = repr([type(self._tokenizer).__name__, self._tokenizer.model_max_length, vocabulary])
        rules += fast.to_str() if fast is not None else repr(self._tokenizer.init_kwargs)
        return f"{weights_hash(self.network)} {hashlib.blake2b(rules.encode(), digest_size=16).hexdigest()}"

    @torch.inference_mode()
    def encode(self, text: str) -> Features:
        """States of the tokens, those that mark beginning and end included: `frames` of the last layer, all `layers`.

        A text that is longer than the tokenizer says is cut at the end.

        Raises:
            RuntimeError: the network cannot use it.
            IndexError: the text is longer than the network can take.
        """
        tokens = self._tokenizer(text, return_tensors="pt", truncation=True).to(self.network.device)
        states = self.network(**tokens, output_hidden_states=True).hidden_states[1:]
        layers = torch.stack([state[0].float().cpu() for state in states]).numpy()  # (L, T, D)
        return Features(frames=layers[-1], layers=layers)


class TextExtractor:
    """Token states of an encoder at one layer, or as `at_layer` says, and their mean as the clip's vector."""

    reads = ("text",)

    def __init__(self, name: str, encoder: TextEncoder, layer: int | str, pooling: str):
        self.name = name
        self.fingerprint = f"text {encoder.fingerprint} layer={layer} {pooling}"
        self._encoder = encoder
        self._layer = layer
        self._pooling = pooling

    def extract(self, clips: Sequence[Clip]) -> list[ClipFeatures | str]:
        """Extract clips, equal texts once; see `Extractor`. ConfigError: the network has no such layer."""
        known: dict[str, ClipFeatures | str] = {}
        for text in dict.fromkeys(clip.text or "" for clip in clips):
            try:
                known[text] = at_layer(self._encoder.encode(text), self._layer, self._pooling, self.name)
            except (RuntimeError, IndexError) as error:
                known[text] = f"the network cannot use its text: {str(error).partition(chr(10))[0]}"
        return [known[clip.text or ""] for clip in clips]


def text_encoder(name: str, device: str) -> TextEncoder:
    """Load a text encoder of Hugging Face, such as BERT or RoBERTa; of an encoder with a decoder, the encoder.

    One text at a time goes through the model's own tokenizer.

    Args:
        name: folder, or name on the hub.
        device: where it runs.

    Raises:
        ConfigError: transformers is not installed, or no name is given.
        CheckpointError: the model cannot be loaded.
    """
    tokenizer, model = load_pretrained("text", name, "AutoTokenizer", device)
    return TextEncoder(model.get_encoder() if model.config.is_encoder_decoder else model, tokenizer)
