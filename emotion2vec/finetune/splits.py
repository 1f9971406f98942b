"""Which clips train and which choose the checkpoint: as lists prescribe, or by whole speakers, in each corpus.

N: clips.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.folds import Fold, stratified_fold
from emotion2vec.corpora.prescribed import PART_OF, parts_of
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.overlaps import check_overlaps
from emotion2vec.seeding import keyed_seed


@dataclass(frozen=True)
class Split:
    """Positions of the clips that train, and of those that choose.

    Attributes:
        train: in rising order.
        valid: the same.
        held: speakers of `valid`; empty where clips are held out without regard to speakers.
        notes: what is to be said of it.
    """

    train: np.ndarray
    valid: np.ndarray
    held: tuple[str, ...]
    notes: tuple[str, ...] = ()


def whole_split(config: FinetuneConfig, corpus: Corpus) -> Split:
    """All clips of a corpus, in the split that they prescribe, whose test is left alone, or see `inner_split`.

    Raises:
        ConfigError: the prescribed split has nothing to train on, or see `check_apart`; as for `inner_split` and
            `check_overlaps`.
    """
    parts = parts_of(corpus.utterances)
    if parts is None:
        split = _held_out(config, corpus, np.arange(len(corpus.utterances)))
        return _compared(corpus, split, own=False)
    check_apart(config, corpus)
    if not parts["train"].size:
        raise ConfigError("no clip has split train, expected some")
    split = _prescribed_split(config, corpus, parts["train"], parts["valid"])
    split = _compared(corpus, split, own=parts["valid"].size > 0)
    return _compared(corpus, split, own=True, test=parts["test"])


def fold_split(config: FinetuneConfig, corpus: Corpus, fold: Fold) -> Split:
    """The clips of a fold that are not its test, divided as its protocol prescribes, or see `inner_split`.

    Raises:
        ConfigError: as for `whole_split`.
    """
    official = config.evaluate.folds == "official"
    if official:
        check_apart(config, corpus)
        split = _prescribed_split(config, corpus, fold.train, np.array([], int) if fold.valid is None else fold.valid)
    elif fold.valid is not None:
        split = Split(fold.train, fold.valid, _speakers(config, corpus, fold.valid))
    else:
        split = _held_out(config, corpus, fold.train)
    split = _compared(corpus, split, own=official and fold.valid is not None)
    return _compared(corpus, split, own=official, test=fold.test)


def _compared(corpus: Corpus, split: Split, *, own: bool, test: np.ndarray | None = None) -> Split:
    """The split, with what is to be said of recordings that its sides share, or that a test shares with both."""
    sides = (("train", split.train), ("choose", split.valid))
    if test is not None:
        sides = (("learn", np.concatenate([split.train, split.valid])), ("test", test))
    notes = check_overlaps(corpus.utterances, *sides, own=own)
    return replace(split, notes=(*split.notes, *notes))


def _held_out(config: FinetuneConfig, corpus: Corpus, rows: np.ndarray) -> Split:
    """Training clips divided as a configuration says, see `inner_split`."""
    share, seed = config.validation.share, config.run.seed
    return inner_split(corpus, rows, share=share, seed=seed, speakers=config.data.speakers)


def check_apart(config: FinetuneConfig, corpus: Corpus) -> None:
    """Check that no speaker is in two parts of a prescribed split, or in two folds.

    Raises:
        ConfigError: some are, or speakers are unknown, and `data.speakers` does not accept that.
    """
    if not config.data.speakers:
        return
    found: dict[str, set[str]] = defaultdict(set)
    given = [clip for clip in corpus.utterances if clip.split is not None or clip.fold is not None]
    _check_known(given)
    for clip in given:
        part = f"fold {clip.fold}" if clip.split is None else PART_OF.get(clip.split.lower(), clip.split)
        found[str(clip.speaker)].add(part)
    if shared := [f"{name} in {' and '.join(sorted(parts))}" for name, parts in found.items() if len(parts) > 1]:
        raise ConfigError(
            f"{len(shared)} of {len(found)} speakers are in more than one part of the split: {examples(shared)}; "
            "expected each in one, or data.speakers=false (--no-speakers), which marks every score"
        )


def _check_known(clips: Sequence[Utterance]) -> None:
    """Check that all clips have a speaker.

    Raises:
        ConfigError: some have none.
    """
    if unknown := [clip.file for clip in clips if clip.speaker is None]:
        raise ConfigError(
            f"{len(unknown)} of {len(clips)} clips have no speaker: {examples(unknown)}; validation holds out whole "
            "speakers, expected a column `speaker`, or data.speakers=false (--no-speakers), which marks every score"
        )


def _prescribed_split(config: FinetuneConfig, corpus: Corpus, train: np.ndarray, valid: np.ndarray) -> Split:
    """A prescribed split, to whose validation corpora that have no part in it give speakers of their training."""
    clips = corpus.utterances
    if not valid.size:
        return _held_out(config, corpus, train)
    covered = {clips[i].corpus for i in valid}
    others = np.array([i for i in train if clips[i].corpus not in covered], int)
    if others.size and (not config.data.speakers or len({clips[i].speaker for i in others}) > 1):
        more = _held_out(config, corpus, others)
        train, valid = np.setdiff1d(train, more.valid), np.union1d(valid, more.valid)
    return Split(train, valid, _speakers(config, corpus, valid))


def _speakers(config: FinetuneConfig, corpus: Corpus, rows: np.ndarray) -> tuple[str, ...]:
    """Names of the speakers of clips, none where speakers are not told apart."""
    names = {corpus.utterances[i].speaker for i in rows} - {None}
    return tuple(sorted(map(str, names))) if config.data.speakers else ()


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
    _check_known([clips[i] for i in rows])
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
