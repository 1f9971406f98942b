"""What is said beside what is heard: settings, and the texts of a run's clips as a text encoder has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from emotion2vec.checkpoint.text import Texts
from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.errors import ConfigError
from emotion2vec.model.config import TEXT_HEADS, HeadConfig
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.model.text import Told
from emotion2vec.seeding import keyed_seed
from emotion2vec.settings import option


@dataclass(kw_only=True)
class TextSettings:
    """Texts of the clips, in the column `text` or as a corpus knows them, for heads of the kinds `text-...`."""

    encoder: str = option("", "text encoder of Hugging Face: folder, or name on the hub; it does not learn")
    dropout: float = option(
        0.3, "share of the clips whose text is left out in training, so that predictions can do without", ge=0, le=1
    )


def check_text(settings: TextSettings, kind: str) -> list[str]:
    """List what does not fit between texts and the kind of the head."""
    if kind in TEXT_HEADS and not settings.encoder:
        return [f"head.kind is {kind} and text.encoder is empty, expected a folder or a name, such as roberta-base"]
    if settings.encoder and kind not in TEXT_HEADS:
        return [f"text.encoder is {settings.encoder} and head.kind {kind}, expected one of {', '.join(TEXT_HEADS)}"]
    return []


@dataclass(frozen=True)
class Transcripts:
    """What is said in the clips of a run.

    Attributes:
        texts: what an encoder says of texts.
        said: text of each clip by its id, None where it is not known.
        dropout: share of the clips whose text is left out in training.
        seed: of what is left out.
    """

    texts: Texts
    said: Mapping[str, str | None]
    dropout: float
    seed: int

    def of(self, batch: MicroBatch, update: int) -> Told:
        """What is said in a micro-batch; nothing of mixtures, and of clips whose text is left out."""
        kept = []
        for number, (clip, key) in enumerate(zip(batch.ids, batch.keys, strict=True)):
            draw = np.random.default_rng(keyed_seed(self.seed, "text", update, key)).random()
            mixed = bool(batch.mixtures) and batch.mixtures[number] is not None
            kept.append(None if mixed or draw < self.dropout else self.said.get(clip))
        return self.texts(kept)


TellRows = Callable[[Sequence[int]], Told]
"""What is said in clips by their places."""


def telling(texts: Texts | None, said: Sequence[str | None]) -> TellRows | None:
    """What is said in clips that have such texts, by their places; None where nothing reads it."""
    return None if texts is None else lambda places: texts([said[place] for place in places])


def texts_of(model: SpeechEncoder, place: str = "") -> Texts | None:
    """The texts that a model's head reads; None for a head that reads none.

    Args:
        model: with a head.
        place: see `Texts.of_head`.

    Raises:
        ConfigError: transformers is not installed.
        CheckpointError: the text encoder cannot be loaded, or is another one by now.
    """
    head = model.head
    return Texts.of_head(head.config, str(model.device), place) if head is not None and head.reads_text else None


def as_read(config: HeadConfig, texts: Texts) -> HeadConfig:
    """A head's configuration with the texts that it reads."""
    encoder = texts.encoder
    return replace(config, text=encoder.name, text_width=texts.width, text_fingerprint=encoder.fingerprint)


def text_notes(settings: TextSettings, trained: Sequence[Utterance]) -> list[str]:
    """What to say of clips that train without a text, where texts are learnt from.

    Raises:
        ConfigError: none has one.
    """
    without = [clip.stretch for clip in trained if not (clip.text or "").strip()]
    if not settings.encoder or not without:
        return []
    if len(without) == len(trained):
        raise ConfigError(
            f"text.encoder is {settings.encoder}, and no clip that trains has a text; expected what is said in a "
            "column text (data.columns=[text=NAME] for another name)"
        )
    told = f"{len(without)} of {len(trained)} clips that train have no text, and teach the audio alone"
    return [f"{told}: {examples(without)}"]


def transcribed(
    encoder: SpeechEncoder, texts: Texts | None, settings: TextSettings, seed: int, clips: Mapping[str, Utterance]
) -> Transcripts | None:
    """What is said in the clips of a run; None where its main head reads no texts, or is told none.

    Raises:
        ConfigError: the head goes on from another text encoder.
    """
    head = encoder.head
    if texts is None or head is None or not head.reads_text:
        return None
    if head.config.text_fingerprint != texts.encoder.fingerprint:
        raise ConfigError(
            f"text.encoder is {texts.encoder.name}, and the model's head learnt with another ({head.config.text}); "
            "expected that, or finetune.head=new"
        )
    said = {name: clip.text for name, clip in clips.items()}
    return Transcripts(texts, said, settings.dropout, seed)
