"""Names of emotions: which of them are the same class."""

from __future__ import annotations

import unicodedata

SYNONYMS = {
    "angry": "anger", "anger": "anger", "ang": "anger",
    "hap": "happiness", "sur": "surprise", "fea": "fear", "dis": "disgust", "neu": "neutral",
    "exc": "excitement", "fru": "frustration",
    "happy": "happiness", "happiness": "happiness", "joy": "happiness", "joyful": "happiness",
    "sad": "sadness", "sadness": "sadness",
    "neutral": "neutral",
    "fear": "fear", "fearful": "fear", "afraid": "fear", "scared": "fear", "anxiety": "fear",
    "disgust": "disgust", "disgusted": "disgust",
    "surprise": "surprise", "surprised": "surprise",
    "boredom": "boredom", "bored": "boredom",
    "calm": "calm", "calmness": "calm",
    "contempt": "contempt", "contemptuous": "contempt",
    "excitement": "excitement", "excited": "excitement",
    "frustration": "frustration", "frustrated": "frustration",
}  # fmt: skip
"""The class that a corpus's label stands for, as `simple` writes it; other labels stand for themselves."""

DOUBTFUL = frozenset({"joy", "joyful", "anxiety", "afraid", "scared"})
"""Synonyms that are another word, and not another form of the same."""


def folded(name: str) -> str:
    """A name without differences of case and Unicode form."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def simple(label: str) -> str:
    """A label without differences of case, Unicode form, spaces, hyphens and the like."""
    return "".join(filter(str.isalnum, folded(label)))


def class_name(label: str) -> str:
    """What a label most probably stands for."""
    return SYNONYMS.get(simple(label), simple(label))
