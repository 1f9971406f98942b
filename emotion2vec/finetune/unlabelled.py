"""Clips that lack what the main goal learns and have another target: they train the other heads alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from emotion2vec.corpora.folds import Fold
from emotion2vec.corpora.joining import Part, joined
from emotion2vec.corpora.prescribed import PART_OF
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.finetune.aims import has_target
from emotion2vec.finetune.joint import JointSettings
from emotion2vec.units import counted


def has_main(clip: Utterance, targets: Sequence[str]) -> bool:
    """Whether a clip has what the main goal learns: its values, or a class where there are none."""
    return all(name in clip.values for name in targets) if targets else bool(clip.label)


def with_unlabelled(
    corpus: Corpus, found: Mapping[str, Corpus], targets: Sequence[str], joint: JointSettings
) -> Corpus:
    """A corpus with the clips behind it that lack what the main goal learns and have some other target.

    Args:
        corpus: the clips that have it, of all corpora together.
        found: the corpora, by name.
        targets: the values that are the main goal; none for classes.
        joint: names the other targets.
    """
    wanted = joint.targets
    several = len(found) > 1
    more: list[Utterance] = []
    for name, one in found.items():
        part = Part(name=name, corpus=one)
        lacking = [clip for clip in one.utterances if not has_main(clip, targets)]
        kept = [clip for clip in lacking if any(has_target(clip, target, values=of) for target, of in wanted)]
        more += [joined(part, clip, None) if several else clip for clip in kept]
    if not more:
        return corpus
    files = {clip.file for clip in more}
    return replace(
        corpus,
        utterances=(*corpus.utterances, *more),
        left_out={file: why for file, why in corpus.left_out.items() if file not in files},
        warnings=(
            *corpus.warnings,
            f"only other targets are learnt of {counted(len(more), 'clip')} without what the main goal learns",
        ),
    )


def beside(corpus: Corpus, targets: Sequence[str], fold: Fold, scheme: str) -> Fold:
    """A fold with the clips that lack the main target in its training, but for those that its test is kept apart from.

    Left out are clips of tested speakers, sessions and conversations, and where a scheme tests whole corpora or
    languages, of these; of a published split only its training is taken.
    """
    clips = corpus.utterances
    apart = ["speaker", "session", "dialogue", *({"corpus", "language"} & {scheme})]
    tested = {(name, getattr(clips[i], name)) for i in fold.test for name in apart}
    more = [
        number
        for number, clip in enumerate(clips)
        if not has_main(clip, targets)
        and (scheme != "official" or PART_OF.get((clip.split or "").lower()) == "train")
        and not any((name, its) in tested for name in apart if (its := getattr(clip, name)) is not None)
    ]
    return replace(fold, train=np.concatenate([fold.train, np.array(more, fold.train.dtype)])) if more else fold


def main_clips(corpus: Corpus, targets: Sequence[str]) -> Corpus:
    """The clips that have what the main goal learns; their positions stay the same, as the others stand behind."""
    return corpus.keep([has_main(clip, targets) for clip in corpus.utterances], {})
