"""A feature's model and a head that learned from all clips, as one model folder.

N: clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from emotion2vec.checkpoint.card import licence
from emotion2vec.checkpoint.heard import Heard
from emotion2vec.checkpoint.native import save_model, shipped_models
from emotion2vec.corpora.folds import Fold
from emotion2vec.corpora.validation import holds_speakers_out, validation_split
from emotion2vec.devices import HOST
from emotion2vec.errors import ConfigError
from emotion2vec.files import write_text
from emotion2vec.model.config import HeadConfig
from emotion2vec.model.heads import Head
from emotion2vec.model.known_heads import kind_of
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.probe.card import probed_card
from emotion2vec.probe.corpus import ProbedCorpus
from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.probe.knowledge import Knowledge
from emotion2vec.probe.options import ProbeOptions
from emotion2vec.probe.problem import Fitted, HeadRecipe, Problem
from emotion2vec.probe.results import ProbeResult

KEPT = "logreg, ridge, linear, mlp, weighted, attention, statistics, transformer, gru or cosine"
"""Recipes whose heads model folders hold."""


def check_saving(options: ProbeOptions, features: Sequence[object], heads: Sequence[HeadRecipe]) -> None:
    """Raise one ConfigError with every reason why what is asked for gives no model."""
    faults = []
    if (folder := Path(str(options.save_model))).is_dir() and any(folder.iterdir()):
        faults.append(f"save_model is {folder}, which holds something already, expected a new folder")
    if len(features) > 1 or len(heads) > 1:
        faults.append(f"save_model is of one feature and one head, and there are {len(features)} and {len(heads)}")
    if unfit := [head.name for head in heads if head.name in ("convolutions", "dialogue", "dialogue-frames")]:
        faults.append(f"save_model: head {', '.join(unfit)} reads what no model gives, expected {KEPT}")
    if options.select:
        faults.append("save_model and select are given; what is selected by is not tested yet, expected one of them")
    if str(options.layer) != "last":
        faults.append(
            f"save_model: layer is {options.layer}, and a model's head reads the last one (weighted: all); "
            "`emotion2vec convert --keep-layers` gives a model that ends earlier"
        )
    if faults:
        raise ConfigError("; ".join(faults))


def check_held_out(corpus: ProbedCorpus) -> None:
    """Raise ConfigError when no speaker could be held out of the clips that a model learns from."""
    clips = corpus.clipset.utterances
    if not holds_speakers_out(clips, _everything(corpus, np.arange(len(clips)))):
        raise ConfigError(
            "save_model: the clips name too few speakers, or folds share them, so that nobody could be held out; "
            "expected clips of at least two speakers, of whom a fifth choose when training ends"
        )


def model_of(feature: object, name: str) -> SpeechEncoder:
    """The network of a feature.

    Raises:
        ConfigError: it has none that a model folder can hold.
    """
    model = getattr(feature, "model", None)
    if not isinstance(model, SpeechEncoder):
        raise ConfigError(f"save_model: feature {name} is no model that `load_model` reads, expected one")
    return model


def save_probed(
    model: SpeechEncoder,
    corpus: ProbedCorpus,
    table: FeatureTable,
    recipe: HeadRecipe,
    options: ProbeOptions,
    result: ProbeResult,
) -> None:
    """Train the head once more, on the clips of all folds, and write it with its feature's model to `save_model`.

    A fifth of the speakers are held out, as in each fold, and choose when training ends and, of classes, the
    temperature that the head's last layer takes in; heads without an end (logreg, ridge) learn from them too.

    Args:
        model: of the feature; it stays as it is.
        corpus: the clips.
        table: their features.
        recipe: of the head.
        options: of the probe.
        result: its scores, for the card.
    """
    fitted, rows = _fitted(corpus, table, recipe, options)
    head, goal = fitted.head, corpus.goal
    if (temperature := fitted.details.get("temperature")) is not None:
        head.rescale(torch.zeros(len(goal.names)), torch.full((len(goal.names),), 1 / temperature))
    head.take_labels(goal.names)
    head.config = _described(head, recipe, options, model.config.width)
    whole = deepcopy(model).to(HOST)
    whole.head, whole.further = head.to(HOST), torch.nn.ModuleList()
    clips = [corpus.clipset.utterances[i] for i in rows]
    keys = Knowledge(tuple(clips)).keys
    folder = Path(str(options.save_model))
    save_model(
        folder,
        whole.config,
        whole.state_dict(),
        labels=head.labels,
        head=head.config,
        heard=(whole.heard or Heard()).with_more(labels=keys),
    )
    (scores,) = result.results
    terms = licence(shipped_models().get(scores.feature, Path(scores.feature)))
    write_text(folder / "README.md", probed_card(folder.resolve().name, len(clips), result, terms))


def _everything(corpus: ProbedCorpus, rows: np.ndarray) -> Fold:
    """All clips to train on; none is tested."""
    shared = tuple(sorted({name for fold in corpus.folds for name in fold.shared_speakers}))
    return Fold(name="all", train=rows, test=rows[:0], shared_speakers=shared)


def _fitted(
    corpus: ProbedCorpus, table: FeatureTable, recipe: HeadRecipe, options: ProbeOptions
) -> tuple[Fitted, np.ndarray]:
    """The head, and positions of the clips that trained or chose it."""
    clips = corpus.clipset.utterances
    rows = np.flatnonzero(table.usable)
    train, valid = validation_split(clips, _everything(corpus, rows), options.seeds[0])
    problem = Problem(
        labels=corpus.goal.labels,
        outputs=len(corpus.goal.names),
        speakers=np.array([clip.speaker or "" for clip in clips]),
        train=train,
        valid=valid,
        test=valid,
        standardize=options.standardize,
        seed=options.seeds[0],
    )
    return recipe.fit(recipe.prepare(table, options.device or HOST.type), problem), rows


def _described(head: Head, recipe: HeadRecipe, options: ProbeOptions, width: int) -> HeadConfig:
    """What a model folder says of the head."""
    hidden = {"hidden": recipe.hidden} if "hidden" in {one.name for one in fields(recipe)} else {}  # type: ignore
    pooled = getattr(head, "width", width)
    return HeadConfig(
        kind=kind_of(head),
        pooling="mean+std" if pooled == 2 * width else "mean",
        task="values" if options.targets else "classes",
        **hidden,
    )
