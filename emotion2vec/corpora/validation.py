"""Which training speakers, or clips, choose epochs and settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emotion2vec.corpora.folds import VALIDATION_SHARE, Fold, fold_of, stratified_fold
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.seeding import keyed_seed


def validation_split(
    clips: Sequence[Utterance], fold: Fold, seed: int, share: float = VALIDATION_SHARE
) -> tuple[np.ndarray, np.ndarray]:
    """Divide a fold's training clips into those that train and those that choose the epoch, by whole speakers.

    Where the fold prescribes validation clips, those are taken. Clips without a speaker always train, and speakers are
    held out of the named ones. Where training names at most one speaker, or speakers of too few clips to validate on,
    or the test shares its speakers with training anyway, clips are drawn per label.

    Args:
        clips: the clips that the fold's positions refer to.
        fold: the fold; its test clips are never used.
        seed: changes which speakers or clips are drawn.
        share: of the speakers or clips, held out; at least one speaker or one clip.

    Returns:
        Positions of the training and of the validation clips.
    """
    if fold.valid is not None:
        return fold.train, fold.valid
    random = np.random.default_rng(keyed_seed("validation", seed, fold.name))
    known = [clips[i].speaker for i in fold.train]
    if holds_speakers_out(clips, fold, share):
        speakers = sorted({name for name in known if name is not None})
        count = max(1, round(share * len(speakers)))
        held = set(random.permutation(speakers)[:count].tolist())
        chosen = np.array([name in held for name in known])
    else:
        chosen = stratified_fold([clips[i].label for i in fold.train], round(1 / share), random) == 0
    return fold.train[~chosen], fold.train[chosen]


def selection_fold(clips: Sequence[Utterance], folds: Sequence[Fold]) -> Fold:
    """One fold to choose a checkpoint or a setting by, whose `test` are validation clips.

    Where there is one fold, its validation part is taken and its test never touched. Where every speaker is tested in
    some fold, a fifth of all speakers is; their scores in the folds are then no longer unseen.

    Args:
        clips: the clips that positions refer to.
        folds: the folds that are to be reported later.
    """
    if len(folds) == 1:
        train, valid = validation_split(clips, folds[0], seed=0)
    else:
        everything = np.arange(len(clips))
        shared = tuple(sorted({name for fold in folds for name in fold.shared_speakers}))
        pool = Fold(name="selection", train=everything, test=everything[:0], shared_speakers=shared)
        train, valid = validation_split(clips, pool, seed=0)
    return fold_of(clips, "selection", train, valid)


def holds_speakers_out(clips: Sequence[Utterance], fold: Fold, share: float = VALIDATION_SHARE) -> bool:
    """Whether `validation_split` holds whole speakers of a fold's training clips out, and not single clips."""
    named = [clips[i].speaker for i in fold.train if clips[i].speaker is not None]
    enough = len(set(named)) > 1 and len(named) >= share * len(fold.train)
    return fold.valid is None and enough and not fold.shared_speakers
