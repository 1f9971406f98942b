"""What labelled speech is like before anything is trained: labels, splits, audio, recordings that are there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emotion2vec.audio.decode.reading import read_header
from emotion2vec.corpora.audit import audit_split
from emotion2vec.corpora.faults import SHOWN, examples
from emotion2vec.corpora.folds import Fold, fold_of, make_folds
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.data.cuts import cuts_of
from emotion2vec.errors import AudioError, ConfigError
from emotion2vec.files import check_writable
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.decoding import TOGETHER, decoded
from emotion2vec.finetune.labelled import read_labelled, show_labels
from emotion2vec.finetune.sounds import Heard, measure, near_duplicates
from emotion2vec.finetune.splits import Split, fold_split, whole_split
from emotion2vec.finetune.spoken.targets import Spoken
from emotion2vec.finetune.suspects import label_errors, write_suspects
from emotion2vec.tasks.targets import make_goal
from emotion2vec.units import counted

if TYPE_CHECKING:
    from lhotse.cut import Cut

LOUD, QUIET = -10.0, -45.0
"""Mean levels in dB of full scale beyond which a clip is named."""


def check(config: FinetuneConfig, say: Callable[[str], None], suspects: Path | None = None) -> int:
    """Say what there is to learn from, and train nothing.

    Args:
        config: a checked configuration.
        say: shows a line of text to the user.
        suspects: CSV to write clips to whose labels are probably wrong, see `label_errors`.

    Returns:
        Clips that cannot be used.

    Raises:
        ConfigError: as `finetune` would, or suspects cannot be looked for and written.
        ManifestError: the same.
    """
    if suspects is not None:
        check_writable(suspects)
    corpus = read_labelled(config.data, config.joint)
    show_labels(corpus, say)
    split = whole_split(config, corpus)
    for line in [*_table(corpus, split), *_split_warnings(config, corpus, split), *_spoken(config, corpus)]:
        say(line)
    clips = corpus.utterances
    opened = cuts_of(clips, min_samples=config.data.min_samples, workers=config.data.workers)
    heard: dict[str, Heard] = {}
    faults = [str(fault) for fault in [*opened.faults, *opened.too_short]]
    for first in range(0, len(opened.cuts), TOGETHER):
        cuts = opened.cuts[first : first + TOGETHER]
        for cut, waveform in zip(cuts, decoded(cuts, normalizes=False), strict=True):
            if isinstance(waveform, AudioError):
                faults.append(str(waveform))
            else:
                heard[cut.id] = measure(waveform)
    for line in [*_audio(corpus, heard), *_unusable([*faults, *(f"{k}: {v}" for k, v in corpus.left_out.items())])]:
        say(line)
    if not config.data.targets:
        labelled = {clip.id for clip in clips if clip.label}
        cuts = [cut for cut in opened.cuts if cut.id in heard and cut.id in labelled]
        _suspects(config, corpus, cuts, say, suspects)
    return len(faults) + len(corpus.left_out)


def _suspects(
    config: FinetuneConfig, corpus: Corpus, cuts: Sequence[Cut], say: Callable[[str], None], output: Path | None
) -> None:
    """Say whose labels are probably wrong, and write them."""
    by_id = {clip.id: clip for clip in corpus.utterances}
    found = label_errors(config, [by_id[cut.id] for cut in cuts], cuts, say)
    if output is None:
        return
    if found is None:
        raise ConfigError(f"{output} is not written: label errors could not be looked for")
    write_suspects(output, found)
    say(f"they are in {output}")


def _table(corpus: Corpus, split: Split) -> list[str]:
    """Clips and speakers of every class, those that train and those that choose."""
    clips = corpus.utterances
    rows = [["label", "clips", "speakers", "train", "held out"]]
    for label in corpus.classes:
        own = [clip for clip in clips if clip.label == label]
        parts = [sum(clips[i].label == label for i in part) for part in (split.train, split.valid)]
        rows.append([label, *map(str, (len(own), len({clip.speaker for clip in own} - {None}), *parts))])
    speakers = [str(len({clips[i].speaker for i in part} - {None})) for part in (split.train, split.valid)]
    everybody = str(len({clip.speaker for clip in clips} - {None}))
    rows.append(["all", str(len(clips)), everybody, str(len(split.train)), str(len(split.valid))])
    rows.append(["speakers", "", everybody, *speakers])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _split_warnings(config: FinetuneConfig, corpus: Corpus, split: Split) -> list[str]:
    """What folds, or the inner split, share between training and test."""
    folds: list[Fold] = [fold_of(corpus.utterances, "held out", split.train, split.valid)]
    if config.evaluate.folds:
        folds = make_folds(corpus, config.evaluate.folds)
    values = make_goal(corpus, config.data.targets) if config.data.targets else None
    warnings = audit_split(corpus, folds, describe=None if values is None else values.describe).warnings
    warnings += split.notes
    if config.evaluate.folds:
        warnings += [text for fold in folds for text in _of_fold(config, corpus, fold)]
    return [f"warning: {warning}" for warning in warnings]


def _of_fold(config: FinetuneConfig, corpus: Corpus, fold: Fold) -> list[str]:
    """What a fold shares with its test, and classes that it has none to train on or to choose by.

    Speakers of its training are held out by then.
    """
    split, clips = fold_split(config, corpus, fold), corpus.utterances
    found = [f"fold {fold.name}: {note}" for note in split.notes]
    if config.data.targets:
        return found
    for rows, what in ((split.train, "train on"), (split.valid, "choose by")):
        if lacking := sorted(set(corpus.classes) - {str(clips[i].label) for i in rows}):
            found.append(f"fold {fold.name} has no clip of {examples(lacking)} to {what}")
    return found


def _spoken(config: FinetuneConfig, corpus: Corpus) -> list[str]:
    """What clips say in phonemes, and which do not, where these are to be learnt."""
    if not config.phonemes.weight:
        return []
    found = Spoken.of(corpus.utterances, config.phonemes.pronunciation)
    different = {symbol for symbols in found.symbols.values() for symbol in symbols}
    shown = f"phonemes: {len(found.symbols)} of {counted(len(corpus.utterances), 'clip')}, {len(different)} symbols"
    return [f"{shown}: {' '.join(sorted(different))}", *(f"warning: {line}" for line in found.told())]


def _audio(corpus: Corpus, heard: dict[str, Heard]) -> list[str]:
    """Sample rates, lengths, levels, and recordings that are there twice."""
    clips = [clip for clip in corpus.utterances if clip.id in heard]
    if not clips:
        return []
    found = [heard[clip.id] for clip in clips]
    rates = Counter(_rate(str(clip.path)) for clip in clips)
    seconds, levels = np.array([one.seconds for one in found]), np.array([one.level for one in found])
    lines = ["sample rates: " + ", ".join(f"{rate} ({count})" for rate, count in rates.most_common())]
    for name, values, unit in (("lengths", seconds, "s"), ("levels", levels, "dB of full scale")):
        low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
        lines.append(f"{name}: {low:.1f} to {high:.1f} {unit} (5 to 95 %), median {middle:.1f}")
    odd = {
        f"louder than {LOUD:g} dB": levels > LOUD,
        f"quieter than {QUIET:g} dB": levels < QUIET,
        "clipped": np.array([one.clipped for one in found]) > 1e-3,
    }
    for what, which in odd.items():
        if which.any():
            lines.append(
                f"warning: {which.sum()} clips are {what}: {examples(clips[i].stretch for i in np.flatnonzero(which))}"
            )
    if pairs := near_duplicates(found):
        other = sum(clips[a].label != clips[b].label for a, b in pairs)
        named = examples(f"{clips[a].stretch} = {clips[b].stretch}" for a, b in pairs)
        also = f", {other} of them under different labels" * bool(other)
        lines.append(f"warning: {len(pairs)} pairs of clips sound like one recording{also}: {named}")
    return lines


def _rate(path: str) -> str:
    try:
        header = read_header(path, path, thorough=False)
    except AudioError:
        return "unknown"
    return f"{header.rate} Hz" + f" × {header.channels} channels" * (header.channels > 1)


def _unusable(faults: Sequence[str]) -> list[str]:
    """The first of the faults, and how many there are."""
    if not faults:
        return []
    more = [f"  and {len(faults) - SHOWN} more"] * (len(faults) > SHOWN)
    return [f"{counted(len(faults), 'clip')} cannot be used:", *(f"  {fault}" for fault in faults[:SHOWN]), *more]
