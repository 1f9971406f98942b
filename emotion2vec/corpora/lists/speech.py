"""Recordings -> their stretches with speech."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from emotion2vec.audio.vad import SpeechDetector
from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.utterance import Utterance


def cut_at_silence(items: Sequence[Utterance], workers: int) -> tuple[list[Utterance], list[Fault]]:
    """Replace recordings by their stretches with speech, named `<id>_<start>_<end>`; those without any are faults.

    Raises:
        ConfigError: a package is missing.
    """
    detector = SpeechDetector()

    def find(item: Utterance) -> list[tuple[float, float]] | Fault:
        try:
            return detector.regions(item.blocks()) or Fault(item.where, "no speech was found in it")
        except Exception as error:  # whatever one file does to a decoder must not end a job of many
            return Fault(item.where, str(error).removeprefix(f"{item.where}: ").removeprefix(f"{item.audio}: "))

    cut: list[Utterance] = []
    faults: list[Fault] = []
    with ThreadPoolExecutor(workers, thread_name_prefix="vad") as pool:
        for item, found in zip(items, pool.map(find, items), strict=True):
            if isinstance(found, Fault):
                faults.append(found)
            else:
                cut += [_stretch(item, start, end) for start, end in found]
    return cut, faults


def _stretch(item: Utterance, start: float, end: float) -> Utterance:
    """The part of an item from `start` to `end`, in s from the item's own start."""
    first = item.start or 0.0
    name = f"{item.id}_{first + start:.3f}_{first + end:.3f}"
    return replace(item, id=name, start=first + start, duration=end - start)
