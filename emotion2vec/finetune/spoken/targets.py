"""What clips say, as far as it can be learnt: references of those that CTC can be fed with, and why others are not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.aims import Aim, weight_of
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.spoken.goal import SequenceGoal
from emotion2vec.finetune.spoken.settings import durations
from emotion2vec.tasks.pronunciation import Pronunciation, UnspokenError
from emotion2vec.tasks.sequences import ENDED, least_frames
from emotion2vec.units import counted

if TYPE_CHECKING:
    from lhotse.cut import Cut

    from emotion2vec.audio.frames import FrameGrid

BLANK_NAME = "<blank>"


@dataclass(frozen=True)
class Spoken:
    """What clips say.

    Attributes:
        symbols: of each clip that says something, by its id.
        unspoken: names of the clips that do not, by the reason.
    """

    symbols: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unspoken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, clips: Iterable[Utterance], pronunciation: Pronunciation) -> Spoken:
        """What clips say by their texts.

        Raises:
            ConfigError: gruut is needed and not installed.
        """
        found = cls()
        for clip in clips:
            try:
                found.symbols[clip.id] = pronunciation(clip.text, clip.language)
            except UnspokenError as error:
                reason = str(error) if clip.text else "no text"
                found.unspoken[reason].append(clip.stretch)
        return found

    def told(self) -> list[str]:
        """What to say of the clips that say nothing."""
        return [
            f"{counted(len(names), 'clip')} {'teaches' if len(names) == 1 else 'teach'} no phonemes ({reason}): "
            f"{examples(names)}"
            for reason, names in self.unspoken.items()
        ]


def spoken_aim(
    config: FinetuneConfig, by_id: Mapping[str, Utterance], trained: Sequence[Cut], grid: FrameGrid
) -> tuple[Aim, list[str]]:
    """Recognition of what clips say, and what is to be said of those that do not teach it.

    The symbols are those that clips say that train. Held-out clips are judged whole; a clip that trains must not be
    cropped, and have a frame for each symbol at whatever speed it is played.

    Args:
        config: of the run.
        by_id: all clips that train or choose.
        trained: those that train.
        grid: the encoder's frames.

    Raises:
        ConfigError: no clip teaches anything, or gruut is needed and not installed.
    """
    spoken = Spoken.of(by_id.values(), config.phonemes.pronunciation)
    fed = dict(spoken.symbols)
    for cut in trained:
        if cut.id not in fed:
            continue
        if reason := _unfit(config, cut, fed[cut.id], grid):
            spoken.unspoken[reason].append(by_id[cut.id].stretch)
            del fed[cut.id]
    taught = [fed[cut.id] for cut in trained if cut.id in fed]
    notes = spoken.told()
    if not taught:
        raise ConfigError(
            f"phonemes.weight is {config.phonemes.weight:g}, and no clip that trains teaches any: {'; '.join(notes)}; "
            "expected what is said, in words, in a column text (data.columns=[text=NAME] for another name)"
        )
    names = (BLANK_NAME, *sorted({symbol for symbols in taught for symbol in symbols}))
    place = {symbol: number for number, symbol in enumerate(names)}
    most = max(map(len, fed.values()))
    references = {}
    for name, symbols in fed.items():
        row = np.full(most, ENDED)
        row[: len(symbols)] = [place.get(symbol, len(names)) for symbol in symbols]
        references[name] = row
    weights = {name: weight_of(by_id[name], config) for name in fed}
    return Aim(SequenceGoal(names=names, weights=weights, references=references), config.phonemes.weight), notes


def _unfit(config: FinetuneConfig, cut: Cut, symbols: Sequence[str], grid: FrameGrid) -> str:
    """Why CTC cannot be fed with a clip that trains; empty where it can."""
    shortest, longest = durations(cut.duration, config.augment)
    if longest > config.data.max_seconds:
        return f"cropped to data.max_seconds ({config.data.max_seconds:g} s)"
    frames, least = int(grid.count(round(shortest * SAMPLE_RATE))), least_frames(symbols)
    return "too short for what is said" if frames < least else ""
