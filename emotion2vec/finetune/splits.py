"""Which clips train and which choose the checkpoint: always by whole speakers, in each corpus.

N: clips.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.folds import stratified_fold
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.seeding import keyed_seed


@dataclass(frozen=True)
class Split:
    """Positions of the clips that train, and of those that choose.

    Attributes:
        train: in rising order.
        valid: the same.
        held: speakers of `valid`; empty where clips are held out without regard to speakers.
    """

    train: np.ndarray
    valid: np.ndarray
    held: tuple[str, ...]


def whole_split(config: FinetuneConfig, corpus: Corpus) -> Split:
    """All clips of a corpus, some of them held out, see `inner_split`."""
    return split_of(config, corpus, np.arange(len(corpus.utterances)))


def split_of(config: FinetuneConfig, corpus: Corpus, rows: np.ndarray, valid: np.ndarray | None = None) -> Split:
    """Training clips divided as a configuration says, or as a protocol prescribes by `valid`; see `inner_split`."""
    if valid is not None:
        held = {clip.speaker for i in valid if (clip := corpus.utterances[i]).speaker is not None}
        return Split(rows, valid, tuple(sorted(map(str, held))))
    share, seed = config.validation.share, config.run.seed
    return inner_split(corpus, rows, share=share, seed=seed, speakers=config.data.speakers)


def inner_split(corpus: Corpus, rows: np.ndarray, *, share: float, seed: int, speakers: bool = True) -> Split:
    """Hold out some of the training clips, to choose the checkpoint by.

    In each corpus a share of its speakers is held out, at least one; a corpus of one speaker trains as a whole.

    Args:
        corpus: the clips that positions refer to.
        rows: positions of the clips that may be learnt from; no others are touched.
        share: of the speakers.
        seed: changes who is held out.
        speakers: False where speakers are unknown, and clips are held out as they come.

    Raises:
        ConfigError: clips without a speaker, or a single speaker in all.
    """
    clips = corpus.utterances
    random = np.random.default_rng(keyed_seed("inner split", seed))
    if not speakers:
        held = stratified_fold([clips[i].label for i in rows], max(2, round(1 / share)), random) == 0
        return Split(rows[~held], rows[held], ())
    unknown = [clips[i].file for i in rows if clips[i].speaker is None]
    if unknown:
        raise ConfigError(
            f"{len(unknown)} of {len(rows)} clips have no speaker: {examples(unknown)}; validation holds out whole "
            "speakers, expected a column `speaker`, or data.speakers=false (--no-speakers), which marks every score"
        )
    by_corpus: dict[str, set[str]] = defaultdict(set)
    for i in rows:
        by_corpus[clips[i].corpus or ""].add(str(clips[i].speaker))
    chosen: set[str] = set()
    for name in sorted(by_corpus):
        chosen |= _held(sorted(by_corpus[name]), share, random)
    if not chosen:
        raise ConfigError(
            f"the clips are of 1 speaker ({examples(sorted(set().union(*by_corpus.values())))}), expected at least 2, "
            "one of whom is held out; data.speakers=false holds out clips instead, which marks every score"
        )
    member = np.array([clips[i].speaker in chosen for i in rows])
    return Split(rows[~member], rows[member], tuple(sorted(chosen)))


def _held(speakers: Sequence[str], share: float, random: np.random.Generator) -> set[str]:
    """Speakers of one corpus that are held out; never all of them."""
    count = min(max(1, round(share * len(speakers))), len(speakers) - 1)
    return set(random.permutation(list(speakers))[:count].tolist())
