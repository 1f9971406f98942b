"""What a text classifier finds in the transcripts of a pool: each once, kept in a file that grows.

B: texts of a batch. K: labels of the classifier.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from emotion2vec.checkpoint.text import check_vocabulary, table_length
from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.utterance import Listing
from emotion2vec.devices import choose_device
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.finetune.entries import pair
from emotion2vec.finetune.evaluation.tested import known_label
from emotion2vec.iterate.config import IteratePlan
from emotion2vec.iterate.filters import NO_CLASS, NO_TEXT
from emotion2vec.lines import Lines
from emotion2vec.units import counted

TEXTS = "texts.jsonl"
"""What was found in texts, by their hashes."""

TOGETHER = 32
"""Texts of a batch."""

MOST_TOKENS = 512
"""Where a longer text is cut, unless tokenizer or network take less."""


class TextClassifier:
    """A sequence classifier of Hugging Face with its tokenizer; no code of a checkpoint runs.

    Args:
        name: folder, or name on the hub.
        device: where it runs.

    Attributes:
        labels: K.

    Raises:
        CheckpointError: it cannot be loaded, or its tokenizer is that of another.
    """

    def __init__(self, name: str, device: str):
        import transformers

        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            kind: Any = transformers.AutoModelForSequenceClassification
            self._network: Any = kind.from_pretrained(name, trust_remote_code=False).eval().to(device)
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise CheckpointError(f"filters.text {name}: cannot be loaded as a text classifier: {reason}") from error
        names = self._network.config.id2label
        self.labels = [str(names[number]) for number in range(self._network.config.num_labels)]
        check_vocabulary(name, self._network, self._tokenizer)
        self._most = min(MOST_TOKENS, self._tokenizer.model_max_length, table_length(self._network))

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> list[int]:
        """Numbers of the most probable labels of texts."""
        tokens = self._tokenizer(
            list(texts), return_tensors="pt", padding=True, truncation=True, max_length=self._most
        ).to(self._network.device)
        found: list[int] = self._network(**tokens).logits.argmax(dim=-1).tolist()  # (B, K) -> (B,)
        return found


def classes_of(labels: Sequence[str], classes: Sequence[str], rules: Sequence[str], name: str) -> list[int]:
    """For each label of a text classifier the number of a class, or `NO_CLASS`.

    Args:
        labels: of the classifier.
        classes: that are learnt.
        rules: LABEL=CLASS, which have the last word; others are the class that is spelled so or means the same.
        name: of the classifier, for messages.

    Raises:
        ConfigError: a rule is for no label, or leads to no class; or no label is a class.
    """
    said = dict(map(pair, rules))
    if wrong := [f"{label}={to}" for label, to in said.items() if label not in labels or to not in (*classes, "")]:
        raise ConfigError(
            f"filters.text_labels has {examples(wrong)}, expected labels of {name} ({', '.join(labels)}) and classes "
            f"({', '.join(classes)})"
        )
    found = [said[label] if label in said else known_label(label, classes) for label in labels]
    if not any(found):
        raise ConfigError(
            f"filters.text {name} has the labels {', '.join(labels)}, none of which is a class ({', '.join(classes)}); "
            f"expected filters.text_labels such as [{labels[0]}={classes[0]}]"
        )
    return [classes.index(one) if one else NO_CLASS for one in found]


def open_classifier(plan: IteratePlan, found: Listing, classes: Sequence[str]) -> tuple[TextClassifier, list[int]]:
    """Load the text classifier of a plan, with a class's number for each of its labels.

    Raises:
        ConfigError: no clip has a transcript, or as for `classes_of`.
        CheckpointError: the classifier cannot be loaded.
    """
    name = plan.filters.text
    if not any((item.text or "").strip() for item in found.utterances):
        raise ConfigError(
            f"filters.text is {name} and no clip of the pool has a text, expected lists with a column text"
        )
    classifier = TextClassifier(name, str(choose_device(plan.run.accelerator)))
    return classifier, classes_of(classifier.labels, classes, plan.filters.text_labels, name)


def read_transcripts(
    plan: IteratePlan, found: Listing, classes: Sequence[str], say: Callable[[str], None]
) -> dict[str, int]:
    """Numbers of the classes that a text classifier finds in the clips' transcripts, by ids; what is known stays.

    Raises:
        ConfigError: as for `open_classifier`.
        CheckpointError: the same.
        StorageError: the disk does not take what is found.
    """
    classifier, numbers = open_classifier(plan, found, classes)
    texts = {item.id: (item.text or "").strip() for item in found.utterances}
    wanted = list(dict.fromkeys(text for text in texts.values() if text))
    path = Path(plan.run.dir) / TEXTS
    path.parent.mkdir(parents=True, exist_ok=True)
    known = _known(path)
    missing = [text for text in wanted if _key(text) not in known]
    with closing(Lines(path)) as lines:
        for first in range(0, len(missing), TOGETHER):
            some = missing[first : first + TOGETHER]
            told = {_key(text): label for text, label in zip(some, classifier(some), strict=True)}
            lines.add("".join(json.dumps([key, label]) + "\n" for key, label in told.items()))
            known |= told
    spoken = sum(bool(text) for text in texts.values())
    say(f"transcripts: {spoken} of {counted(len(texts), 'clip')} have one, {len(missing)} texts were read now")
    return {one: numbers[known[_key(text)]] if text else NO_TEXT for one, text in texts.items()}


def _key(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()


def _known(path: Path) -> dict[str, int]:
    """What was found before; a line that was cut off is nothing."""
    found: dict[str, int] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                key, label = json.loads(line)
                found[str(key)] = int(label)
            except (ValueError, TypeError):
                continue
    return found
