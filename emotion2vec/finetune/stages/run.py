"""Training in stages: each a run of its own in the run folder, taken as it is once it is done.

    seed/        A: the main goal and gender, a linear head each on the mean of frames
    clusters/    B: clusters of the seed model's frames, of the clips that train
    retrained/   C: the pretrained model, retrained to say them
    .            D: the run that the other sections describe, from there

Only clips that train are heard before D, and labels are learnt in A alone; with `gmp.transductive` B and C hear all
clips of the corpus that neither train nor choose too, without their labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from emotion2vec.checkpoint.native import CONFIG_FILE
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.clusters.frames import beyond
from emotion2vec.clusters.settings import ClusterSettings
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.aims import class_of
from emotion2vec.finetune.config import EvaluateConfig, FinetuneConfig, check_config, load_config
from emotion2vec.finetune.fitting import fit
from emotion2vec.finetune.kept import KeptRows
from emotion2vec.finetune.learnt import HeadSettings
from emotion2vec.finetune.result import check_same
from emotion2vec.finetune.splits import Split
from emotion2vec.finetune.spoken.settings import PhonemeSettings
from emotion2vec.finetune.stages.retraining import RETRAINED, check_frames, retrain, retrain_config, unlabelled
from emotion2vec.finetune.stages.same import check_learnt, digests
from emotion2vec.finetune.stages.settings import GENDER, RetrainSettings, StageSettings, seed_joint
from emotion2vec.finetune.texts import TextSettings
from emotion2vec.progress import ProgressCallback
from emotion2vec.training.trainer import FitResult

SEED = "seed"
"""Folder of stage A in a run folder."""


def check_possible(config: FinetuneConfig, corpus: Corpus) -> None:
    """Check, before anything is trained, that stages can be set so, and that model and corpus have what they need.

    Raises:
        ConfigError: they cannot, or have not, all faults at once.
        CheckpointError: the model cannot be read.
    """
    if not (config.gmp.enabled and config.gmp.retrain):
        return
    derived = {"A": seed_config(config), "C": retrain_config(config, clips=1)}
    faults = [f"stage {name}: {fault}" for name, own in derived.items() for fault in check_config(own)]
    source = read_source(config.model)
    depth = source.config.prenet_depth + source.config.depth
    if max(config.clusters.layers, default=0) > depth:
        faults.append(beyond(f"model {config.model}", config.clusters.layers, depth))
    genders = {class_of(clip, GENDER) for clip in corpus.utterances} - {None}
    if config.gmp.gender and len(genders) < 2:
        found = f"clips of {', '.join(map(str, genders))} alone" if genders else "no clip that has a gender"
        faults.append(
            f"gmp.gender is {config.gmp.gender:g} and there are {found}, expected both, in a column gender or known of "
            "the corpus; or gmp.gender=0"
        )
    if faults:
        raise ConfigError("; ".join(faults))


def learn_in_stages(
    config: FinetuneConfig,
    corpus: Corpus,
    split: Split,
    *,
    say: Callable[[str], None],
    on_progress: ProgressCallback | None = None,
) -> FitResult:
    """Train one model in stages, from where its folder stands; errors as for `emotion2vec.finetune.run.finetune`.

    Args:
        config: a checked configuration with `gmp.enabled`.
        corpus: labelled clips.
        split: those that train, and those that choose; others are heard with `gmp.transductive` alone.
        say: shows a line of text to the user.
        on_progress: called after every update of each stage.
    """
    if not config.gmp.retrain:
        return fit(config, corpus, split, say=say, rows=KeptRows(), on_progress=on_progress)
    heard = unlabelled(config, corpus, split)
    check_frames(config, heard)
    first, learnt = seed_config(config), digests(corpus, split)
    everybody = learnt.pop("corpus")
    check_learnt(Path(first.run.dir), learnt)
    check_learnt(
        Path(config.run.dir) / RETRAINED, learnt | {"corpus": everybody} if config.gmp.transductive else learnt
    )
    if not _is_there(first):
        say("stage A: a seed model of the main goal" + f" and {GENDER}" * (config.gmp.gender > 0))
        result = fit(first, corpus, split, say=say, rows=KeptRows(), on_progress=on_progress)
        if result.signal is not None:
            return result
    result = retrain(config, heard, first.run.dir, say, on_progress)
    if result.signal is not None:
        return result
    say("stage D: the run's own model, from the retrained one")
    start = str(Path(config.run.dir) / RETRAINED)
    return fit(config, corpus, split, say=say, rows=KeptRows(), start=start, on_progress=on_progress)


def seed_config(config: FinetuneConfig) -> FinetuneConfig:
    """The run of stage A: as the run's own, with gender beside and linear heads on the mean of frames."""
    return replace(
        config,
        run=replace(config.run, dir=str(Path(config.run.dir) / SEED)),
        gmp=StageSettings(),
        clusters=ClusterSettings(),
        retrain=RetrainSettings(),
        head=HeadSettings(kind="mean", pooling="mean"),
        loss=replace(config.loss, margin=0.0),
        phonemes=PhonemeSettings(),
        text=TextSettings(),
        joint=seed_joint(config.joint, config.gmp),
        evaluate=EvaluateConfig(),
    )


def _is_there(config: FinetuneConfig) -> bool:
    """Whether a stage is done.

    Raises:
        ConfigError: it was trained with other settings; only how long a run that is extended lasts may differ.
    """
    if not (Path(config.run.dir) / CONFIG_FILE).is_file():
        return False
    if config.run.extend:  # which is about the run's own model
        there = load_config(Path(config.run.dir) / "config.yaml").optim
        timed = replace(config.optim, max_updates=there.max_updates, epochs=there.epochs)
        config = replace(config, run=replace(config.run, extend=False), optim=timed)
    check_same(config)
    return True
