"""Recognition of phonemes beside the main goal: settings, and what cannot work with it."""

from __future__ import annotations

from dataclasses import dataclass

from emotion2vec.data.config import AugmentConfig
from emotion2vec.settings import option
from emotion2vec.tasks.pronunciation import SETS, UNITS, Pronunciation

PHONEMES = "phonemes"
"""Target of the head that recognizes them."""


@dataclass(kw_only=True)
class PhonemeSettings:
    """Phonemes of what the column `text` says, or a corpus knows, learnt by CTC beside the main goal."""

    weight: float = option(0.0, "α: weight of their loss beside the main goal's 1; 0 for no phonemes", ge=0)
    units: str = option(
        "phonemes",
        "what is recognized: phonemes of the text by gruut, phonemes that are given in it with spaces between, or "
        "its characters",
        choices=UNITS,
    )
    set: str = option("all", "which of them: all, or vowels, in which emotion is heard most", choices=SETS)
    language: str = option("en", "language of clips of which neither column nor corpus says it")

    @property
    def pronunciation(self) -> Pronunciation:
        """How a text becomes symbols."""
        return Pronunciation(self.units, self.set, self.language)


def check_phonemes(settings: PhonemeSettings, targets: list[tuple[str, bool]], augment: AugmentConfig) -> list[str]:
    """List what cannot be learnt beside phonemes.

    Args:
        settings: of phonemes.
        targets: of other heads, each with whether it is of values.
        augment: what is done to the audio.
    """
    if not settings.weight:
        return []
    faults = [f"joint has {PHONEMES}, which phonemes.weight names too, expected another name"] * (
        PHONEMES in [name for name, _ in targets]
    )
    moved = [name for name in ("reverse", "shift") if getattr(augment, f"{name}_prob")]
    return faults + [
        f"augment.{name}_prob and phonemes.weight are above 0, expected one of them: it moves what is said"
        for name in moved
    ]


def durations(seconds: float, augment: AugmentConfig) -> tuple[float, float]:
    """How short and how long, in s, a clip of so many may become by augmentation."""
    shortest = longest = seconds
    for name in ("speed", "stretch"):
        if getattr(augment, f"{name}_prob"):
            shortest /= max(1.0, getattr(augment, f"{name}_high"))
            longest /= min(1.0, getattr(augment, f"{name}_low"))
    return shortest, longest
