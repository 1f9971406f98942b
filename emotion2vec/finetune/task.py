"""What one model learns: clips that train and clips that choose, as sources, labels and groups to draw from.

S: samples.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.checkpoint.heard import Heard, utterance_key
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.corpora.faults import Fault, examples
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.data.corpus import TrainingCorpus
from emotion2vec.data.cuts import cuts_of
from emotion2vec.data.drawn import Draws
from emotion2vec.data.micro_batch import random_crop
from emotion2vec.data.sources import CutSource
from emotion2vec.errors import AudioError, ConfigError, ManifestError
from emotion2vec.finetune.aims import MAIN, Aim, further_aims, weight_of
from emotion2vec.finetune.config import FinetuneConfig, LabelledData
from emotion2vec.finetune.decoding import decoded
from emotion2vec.finetune.entries import part
from emotion2vec.finetune.goals import ClassGoal, ValueGoal
from emotion2vec.finetune.held_out import Clip
from emotion2vec.finetune.labelled import shares_of
from emotion2vec.finetune.splits import Split
from emotion2vec.finetune.spoken.settings import PHONEMES
from emotion2vec.finetune.spoken.targets import spoken_aim
from emotion2vec.finetune.texts import text_notes
from emotion2vec.finetune.unlabelled import has_main
from emotion2vec.model.frame_heads import SHARPNESS
from emotion2vec.seeding import keyed_seed
from emotion2vec.tasks.class_losses import ClassLoss, class_weights
from emotion2vec.tasks.scaling import Scaling
from emotion2vec.units import counted

if TYPE_CHECKING:
    from lhotse.cut import Cut


@dataclass(frozen=True)
class Task:
    """What one model learns.

    Attributes:
        config: the run's configuration.
        utterances: by id, those that train or choose.
        source: audio of those that train.
        held: cuts of those that choose.
        found: what trains, for the report, with what was left out.
        aims: what is learnt of them, the main goal first.
        groups: positions in the source that are drawn from equally often.
        notes: what is to be said of clips that teach less than others.
    """

    config: FinetuneConfig
    utterances: dict[str, Utterance]
    source: CutSource
    held: list[Cut]
    found: TrainingCorpus
    aims: dict[str, Aim]
    groups: list[np.ndarray]
    notes: list[str] = field(default_factory=list)

    @property
    def heard(self) -> Heard:
        """Record of the clips whose labels train or choose."""
        cuts = [*self.source.cuts, *self.held]
        keys = [utterance_key(cut.id, cut.duration) for cut in cuts]
        return Heard().with_more(labels=keys)

    def held_out(self, *, normalizes: bool, say: Callable[[str], None]) -> list[Clip]:
        """Decode the clips that choose, up to `validation.seconds` of them, drawn over classes; faults are said.

        Raises:
            ManifestError: none can be decoded.
        """
        cuts = _within(self.held, self.config.validation.seconds, keyed_seed(self.config.run.seed, "validation"))
        clips = []
        for cut, waveform in zip(cuts, decoded(cuts, normalizes=normalizes), strict=True):
            if isinstance(waveform, AudioError):
                say(f"left out of validation: {waveform}")
            else:
                truths = {n: aim.goal.truth(cut.id) for n, aim in self.aims.items() if cut.id in aim.goal.weights}
                clip = self.utterances[cut.id]
                clips.append(Clip(clip.stretch, waveform, truths, clip.corpus or "", clip.text))
        if not any(MAIN in clip.truths for clip in clips):
            raise ManifestError(f"none of {len(cuts)} held-out clips can be decoded and judged, expected at least one")
        seconds = sum(clip.waveform.size for clip in clips) / SAMPLE_RATE
        say(f"validation: {counted(len(clips), 'clip')}, {seconds:.0f} s")
        return clips

    def first_places(self, count: int) -> list[int]:
        """Places in the source of the clips that come first in the order of draws, each once, or of all."""
        total = len(self.source.cuts)
        if count >= total:
            return list(range(total))
        return list(dict.fromkeys(Draws(self.groups, keyed_seed(self.config.run.seed, "draws")).at(0, count)))

    def first_clips(self, count: int, *, normalizes: bool) -> dict[str, np.ndarray]:
        """Waveforms (S,) of these clips by their ids, cropped as in training; those that can be decoded."""
        places, waveforms = self.first_places(count), {}
        cuts = [self.source.cuts[place] for place in places]
        for place, cut, waveform in zip(places, cuts, decoded(cuts, normalizes=normalizes), strict=True):
            if not isinstance(waveform, AudioError):
                random = np.random.default_rng(keyed_seed(self.config.run.seed, "standardize", place))
                waveforms[cut.id] = random_crop(waveform, self.config.data.max_samples, random)
        return waveforms


def make_task(config: FinetuneConfig, corpus: Corpus, split: Split) -> Task:
    """Open the clips of a split, and count and weigh them.

    Raises:
        ConfigError: a class has no clip that trains, or a further target too few classes or values.
        ManifestError: too many clips cannot be used.
    """
    clips = corpus.utterances
    data = config.data
    cuts, faults, too_short = [], [Fault(file, why) for file, why in corpus.left_out.items()], []
    missing = len(faults)
    for rows in (split.train, split.valid):
        opened = cuts_of([clips[i] for i in rows], min_samples=data.min_samples, workers=data.workers)
        cuts.append(opened.cuts)
        faults += opened.faults
        too_short += opened.too_short
    train, held = cuts
    total = len(split.train) + len(split.valid)
    if (bad := len(faults) - missing) > data.max_bad_share * total:
        raise ManifestError(
            f"{bad} of {total} clips cannot be used, expected at most {data.max_bad_share:.1%} (data.max_bad_share): "
            f"{examples(map(str, faults[missing:]))}"
        )
    by_id = {clips[i].id: clips[i] for i in [*split.train, *split.valid]}
    trained = [by_id[cut.id] for cut in train]
    goal = _values(config, by_id, trained) if data.targets else _classes(config, corpus, by_id, trained)
    aims, notes = {MAIN: Aim(goal)} | further_aims(config, by_id, trained), list[str]()
    if config.phonemes.weight:
        aims[PHONEMES], notes = spoken_aim(config, by_id, train, read_source(config.model).config.grid)
    notes += text_notes(config.text, trained)
    source = CutSource(train)
    found = TrainingCorpus([source], faults, too_short, list(corpus.changes), missing + bad)
    return Task(config, by_id, source, held, found, aims, _groups(train, by_id, data), notes)


def _classes(
    config: FinetuneConfig, corpus: Corpus, by_id: Mapping[str, Utterance], trained: Sequence[Utterance]
) -> ClassGoal:
    """Classes of clips, or distributions over them.

    Raises:
        ConfigError: a class has no clip that trains, or raters are asked for and no clip has a vote.
    """
    names, settings = corpus.classes, config.loss
    counts = Counter(clip.label for clip in trained)
    if lacking := [name for name in names if not counts[name]]:
        raise ConfigError(
            f"no clip of {examples(lacking)} trains: the held-out ones have all of them, or none can be used; expected "
            f"clips of more speakers, or data.labels=[{lacking[0]}=], which leaves them out"
        )
    found = np.array([counts[name] for name in names])  # (K,)
    weights = dict(zip(names, class_weights(found, settings.class_weights).tolist(), strict=True))
    by_id = {name: clip for name, clip in by_id.items() if clip.label}
    soft: dict[str, tuple[float, ...]] = {}
    if config.data.raters or config.data.soft:
        shares = {name: shares_of(corpus, clip, config.data.soft) for name, clip in by_id.items()}
        soft = {name: share for name, share in shares.items() if share is not None}
        if not soft:
            asked = ", ".join([*config.data.raters, *config.data.soft])
            raise ConfigError(f"{asked}: no clip has a vote for one of {', '.join(names)}, expected some")
    return ClassGoal(
        names=names,
        weights={name: weights[clip.label or ""] * weight_of(clip, config) for name, clip in by_id.items()},
        numbers={name: names.index(clip.label or "") for name, clip in by_id.items()},
        soft=soft,
        rows=ClassLoss(
            smoothing=settings.smoothing,
            focal=settings.focal,
            adjustment=settings.adjustment,
            shares=tuple((found / found.sum()).tolist()),
            margin=SHARPNESS * settings.margin,
        ),
    )


def _values(config: FinetuneConfig, by_id: Mapping[str, Utterance], trained: Sequence[Utterance]) -> ValueGoal:
    """Values of clips.

    Raises:
        ConfigError: all clips that train have the same value.
    """
    names = tuple(config.data.targets)
    by_id = {key: clip for key, clip in by_id.items() if has_main(clip, names)}
    rows = np.array([[clip.values[name] for name in names] for clip in trained if clip.id in by_id])
    if still := [name for name, spread in zip(names, np.ptp(rows, axis=0), strict=True) if not spread]:
        raise ConfigError(f"{' and '.join(still)} has a single value in training, expected at least 2")
    return ValueGoal(
        names=names,
        weights={name: weight_of(clip, config) for name, clip in by_id.items()},
        values={key: tuple(clip.values[name] for name in names) for key, clip in by_id.items()},
        scaling=Scaling.of(rows),
    )


def _groups(cuts: Sequence[Cut], utterances: dict[str, Utterance], data: LabelledData) -> list[np.ndarray]:
    """Positions of cuts that are drawn from equally often; groups of a corpus with a share of its own come repeatedly.

    Raises:
        ConfigError: no clip that trains is of such a corpus, or of another one.
    """
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, cut in enumerate(cuts):
        one = utterances[cut.id]
        key = (one.corpus or "" if "corpus" in data.balance else "", one.label or "" if "class" in data.balance else "")
        members[key].append(place)
    shares = dict(found for text in data.shares if (found := part(text)))
    times = _times([name for name, _ in sorted(members)], shares) if shares else [1] * len(members)
    return [np.array(members[key]) for key, often in zip(sorted(members), times, strict=True) for _ in range(often)]


def _times(corpora: Sequence[str], shares: Mapping[str, float]) -> list[int]:
    """How often a group of each of these corpora is there, so that corpora get their shares to a thousandth or so.

    Raises:
        ConfigError: a share is of no corpus, or none, or more than all, is left for the others.
    """
    counts = Counter(corpora)
    rest = 1 - sum(shares.values())
    others = sum(count for name, count in counts.items() if name not in shares)
    if unknown := [name for name in shares if name not in counts]:
        raise ConfigError(f"data.shares names {examples(unknown)}, expected corpora: {', '.join(map(repr, counts))}")
    if rest <= 0 or not others:
        raise ConfigError(f"data.shares are {1 - rest:g} together, which leaves {rest:g} to {others} groups of others")
    wanted = np.array([shares[name] / counts[name] if name in shares else rest / others for name in corpora])
    most = 64  # of the rarest group: many give shares more exactly, and a longer list
    tries = [np.maximum(1, np.round(number * wanted / wanted.min())) for number in range(1, most + 1)]
    errors = [round(float(np.abs(found / found.sum() - wanted).sum()), 3) for found in tries]
    return tries[int(np.argmin(errors))].astype(int).tolist()


def _within(cuts: Sequence[Cut], seconds: float, seed: int) -> list[Cut]:
    """All cuts, or so many that are no longer than that together, drawn at random, in their order."""
    if sum(cut.duration for cut in cuts) <= seconds:
        return list(cuts)
    order = np.random.default_rng(seed).permutation(len(cuts))
    ends = np.cumsum([cuts[place].duration for place in order])
    kept = max(1, int(np.searchsorted(ends, seconds, side="right")))
    return [cuts[place] for place in sorted(order[:kept].tolist())]
