"""Human-labelled clips, divided once for all rounds: those that train, those that choose, and those held out.

N: clips.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from emotion2vec.corpora.folds import fold_of
from emotion2vec.corpora.prescribed import parts_of
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.splits import Split, check_apart, fold_split, inner_split
from emotion2vec.iterate.config import POOL, IteratePlan
from emotion2vec.seeding import keyed_seed
from emotion2vec.units import counted


@dataclass(frozen=True)
class People:
    """Human-labelled clips.

    Attributes:
        corpus: all of them.
        split: positions of those that train and those that choose; the same in every round.
        held: positions of those that are held out and have a class, by their corpus.
    """

    corpus: Corpus
    split: Split
    held: Mapping[str, np.ndarray]


def divide(plan: IteratePlan, corpus: Corpus) -> People:
    """Hold out the clips that rounds are accepted by: of a prescribed test, of whole corpora, and of speakers.

    Corpora that prescribe a test hold out that and no speakers. Those who choose the checkpoint are drawn from the
    rest, as `finetune` does.

    Raises:
        ConfigError: nothing with a class is held out, or nothing is left to learn from; speakers are unknown, or in two
            parts; a corpus is called as the pool.
    """
    named = [replace(clip, corpus=clip.corpus or corpus.name) for clip in corpus.utterances]
    corpus = replace(corpus, utterances=tuple(named))
    clips, whole = corpus.utterances, set(plan.accept.corpora)
    names = np.array([clip.corpus for clip in clips])
    if POOL in names:
        raise ConfigError(
            f"a corpus of human-labelled clips is called {POOL}, as unlabeled clips are; expected another"
        )
    parts = parts_of(clips)
    if parts is not None:
        check_apart(plan, corpus)
    tested = np.zeros(len(clips), bool)
    valid = np.array([], int) if parts is None else parts["valid"]
    if parts is not None:
        tested[parts["test"]] = True
    prescribing = set(names[tested].tolist())
    tested |= np.isin(names, sorted(whole))
    rest = np.flatnonzero(~np.isin(names, sorted(prescribing | whole)))
    rest = np.setdiff1d(rest, valid)
    if plan.accept.share and rest.size:
        seed, speakers = keyed_seed(plan.run.seed, "held out"), plan.data.speakers
        tested[inner_split(corpus, rest, share=plan.accept.share, seed=seed, speakers=speakers).valid] = True
    valid = valid[~tested[valid]]
    train = np.setdiff1d(np.flatnonzero(~tested), valid)
    if not tested.any():
        raise ConfigError(
            f"accept.share is {plan.accept.share:g} and no other clip is held out, expected a share of the speakers, "
            "accept.corpora, or a split test in the list"
        )
    if not train.size:
        raise ConfigError("all clips are held out, expected some to learn from")
    fold = fold_of(clips, "held out", train, np.flatnonzero(tested), valid if valid.size else None)
    if fold.shared_speakers and plan.data.speakers:
        raise ConfigError(
            f"speakers {', '.join(fold.shared_speakers[:5])} are held out and learnt from, expected each in one part"
        )
    held: dict[str, list[int]] = defaultdict(list)
    for place in fold.test.tolist():
        if clips[place].label:  # others have further targets alone
            held[str(names[place])].append(place)
    if not held:
        raise ConfigError(f"none of {counted(len(fold.test), 'held-out clip')} has a class, expected some to judge by")
    return People(corpus, fold_split(plan, corpus, fold), {name: np.array(held[name]) for name in sorted(held)})
