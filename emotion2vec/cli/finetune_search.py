"""The verb `finetune search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emotion2vec.cli.log import say
from emotion2vec.cli.shared import allow_fallback, conclude_training, find_config
from emotion2vec.stopping import Terminated

if TYPE_CHECKING:
    from rich.table import Table

    from emotion2vec.finetune.search.plan import SearchPlan
    from emotion2vec.finetune.search.space import Choices, Range
    from emotion2vec.finetune.search.trial import Row


def search(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as space=my.yaml trials=20."),
    ] = None,
    config: Annotated[str, typer.Option(help="YAML file, or the name of one that ships: classify.")] = "classify",
    no_speakers: Annotated[
        bool, typer.Option("--no-speakers", help="Accept clips whose speakers are unknown.")
    ] = False,
) -> None:
    """Search for settings of fine-tuning: data.table=FILE (or data.corpora) and run.dir=FOLDER are required.

    Every trial is a run in run.dir/trials, judged by held-out speakers; the best configuration is run.dir/best.yaml.
    The same command continues an interrupted search, and several processes may run it at once.
    """
    from emotion2vec.finetune.search.plan import load_plan

    plan = load_plan(find_config(config, "finetune"), [*(overrides or []), *["data.speakers=false"] * no_speakers])
    space = _space(plan)
    allow_fallback(plan.run.accelerator)
    from emotion2vec.finetune.search.run import BEST
    from emotion2vec.finetune.search.run import search as run

    try:
        done = run(plan, space, say=say)
    except Terminated:  # between the updates of trials, which save what they have
        say(f"stopped between trials; the same command continues from {plan.run.dir}")
        raise
    from rich.console import Console

    Console().print(_table(done.rows))
    if done.result is not None:
        conclude_training(done.result, plan)
    running = sum(row.state == "running" for row in done.rows)
    if running:
        say(f"trials that still run in other processes: {running}")
    if done.best is not None:
        where = f"its model is in {done.best.folder}, its configuration in {Path(plan.run.dir) / BEST}"
        say(f"{'best so far' if running else 'done: the best'} is trial {done.best.number}; {where}")


def _space(plan: SearchPlan) -> dict[str, Range | Choices]:
    """What a plan tries."""
    from emotion2vec.finetune.search.plan import fixed_part
    from emotion2vec.finetune.search.space import read_space

    return read_space(find_config(plan.space, "search"), fixed_part(plan), finite=plan.sampler == "grid")


def _table(rows: list[Row]) -> Table:
    """Lay out trials, the best first, then those that did not come to their end."""
    from rich.table import Table

    from emotion2vec.finetune.search.run import brief

    keys = list(dict.fromkeys(key for row in rows for key in row.values))
    table = Table(title="trials by validation score", title_justify="left")
    for column in ("trial", "state", "score"):
        table.add_column(column, justify="left" if column == "state" else "right")
    for key in keys:
        table.add_column(key, overflow="fold")
    for row in sorted(rows, key=lambda row: (row.state != "done", -(row.value or 0.0), row.number)):
        score = "" if row.value is None else brief(row.value)
        table.add_row(str(row.number), row.state, score, *(brief(row.values.get(key, "")) for key in keys))
    return table
