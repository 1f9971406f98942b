"""What a model recognizes in clips, and how much of it is wrong.

B: clips of a batch. T: frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import AudioError
from emotion2vec.finetune.decoding import TOGETHER, decoded
from emotion2vec.finetune.scoring import by_length, padded
from emotion2vec.finetune.spoken.settings import PHONEMES, PhonemeSettings
from emotion2vec.finetune.spoken.targets import Spoken
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.tasks.sequences import collapsed, edit_distance

if TYPE_CHECKING:
    from lhotse.cut import Cut


def recognized(model: SpeechEncoder, waveforms: Sequence[np.ndarray]) -> list[list[str]]:
    """The phonemes of whole clips, most probable frame by frame, without looking for better paths.

    Args:
        model: in eval mode, with a head that recognizes them.
        waveforms: (S,) each, as the model wants to hear them.
    """
    head = model.heads(symbols=True)[PHONEMES]
    found: dict[int, list[str]] = {}
    for numbers in by_length([waveform.size for waveform in waveforms]):
        batch, padding = padded([waveforms[number] for number in numbers])
        with torch.inference_mode():
            encoded = model(batch.to(model.device), None if padding is None else padding.to(model.device))
            paths = head(encoded.read_by(head), encoded.padding).tolist()  # (B, T)
        for number, path in zip(numbers, paths, strict=True):
            found[number] = [head.labels[symbol] for symbol in collapsed(path)]
    return [found[number] for number in range(len(waveforms))]


def recognized_cuts(model: SpeechEncoder, cuts: Sequence[Cut]) -> dict[str, list[str]]:
    """The same of clips by their ids, as far as they can be decoded; nothing where the model recognizes none."""
    found: dict[str, list[str]] = {}
    if PHONEMES not in model.heads(symbols=True):
        return found
    for first in range(0, len(cuts), TOGETHER):
        part = cuts[first : first + TOGETHER]
        heard = zip(part, decoded(part, normalizes=model.config.normalizes), strict=True)
        sound = {cut.id: waveform for cut, waveform in heard if not isinstance(waveform, AudioError)}
        found |= dict(zip(sound, recognized(model, [*sound.values()]), strict=True))
    return found


def error_rate_of(folds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """PER in percent over the phonemes of all folds, of what `phoneme_errors` gave of each; nothing of none."""
    symbols = sum(fold.get("phonemes", 0) for fold in folds)
    return {"PER": 100 * sum(fold.get("phoneme_errors", 0) for fold in folds) / symbols} if symbols else {}


def phoneme_errors(
    found: Mapping[str, Sequence[str]], clips: Sequence[Utterance], settings: PhonemeSettings
) -> dict[str, Any]:
    """PER in percent, edits and phonemes of the clips that were heard and whose phonemes are known; nothing of none."""
    spoken = Spoken.of([clip for clip in clips if clip.id in found], settings.pronunciation).symbols
    edits = sum(edit_distance(found[name], symbols) for name, symbols in spoken.items())
    if not (count := sum(map(len, spoken.values()))):
        return {}
    return {"PER": round(100 * edits / count, 3), "phoneme_errors": edits, "phonemes": count}
