"""The verb `iterate`."""

from __future__ import annotations

from typing import Annotated

import typer

from emotion2vec.cli.log import progress_events, say
from emotion2vec.cli.shared import allow_fallback, conclude_training, find_config


def iterate(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as filters.quantile=0.7.")
    ] = None,
    config: Annotated[str, typer.Option(help="YAML file, or the name of one that ships: plus.")] = "plus",
    check: Annotated[
        bool, typer.Option("--check", help="Say what there is to learn from and to label, and do neither.")
    ] = False,
    no_speakers: Annotated[
        bool, typer.Option("--no-speakers", help="Accept clips whose speakers are unknown.")
    ] = False,
) -> None:
    """Rounds of fine-tuning, labelling and filtering: pool.sources, data.corpora (or data.table), model, run.dir.

    A round that is worse on held-out clips that people labelled is rolled back. The run folder is then a model for
    predict. The same command continues interrupted rounds, and pool.shard lets other processes label.
    """
    from emotion2vec.iterate.config import load_plan

    plan = load_plan(find_config(config, "iterate"), [*(overrides or []), *["data.speakers=false"] * no_speakers])
    allow_fallback(plan.run.accelerator)
    from emotion2vec.iterate import run

    if check:
        people, pool = run.prepare(plan, say)
        left = len(pool.left_out)
        say(f"{len(people.split.train)} clips train, {len(people.split.valid)} choose, {left} of the pool are left out")
        return
    done = run.iterate(plan, say=say, on_progress=progress_events())
    if done.labelled:
        say(f"labelled {done.labelled}; the command without pool.shard goes on when all shards are")
    elif done.result is not None:
        conclude_training(done.result, plan)
    else:
        best = max(document["round"] for document in done.rounds if document["accepted"])
        say(f"done: the model of round {best} is in {plan.run.dir}", event="done", output=plan.run.dir)
