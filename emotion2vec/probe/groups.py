"""Groups of clips that scores are given of beside those of all: by gender, language, corpus and duration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from emotion2vec.corpora.utterance import Utterance

EDGES = (2.0, 4.0, 8.0)
"""Between groups of durations, in s."""
DURATIONS = ("under 2 s", "2 to 4 s", "4 to 8 s", "from 8 s")

Groups = Mapping[str, np.ndarray]
"""By what clips are grouped, and the group of each; empty where it is not known."""


def groups_of(clips: Sequence[Utterance]) -> Groups:
    """All groupings that part the clips, those of whom something is known."""
    named = {
        name: np.array([getattr(clip, name) or "" for clip in clips], dtype=str)
        for name in ("gender", "language", "corpus")
    }
    named["duration"] = np.array([_length_group(clip) for clip in clips], dtype=str)
    return {name: groups for name, groups in named.items() if len(set(groups) - {""}) > 1}


def _length_group(clip: Utterance) -> str:
    seconds = clip.duration or _stated_seconds(clip)
    return "" if seconds is None else DURATIONS[int(np.searchsorted(EDGES, seconds, side="right"))]


def _stated_seconds(clip: Utterance) -> float | None:
    """What a file's header says of its duration; None where libsndfile cannot tell."""
    import soundfile

    if clip.start is not None:
        return None
    try:
        found = soundfile.info(str(clip.audio))
    except (soundfile.LibsndfileError, OSError, RuntimeError):
        return None
    return found.frames / found.samplerate
