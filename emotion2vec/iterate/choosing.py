"""Which clips of the pool a round learns from: what models say of them, filtered, and what is checked of that.

N: clips. K: classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ConfigError
from emotion2vec.files import write_json
from emotion2vec.finetune.splits import Split
from emotion2vec.iterate.config import IteratePlan
from emotion2vec.iterate.filters import KEPT, Opinions, refused
from emotion2vec.iterate.labels import Say, label_pool, opinions_of
from emotion2vec.iterate.people import People
from emotion2vec.iterate.pool import Pool, as_labelled, mostly_readable
from emotion2vec.iterate.tables import LABELS, write_labels
from emotion2vec.iterate.transcripts import read_transcripts
from emotion2vec.progress import ProgressCallback
from emotion2vec.units import counted

SAID, BEGUN = "said", "begun.json"
"""Folder of what a model says of the pool, and which clips a round's training was begun on."""

SECOND = "second"
"""Folder of the second model, and of what it says of the pool, for all rounds."""


@dataclass(frozen=True)
class Choice:
    """What a round learns from beside human labels.

    Attributes:
        opinions: of N clips of the pool.
        reasons: (N,) why they are refused; `KEPT` where they are not.
        classes: K.
    """

    opinions: Opinions
    reasons: np.ndarray
    classes: Sequence[str]

    def beside(self, people: People, pool: Pool) -> tuple[Corpus, Split]:
        """The human-labelled clips, and behind them those of the pool that are kept, which train."""
        corpus, split, numbers = people.corpus, people.split, self.opinions.numbers
        kept = np.flatnonzero(self.reasons == KEPT).tolist()
        more = [as_labelled(pool.found.utterances[i], self.classes[numbers[i]]) for i in kept]
        first = len(corpus.utterances)
        train = np.concatenate([split.train, np.arange(first, first + len(more))])
        return replace(corpus, utterances=(*corpus.utterances, *more)), replace(split, train=train)


def choose(
    plan: IteratePlan,
    pool: Pool,
    classes: Sequence[str],
    number: int,
    second: str | Path | None,
    say: Say,
    on_progress: ProgressCallback | None,
) -> Choice:
    """Have the last accepted model label the pool, keep what the filters let pass, and write the table of all clips.

    Args:
        plan: of the iterations.
        pool: speech without labels.
        classes: K.
        number: of the round.
        second: a second model; None where none is asked.
        say: shows a line of text to the user.
        on_progress: called with a `Progress` after each clip that is labelled.

    Raises:
        ConfigError: a class keeps no clip and `filters.lacking` says to stop then, or the training of this round was
            begun on other clips.
        ManifestError: too much of the pool cannot be read.
    """
    folder, found = Path(plan.run.dir), pool.found
    own = folder / f"round_{number}"
    labeller, window = folder / f"round_{number - 1}" / "model", plan.filters.window or None
    faults = label_pool(
        plan, pool, labeller, own / SAID, classes=classes, window=window, say=say, on_progress=on_progress
    )
    mostly_readable(plan, [str(fault) for fault in faults], len(found.utterances))
    if faults:
        say(f"warning: {counted(len(faults), 'clip')} of the pool cannot be read, such as {faults[0]}")
    told = None
    if second is not None:
        told = folder / SECOND / SAID
        label_pool(plan, pool, second, told, classes=classes, window=None, say=say, on_progress=on_progress)
    text = read_transcripts(plan, found, classes, say) if plan.filters.text else None
    opinions = opinions_of(found, own / SAID, told, text)
    left_out = [pool.left_out.get(one, KEPT) for one in opinions.ids]
    choice = Choice(opinions, refused(opinions, plan.filters, left_out), classes)
    write_labels(own / LABELS, found, opinions, choice.reasons, classes)
    _settle_classes(plan, number, choice, say)
    _check_begun(own, choice)
    return choice


def _settle_classes(plan: IteratePlan, number: int, choice: Choice, say: Say) -> None:
    """See to it that every class keeps a clip, or is learnt from human labels alone.

    Raises:
        ConfigError: none keeps one, or one of them keeps none and `filters.lacking` says to stop then.
    """
    numbers, heard, kept = choice.opinions.numbers, choice.opinions.heard, choice.reasons == KEPT
    lacking = [place for place in range(len(choice.classes)) if not (kept & (numbers == place)).any()]
    if not lacking:
        return
    named = ", ".join(
        f"{choice.classes[place]} ({(heard & (numbers == place)).sum()} labelled so)" for place in lacking
    )
    text = f"round {number} keeps no clip of {named}, of {counted(int(kept.sum()), 'kept clip')} in all"
    if not kept.any():
        raise ConfigError(f"{text}; expected milder filters: {LABELS} of the round says why each clip was refused")
    if plan.filters.lacking == "stop":
        raise ConfigError(
            f"{text}; expected milder filters, or filters.lacking=human, by which such classes learn from human labels "
            f"alone: {LABELS} of the round says why each clip was refused"
        )
    say(f"warning: {text}; such classes learn from human labels alone")


def _check_begun(own: Path, choice: Choice) -> None:
    """Note which clips a round's training is begun on, or check that they are those that it was begun on.

    Raises:
        ConfigError: they are others.
    """
    numbers, kept = choice.opinions.numbers, np.flatnonzero(choice.reasons == KEPT).tolist()
    chosen = json.dumps([[choice.opinions.ids[i], int(numbers[i])] for i in kept])
    facts = {"clips": len(kept), "digest": hashlib.blake2b(chosen.encode(), digest_size=16).hexdigest()}
    if (own / BEGUN).is_file() and (own / "model").is_dir():
        before = json.loads((own / BEGUN).read_text(encoding="utf-8"))
        if before != facts:
            raise ConfigError(
                f"{own / 'model'} was begun on {before['clips']} clips of the pool, and filters or pool now choose "
                f"{len(kept)}, or others; expected the same, or that folder removed, which trains it anew"
            )
    write_json(own / BEGUN, facts)
