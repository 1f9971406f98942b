"""Clips whose labels are probably wrong: a quick head on frozen features contradicts them (confident learning).

Nothing that is trained here is kept. Northcutt et al., 2021, https://arxiv.org/abs/1911.00068, by cleanlab.

N: clips. P: channels of a pooled clip. K: classes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from emotion2vec.checkpoint.opening import load_model
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.devices import choose_device
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.files import write_text
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.decoding import TOGETHER, decoded
from emotion2vec.finetune.scoring import score_waveforms
from emotion2vec.model.heads import pool
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.units import counted

if TYPE_CHECKING:
    from lhotse.cut import Cut

FOLDS = 5
"""Groups of speakers, each of whose clips are judged by a head of the others."""

STRENGTH = 0.01
"""C of the logistic regressions, which larger values make too sure of themselves.

Of 5 % of the labels of EmoDB (535 clips) and ASED (600) that were changed at random, with compact, which knows both
corpora, 73 and 87 % were found, and 100 and 90 % of what was found was changed; with 1.0, 77 and 97 %, and 91 and 69 %.
"""

LISTED = 10
"""Suspects that are shown; a file has them all."""

COLUMNS = ("file", "start", "end", "label", "likely", "score")


@dataclass(frozen=True)
class Suspect:
    """A clip whose label is probably wrong.

    Attributes:
        clip: with the given label.
        likely: the label that the head finds most probable.
        score: probability that it gives the given one.
    """

    clip: Utterance
    likely: str
    score: float


def label_errors(
    config: FinetuneConfig, clips: Sequence[Utterance], cuts: Sequence[Cut], say: Callable[[str], None]
) -> list[Suspect] | None:
    """Find labels that are probably wrong, the least probable first, and say them.

    Args:
        config: of the run, whose model gives the features.
        clips: with labels.
        cuts: of these clips, all of which can be decoded.
        say: shows a line of text to the user.

    Returns:
        None where they cannot be looked for, which is said.
    """
    seconds = sum(cut.duration for cut in cuts)
    try:
        if find_spec("cleanlab") is None:
            raise ConfigError("cleanlab is not installed: pip install 'emotion2vec[cleanlab]'")
        groups = _groups(config, clips)
        model = load_model(config.model, device=str(choose_device(config.run.accelerator)))
    except (ConfigError, CheckpointError) as error:
        say(f"label errors are not looked for: {error}")
        return None
    count = counted(len(cuts), "clip goes", "clips go")
    say(f"label errors: {count} through {config.model} ({seconds:.0f} s), for a head on {FOLDS} folds")
    found = suspects_of(clips, out_of_fold(clips, features_of(model, cuts), groups))
    say(f"{len(found)} of {len(clips)} labels are probably wrong" + (", the least probable first:" if found else ""))
    for one in found[:LISTED]:
        say(f"  {one.clip.stretch}: given {one.clip.label}, likely {one.likely} (score {one.score:.3f})")
    if len(found) > LISTED:
        say(f"  and {len(found) - LISTED} more")
    return found


def _groups(config: FinetuneConfig, clips: Sequence[Utterance]) -> np.ndarray:
    """Group of each clip (N,) that is judged at once: its speaker, or itself where speakers are not told apart.

    Raises:
        ConfigError: there is a single one, or a single class.
    """
    named = [str(clip.speaker) if config.data.speakers else clip.id for clip in clips]
    classes = {clip.label for clip in clips}
    if len(set(named)) < 2 or len(classes) < 2:
        raise ConfigError(
            f"the clips are of {len(classes)} classes by {len(set(named))} speakers, expected at least 2 of each"
        )
    return np.array(named)


def features_of(model: SpeechEncoder, cuts: Sequence[Cut]) -> np.ndarray:
    """Mean and deviation over time (N, P) of the last layer of clips."""

    def pooled(waveforms: Tensor, padding: Tensor | None) -> dict[str, Tensor]:
        encoded = model(waveforms, padding)
        return {"pooled": pool(encoded.frames, encoded.padding, 2 * encoded.frames.shape[-1])}

    rows = []
    for first in range(0, len(cuts), TOGETHER):
        heard = decoded(cuts[first : first + TOGETHER], normalizes=model.config.normalizes)
        waveforms = [one for one in heard if isinstance(one, np.ndarray)]
        rows.append(score_waveforms(pooled, waveforms, torch.device(model.device))["pooled"])
    return np.concatenate(rows)


def out_of_fold(clips: Sequence[Utterance], features: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Probabilities (N, K) of the classes of clips, by logistic regressions on the features (N, P) of other groups.

    A class that the others lack has the probability 0.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names = sorted({clip.label or "" for clip in clips})
    labels = np.array([names.index(clip.label or "") for clip in clips])
    found = np.zeros((len(clips), len(names)))
    folds = StratifiedGroupKFold(min(FOLDS, len(set(groups.tolist()))), shuffle=True, random_state=0)
    for train, test in folds.split(features, labels, groups):
        if not len(test) or len(set(labels[train].tolist())) < 2:
            continue
        head = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000))
        head.fit(features[train], labels[train])
        found[np.ix_(test, head.classes_)] = head.predict_proba(features[test])
    return found


def suspects_of(clips: Sequence[Utterance], probabilities: np.ndarray) -> list[Suspect]:
    """Clips whose labels contradict probabilities (N, K) of the classes in the order of their names."""
    from cleanlab.filter import find_label_issues

    judged = np.flatnonzero(probabilities.sum(axis=1) > 0)
    names = sorted({clip.label or "" for clip in clips})
    labels = np.array([names.index(clips[i].label or "") for i in judged.tolist()])
    rows = probabilities[judged]
    places = find_label_issues(
        labels, rows, return_indices_ranked_by="self_confidence", filter_by="prune_by_class", n_jobs=1
    )
    return [
        Suspect(clips[int(judged[place])], names[int(rows[place].argmax())], float(rows[place, labels[place]]))
        for place in places
    ]


def write_suspects(path: Path, suspects: Sequence[Suspect]) -> None:
    """Write suspects as CSV, see `COLUMNS`.

    Raises:
        StorageError: it cannot be written.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in suspects:
        clip = one.clip
        start = "" if clip.is_whole else clip.start or 0.0
        end = "" if clip.duration is None else (clip.start or 0.0) + clip.duration
        writer.writerow([clip.file, start, end, clip.label, one.likely, f"{one.score:.4f}"])
    write_text(path, stream.getvalue())
