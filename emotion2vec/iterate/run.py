"""Whole iterations: the function behind `emotion2vec iterate`.

Every stage leaves its result in a folder, and goes on where it was: what models say of the pool, the choice among it,
training, and what the round's model says of the held-out clips. A round is done when it has `round.json`.
"""

from __future__ import annotations

from pathlib import Path

from emotion2vec.checkpoint.opening import load_model
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.labelling import check_head, check_untold
from emotion2vec.files import check_folder_name
from emotion2vec.finetune.labelled import read_labelled, show_labels
from emotion2vec.finetune.stages.run import check_possible
from emotion2vec.iterate.choosing import SAID
from emotion2vec.iterate.config import IteratePlan
from emotion2vec.iterate.judging import check_judges, check_unknown, held_cuts
from emotion2vec.iterate.labels import Say, label_pool
from emotion2vec.iterate.people import People, divide
from emotion2vec.iterate.pool import Pool, compare_pool, read_pool, read_shard
from emotion2vec.iterate.rounds import Iterated, Rounds, done_rounds
from emotion2vec.iterate.settings import keep_settings, same_iterations, same_people
from emotion2vec.iterate.transcripts import open_classifier
from emotion2vec.locks import LOCK, only_writer
from emotion2vec.progress import ProgressCallback
from emotion2vec.units import counted


def iterate(plan: IteratePlan, say: Say = print, on_progress: ProgressCallback | None = None) -> Iterated:
    """Do rounds until there are as many as asked for, or one is worse; the same call goes on where it was interrupted.

    The model of the last accepted round is the model of `run.dir`.

    Args:
        plan: a checked plan (`emotion2vec.iterate.config.load_plan`).
        say: shows a line of text to the user.
        on_progress: called with a `Progress` after each clip that is labelled and each update of a training. What it
            raises ends the work when that is saved, and is raised here.

    Raises:
        ConfigError: settings that these data, models or this folder cannot serve; a held-out clip is in the pool; a
            class keeps no clip.
        ManifestError: human-labelled speech or the pool cannot be read.
        CheckpointError: a model cannot be loaded.
        StorageError: the disk does not take what is written.
        TrainingError: training cannot go on.
    """
    folder = Path(plan.run.dir)
    check_folder_name(folder, "run.dir", "iterations")
    if folder.is_file():
        raise ConfigError(f"run.dir is {folder}, which is a file, expected a folder")
    if plan.pool.shard >= 0:
        return _label_shard(plan, say, on_progress)
    folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder / LOCK, folder):
        same_iterations(plan)
        people, pool = prepare(plan, say)
        keep_settings(plan, people)
        return Rounds(plan, people, pool, say, on_progress).run()


def prepare(plan: IteratePlan, say: Say) -> tuple[People, Pool]:
    """Read everything, and look for what rounds must not learn from; errors as for `iterate`."""
    corpus = read_labelled(plan.data, plan.joint)
    show_labels(corpus, say)
    people = divide(plan, corpus)
    same_people(plan, people)
    check_possible(plan, corpus)
    for name, rows in people.held.items():
        speakers = {corpus.utterances[i].speaker for i in rows.tolist()} - {None}
        say(f"held out of {name} in all rounds: {counted(len(rows), 'clip')} of {counted(len(speakers), 'speaker')}")
    opened, second = held_cuts(plan, people), plan.filters.second
    check_judges(people, opened)
    start = load_model(plan.model)
    check_unknown(plan.model, "model", start, opened)
    if start.head is not None and plan.finetune.head != "new":
        check_untold(plan.model, start)
    if second:
        model = load_model(second)
        check_unknown(second, "filters.second", model, opened)
        if model.head is not None:
            check_head(second, model, people.corpus.classes)
    pool = read_pool(plan)
    say(f"pool: {counted(len(pool.found.utterances), 'clip')}")
    if plan.filters.text:
        open_classifier(plan, pool.found, people.corpus.classes)
    return people, compare_pool(plan, pool, people, say)


def _label_shard(plan: IteratePlan, say: Say, on_progress: ProgressCallback | None) -> Iterated:
    """Label one shard for the round that comes next.

    Raises:
        ConfigError: no round's model is there yet, or no round comes next.
    """
    folder, rounds = Path(plan.run.dir), done_rounds(plan)
    if not rounds:
        raise ConfigError(
            f"pool.shard is {plan.pool.shard} and {folder} has no model yet, expected the command without it to train "
            "that first (rounds.count=0 ends there)"
        )
    number = len(rounds)
    if not rounds[-1]["accepted"]:
        raise ConfigError(f"round {number - 1} of {folder} was rolled back, after which there is no other round")
    same_iterations(plan)
    model, window = folder / f"round_{number - 1}" / "model", plan.filters.window or None
    head = load_model(model).head
    assert head is not None
    said = folder / f"round_{number}" / SAID
    pool = read_shard(plan, plan.pool.shard)
    label_pool(plan, pool, model, said, classes=head.used_labels, window=window, say=say, on_progress=on_progress)
    return Iterated(rounds, labelled=f"shard {plan.pool.shard} of {len(pool.shards)} for round {number}")
