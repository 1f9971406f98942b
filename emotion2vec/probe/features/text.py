"""Features of what is said: hidden states of a Hugging Face text encoder over the text that a corpus has of a clip.

T: tokens. D: channels. L: layers. P: channels of a clip's vector.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import CheckpointError
from emotion2vec.model.features import Features
from emotion2vec.model.fingerprint import weights_hash
from emotion2vec.probe.features.baselines import load_pretrained
from emotion2vec.probe.features.extractor import ClipFeatures
from emotion2vec.probe.features.layers import at_layer

UNLIMITED = 10**20
"""Tokens; tokenizers that know no limit say 10^30."""

PER_CALL = ("truncation", "padding")
"""Parts of a fast tokenizer that every call sets anew."""

PLACES = ".*_file|name_or_path|is_local|local_files_only|cache_dir"
"""Settings of a slow tokenizer that say where it was loaded from."""


class TextEncoder(torch.nn.Module):
    """A network that reads text, with its tokenizer.

    Attributes:
        fingerprint: hash of the weights and of how text becomes tokens, wherever the files lie.
    """

    def __init__(self, network: Any, tokenizer: Any):
        super().__init__()
        self.network = network
        self._tokenizer = tokenizer
        self._most_tokens = min(tokenizer.model_max_length, _table_length(network))
        self.fingerprint = f"{weights_hash(network)} {_rules_hash(tokenizer)} {self._most_tokens}"

    @torch.inference_mode()
    def encode(self, text: str) -> Features:
        """States of the tokens, those that mark beginning and end included: `frames` of the last layer, all `layers`.

        A text that is longer than the tokenizer says, or than the network has positions, is cut at the end.

        Raises:
            RuntimeError: the network cannot use it.
            IndexError: the tokenizer makes tokens that the network does not know.
        """
        limit = {"truncation": True, "max_length": self._most_tokens} if self._most_tokens < UNLIMITED else {}
        tokens = self._tokenizer(text, return_tensors="pt", **limit).to(self.network.device)
        states = self.network(**tokens, output_hidden_states=True).hidden_states[1:]
        layers = torch.stack([state[0].float().cpu() for state in states]).numpy()  # (L, T, D)
        return Features(frames=layers[-1], layers=layers)


def _table_length(network: Any) -> int:
    """Most tokens that the network has positions for; `UNLIMITED` for relative positions.

    RoBERTa and its kin count positions from the padding's index + 1, and their table has a padding index to show it.
    """
    most = getattr(network.config, "max_position_embeddings", None)
    if not isinstance(most, int) or most < 1:
        return UNLIMITED
    paddings = (
        getattr(module, "padding_idx", None)
        for name, module in network.named_modules()
        if name.endswith("position_embeddings")
    )
    return most - max((padding + 1 for padding in paddings if padding is not None), default=0)


def _check_vocabulary(name: str, network: Any, tokenizer: Any) -> None:
    """Raise when words of the tokenizer have no embedding, which otherwise every clip that says one would tell.

    Tokens that only mark something may have none, as some published tokenizers name marks that their networks never
    had; those that are put to every text are tried anyway.
    """
    try:
        known = network.get_input_embeddings().num_embeddings
    except (AttributeError, NotImplementedError):
        return  # embedded otherwise, such as characters by hashes
    marks = set(tokenizer.all_special_tokens)
    beyond = sorted((number, word) for word, number in tokenizer.get_vocab().items() if number >= known)
    if words := [f"{word!r} ({number})" for number, word in beyond if word not in marks]:
        raise CheckpointError(
            f"text:{name}: the tokenizer is not this network's: {len(words)} of its words, such as "
            f"{examples(words)}, are beyond the {known} that the network has embeddings of (counted from 0)"
        )


def _rules_hash(tokenizer: Any) -> str:
    """Hash of how text becomes tokens, wherever the tokenizer lies; how much of a text is said with every call."""
    rules: list[Any] = [type(tokenizer).__name__, tokenizer.truncation_side, sorted(tokenizer.get_vocab().items())]
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is not None:
        stages = json.loads(fast.to_str())
        rules += [(name, json.dumps(stages[name])) for name in sorted(stages) if name not in PER_CALL]
    else:
        settings = tokenizer.init_kwargs
        rules += [(name, repr(settings[name])) for name in sorted(settings) if not re.fullmatch(PLACES, name)]
        files = (settings.get(name) or getattr(tokenizer, name, None) for name in sorted(tokenizer.vocab_files_names))
        rules += [Path(file).read_bytes() for file in files if file and Path(file).is_file()]
    return hashlib.blake2b(repr(rules).encode(), digest_size=16).hexdigest()


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


def text_encoder(name: str, device: str) -> TextEncoder:
    """Load a text encoder of Hugging Face, such as BERT or RoBERTa; of an encoder with a decoder, the encoder.

    One text at a time goes through the model's own tokenizer.

    Args:
        name: folder, or name on the hub.
        device: where it runs.

    Raises:
        ConfigError: transformers is not installed, or no name is given.
        CheckpointError: the model cannot be loaded, reads no text, or its tokenizer is that of another.
    """
    tokenizer, model = load_pretrained("text", name, "AutoTokenizer", device)
    encoder = TextEncoder(model.get_encoder() if model.config.is_encoder_decoder else model, tokenizer)
    _check_vocabulary(name, encoder.network, tokenizer)
    try:
        encoder.encode("word")
    except (TypeError, ValueError, AttributeError, RuntimeError, LookupError) as error:
        reason = str(error).strip().partition("\n")[0]
        found = f"is a {model.config.model_type}, which cannot read a word ({type(error).__name__}: {reason})"
        raise CheckpointError(f"text:{name}: {found}, expected a text encoder") from error
    return encoder
