"""From features to what a head says of them, by one model or several, adapted to the clips or not.

T: frames. W: windows. K: chosen labels. D: model width. L: layers. P: channels of what is pooled over time. N: rows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.arrays import EncodedAudio
from emotion2vec.extraction.encode.choices import FeatureChoice
from emotion2vec.guesses import unknown
from emotion2vec.tasks.adaptation import LEAST_CLIPS, adapted, alike

if TYPE_CHECKING:
    from torch import Tensor

    from emotion2vec.checkpoint.text import Texts
    from emotion2vec.model.heads import Head
    from emotion2vec.model.speech import SpeechEncoder

LOG = logging.getLogger(__name__)

LEAST_PROBABILITY = 1e-30
"""What is less has no logarithm in float32."""


def read_by(heads: Sequence[Head], width: int, step: int | None) -> FeatureChoice:
    """The features that heads read: pooled on the way where that is all they ask for, and alike, else frames.

    Args:
        heads: whose features they are.
        width: channels D of a frame.
        step: frames of a window; None for whole utterances.
    """
    from emotion2vec.model.heads import PooledHead

    head, layers = heads[0], "all" if any(head.reads_layers for head in heads) else "last"
    pooled = isinstance(head, PooledHead) and all(isinstance(o, PooledHead) and o.width == head.width for o in heads)
    if not pooled or (step and head.width != width):
        return FeatureChoice(layers=layers)
    assert isinstance(head, PooledHead)
    if step:
        return FeatureChoice(layers=layers, downsample=step)
    return FeatureChoice(granularity="utterance", layers=layers, pooling="mean" if head.width == width else "mean+std")


class Scorer:
    """A model's heads on features as `read_by` chose them.

    Args:
        model: whose heads they are.
        choice: the features.
        step: frames of a window; None for whole utterances.
        labels: the chosen K of each head that is asked, by its target.
        texts: what an encoder says of texts, where a head is told what is said.

    Attributes:
        seconds: length of a window in s; None for whole utterances.
    """

    def __init__(
        self,
        model: SpeechEncoder,
        choice: FeatureChoice,
        step: int | None,
        labels: Mapping[str, Sequence[str]],
        texts: Texts | None = None,
    ):
        heads = model.heads()
        self._heads = {name: heads[name] for name in labels}
        self.seconds = None if step is None else step * model.config.grid.stride / SAMPLE_RATE
        self._columns = {name: [heads[name].labels.index(label) for label in its] for name, its in labels.items()}
        self._device, self._dtype = model.device, model.dtype
        self._pooled = choice.granularity == "utterance" or choice.downsample > 1
        self._all_layers = choice.layers == "all"
        self._step = step
        self._texts = texts

    def __call__(self, encoded: EncodedAudio, text: str | None = None) -> dict[str, np.ndarray]:
        """By each head probabilities (W, K) of its labels among themselves, W windows or one utterance; float64.

        What is said in an utterance is told to heads that read it, but not with windows, of which it is not known what
        is said in which. Features are ([L,] T, D), ([L,] W, P) or ([L,] P). A head of values gives these, as they are.
        """
        import torch

        (array,) = encoded.features.values()
        read = torch.from_numpy(array.whole()).to(self._device, self._dtype)
        with torch.inference_mode():
            return {name: self._by(name, head, read, text) for name, head in self._heads.items()}

    def _by(self, name: str, head: Head, read: Tensor, text: str | None) -> np.ndarray:
        """What a head says of windows, or of one utterance."""
        if self._all_layers and not head.reads_layers:
            read = read[-1]
        scores = self._of_pooled(head, read) if self._pooled else self._of_frames(head, read, text)
        if head.config.task == "values":
            values: np.ndarray = scores[:, self._columns[name]].double().cpu().numpy()
            return values
        probabilities = head.probabilities(scores)[:, self._columns[name]]
        rows = np.maximum(probabilities.cpu().numpy().astype(np.float64), LEAST_PROBABILITY)
        shares: np.ndarray = rows / rows.sum(axis=1, keepdims=True)
        return shares

    def _of_pooled(self, head: Head, read: Tensor) -> Tensor:
        """Scores (W, all labels) of windows ([L,] W, P), or (1, all labels) of an utterance ([L,] P)."""
        rows = read.unsqueeze(0) if self._step is None else read.movedim(-2, 0)  # (W, [L,] P)
        scores: Tensor = head.of_pooled(rows)  # type: ignore[operator]
        return scores

    def _of_frames(self, head: Head, read: Tensor, text: str | None) -> Tensor:
        """Scores (W, all labels) of windows of frames ([L,] T, D)."""
        import torch

        if head.reads_text and self._texts is not None and self._step is None:
            said: Tensor = head(read.unsqueeze(0), None, self._texts([text]).to(read))
            return said
        windows = read.split(self._step or read.shape[-2], dim=-2)
        return torch.cat([head(window.unsqueeze(0)) for window in windows])


def choose_labels(heads: Sequence[tuple[str, Head]], classes: str | Sequence[str]) -> list[str]:
    """The labels to tell apart: all that every head uses, or those asked for, in their order.

    Args:
        heads: with names of their models, for messages.
        classes: asked for, also several in one with commas between them; none for all.

    Raises:
        ConfigError: heads have other labels than the first, or there is no such label, or only one is left.
    """
    name, head = heads[0]
    known = head.used_labels
    for other, its in heads[1:]:
        if set(its.used_labels) != set(known):
            ours, theirs = (", ".join(labels) for labels in (known, its.used_labels))
            raise ConfigError(f"{other} has the labels {theirs} and {name} {ours}, expected models with the same ones")
    texts = [classes] if isinstance(classes, str) else classes
    wanted = [label.strip() for text in texts for label in text.split(",")]
    if faults := [unknown("class", label, known) for label in wanted if label not in known]:
        raise ConfigError(f"{'; '.join(faults)}; {name} has {', '.join(known)}")
    chosen = list(dict.fromkeys(wanted)) or known
    if wanted and len(chosen) < 2:
        raise ConfigError(f"classes is {chosen[0]}, expected at least 2 to tell apart")
    return chosen


def further_labels(heads: Sequence[Mapping[str, Head]]) -> dict[str, list[str]]:
    """Labels of the heads beside the main one, by their targets, that all models have with the same labels."""
    first, *others = heads
    return {
        name: head.used_labels
        for name, head in first.items()
        if name and all(name in other and other[name].labels == head.labels for other in others)
    }


@dataclass(frozen=True)
class Opinion:
    """What is thought of a clip.

    Attributes:
        seconds: its length.
        window: length of a window in s; None for whole utterances.
        probabilities: (W, K).
        further: of the heads beside the main one, (W, K) of each, by their targets.
    """

    seconds: float
    window: float | None
    probabilities: np.ndarray
    further: Mapping[str, np.ndarray] = field(default_factory=dict)


class Taker(Protocol):
    """Takes what a model thinks of a clip."""

    def __call__(self, item: Utterance, opinion: Opinion) -> None:
        """Take it; see `pipeline.Sink` for errors."""


class Opinions:
    """Takes the features of each item, see `pipeline.Sink`, and passes on what the heads make of them."""

    in_order = True

    def __init__(self, scorer: Scorer, take: Taker):
        self._scorer = scorer
        self._take = take

    def write(self, item: Utterance, encoded: EncodedAudio) -> None:
        """Score an utterance, or its windows."""
        said = self._scorer(encoded, item.text)
        main = said.pop("")
        self._take(item, Opinion(encoded.seconds, self._scorer.seconds, main, said))


class Held:
    """Keeps opinions until all clips are heard, by `id` of their items."""

    def __init__(self) -> None:
        self.found: dict[int, Opinion] = {}

    def __call__(self, item: Utterance, opinion: Opinion) -> None:
        """See `Taker`."""
        self.found[id(item)] = opinion


def together(held: Sequence[Mapping[int, Opinion]], labels: Sequence[str], *, adapt: bool) -> dict[int, Opinion]:
    """What models think together of the clips that all of them could hear: the mean of their probabilities.

    Args:
        held: opinions of each model, by item.
        labels: names of the K labels.
        adapt: whether each model's are adapted to the clips first, see `tasks.adaptation`.
    """
    keys = [key for key in held[0] if all(key in other for other in held)]
    if not keys:
        return {}
    voices = [[opinions[key].probabilities for key in keys] for opinions in held]  # models × clips × (W, K)
    if adapt:
        voices = [_adapted(voice, labels) for voice in voices]
    opinions = {}
    for number, key in enumerate(keys):
        first = held[0][key]
        further = {name: _mean([one[key].further[name] for one in held]) for name in first.further}
        opinions[key] = Opinion(first.seconds, first.window, _mean([voice[number] for voice in voices]), further)
    return opinions


def _mean(voices: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of what models say (W, K); their windows may end one apart."""
    shortest = min(map(len, voices))
    mean: np.ndarray = np.mean([voice[:shortest] for voice in voices], axis=0)
    return mean


def _adapted(voice: list[np.ndarray], labels: Sequence[str]) -> list[np.ndarray]:
    """Probabilities (W, K) of clips, adapted to all their rows together; as they are where there are too few."""
    rows = np.concatenate(voice)  # (N, K)
    if len(rows) < LEAST_CLIPS:
        LOG.warning("not adapted: %d could be scored, expected at least %d", len(rows), LEAST_CLIPS)
        return voice
    if (found := alike(rows)) is not None:
        LOG.warning(
            "%.0f %% of what is scored is %s before it is adapted: if the clips really are of one emotion, leave "
            "adaptation off, which expects mixed ones and would tell them apart all the same",
            100 * found[1],
            labels[found[0]],
        )
    ends = np.cumsum([len(one) for one in voice])[:-1]
    return np.split(adapted(np.log(rows)), ends)
