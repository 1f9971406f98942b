"""Text encoders of Hugging Face: hidden states of what is said.

B: texts. T, U: tokens. D, E: channels. L: layers.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from emotion2vec.corpora.faults import examples
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.model.config import CROSS, HeadConfig
from emotion2vec.model.features import Features
from emotion2vec.model.fingerprint import weights_hash
from emotion2vec.model.text import Told

LOG = logging.getLogger(__name__)

UNLIMITED = 10**20
"""Tokens; tokenizers that know no limit say 10^30."""

RECENT = 256
"""Texts whose states are kept where every clip is read once: some say the same. 0.2 GB of the longest by BERT base."""

PER_CALL = ("truncation", "padding")
"""Parts of a fast tokenizer that every call sets anew."""

PLACES = ".*_file|name_or_path|is_local|local_files_only|cache_dir"
"""Settings of a slow tokenizer that say where it was loaded from."""


class TextEncoder(torch.nn.Module):
    """A network that reads text, with its tokenizer.

    Attributes:
        name: folder, from the root, or name on the hub.
        fingerprint: hash of the weights and of how text becomes tokens, wherever the files lie.
    """

    def __init__(self, network: Any, tokenizer: Any, name: str = ""):
        super().__init__()
        self.network = network
        self.name = str(Path(name).absolute()) if Path(name).is_dir() else name
        self._tokenizer = tokenizer
        self._most_tokens = min(tokenizer.model_max_length, table_length(network))
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


def table_length(network: Any) -> int:
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


def check_vocabulary(name: str, network: Any, tokenizer: Any) -> None:
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


def text_encoder(name: str, device: str) -> TextEncoder:
    """Load a text encoder, such as BERT or RoBERTa; of an encoder with a decoder, the encoder.

    One text at a time goes through the model's own tokenizer. No code of theirs runs. Weights that a checkpoint lacks,
    such as those of an unused pooling layer, are random and the same in every run, so that features are found again by
    a hash of all weights.

    Args:
        name: folder, or name on the hub.
        device: where it runs.

    Raises:
        ConfigError: transformers is not installed, or no name is given.
        CheckpointError: the model cannot be loaded, reads no text, or its tokenizer is that of another.
    """
    try:
        import transformers
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise ConfigError(
            f"text:{name} needs the package transformers, which is not installed: pip install transformers"
        ) from error
    if not name:
        raise ConfigError("feature is 'text:', expected text:NAME_OR_FOLDER of a Hugging Face model")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = transformers.AutoModel.from_pretrained(name, trust_remote_code=False).eval().to(device)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"text:{name}: cannot be loaded: {reason}") from error
    encoder = TextEncoder(model.get_encoder() if model.config.is_encoder_decoder else model, tokenizer, name)
    check_vocabulary(name, encoder.network, tokenizer)
    try:
        encoder.encode("word")
    except (TypeError, ValueError, AttributeError, RuntimeError, LookupError) as error:
        reason = str(error).strip().partition("\n")[0]
        found = f"is a {model.config.model_type}, which cannot read a word ({type(error).__name__}: {reason})"
        raise CheckpointError(f"text:{name}: {found}, expected a text encoder") from error
    return encoder


class Texts:
    """What a text encoder says of texts, kept in half precision, so that each is computed once.

    Args:
        encoder: reads them.
        pooled: keep the mean over a text's tokens alone.
        most: texts that are kept, those that were asked for last; None for all.
    """

    def __init__(self, encoder: TextEncoder, *, pooled: bool, most: int | None = None):
        self.encoder = encoder
        self._pooled = pooled
        self._kept = lru_cache(most)(self._states)

    @classmethod
    def of_head(cls, config: HeadConfig, device: str, place: str = "") -> Texts:
        """Those that a model's head learnt with; the last `RECENT` are kept.

        Args:
            config: of the head.
            device: where the text encoder runs.
            place: folder or name of the text encoder, where it is no longer what the head says.

        Raises:
            ConfigError: transformers is not installed.
            CheckpointError: its text encoder cannot be loaded, or is another one by now.
        """
        name = place or config.text
        try:
            encoder = text_encoder(name, device)
        except CheckpointError as error:
            raise CheckpointError(f"{error}; if it has moved, expected text_encoder to say where it is") from error
        if encoder.fingerprint != config.text_fingerprint:
            raise CheckpointError(
                f"text:{name}: expected the weights and the tokenizer that the model learnt with, found others"
            )
        return cls(encoder, pooled=config.kind != CROSS, most=RECENT)

    @property
    def width(self) -> int:
        """E."""
        return self(["word"]).states.shape[2]

    def __call__(self, texts: Sequence[str | None]) -> Told:
        """What is said in clips; of None and of blanks nothing is known, nor of what the encoder cannot use."""
        rows = [self._row(text) for text in texts]
        width = next((row.shape[1] for row in rows if len(row)), 1)
        there = [row.float() if len(row) else torch.zeros(0, width) for row in rows]
        states = pad_sequence(there, batch_first=True) if any(map(len, rows)) else torch.zeros(len(rows), 1, width)
        lengths = torch.tensor([len(row) for row in rows])
        return Told(states, torch.arange(states.shape[1]).unsqueeze(0) >= lengths.unsqueeze(1))

    def _row(self, text: str | None) -> Tensor:
        """The tokens (U, E), or their mean (1, E), in half precision; (0, 1) where there is no text."""
        text = (text or "").strip()
        return self._kept(text) if text else torch.zeros(0, 1)

    def _states(self, text: str) -> Tensor:
        """The same of a text that there is."""
        try:
            states = torch.from_numpy(self.encoder.encode(text).frames)  # (U, E)
        except (RuntimeError, IndexError) as error:
            reason = str(error).strip().partition("\n")[0]
            LOG.warning("text:%s cannot use %r, which counts as no text: %s", self.encoder.name, text[:60], reason)
            return torch.zeros(0, 1)
        return (states.mean(dim=0, keepdim=True) if self._pooled else states).half()
