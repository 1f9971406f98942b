"""The verb `finetune evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from emotion2vec.cli.log import say
from emotion2vec.cli.shared import MODEL_HELP, allow_fallback, say_faults


def evaluate(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as data.table=test.csv robustness=[snr,codec]."),
    ] = None,
    model: Annotated[str | None, typer.Option(help=f"The same as model=. {MODEL_HELP}")] = None,
) -> None:
    """Score a model on any labelled speech: data.table=FILE (or data.corpora) is required.

    Leaves scores.json and report.html; labels that mean the same as the model's are taken for them.
    """
    from emotion2vec.finetune.evaluation.plan import load_plan

    plan = load_plan([*(overrides or []), *([] if model is None else [f"model={model}"])])
    allow_fallback(plan.device)
    from emotion2vec.finetune.evaluation.run import evaluate as run
    from emotion2vec.report.tables import show
    from emotion2vec.report.tested import write_test_report

    done = run(plan, say)
    page = write_test_report(done.folder)
    show(done.scores)
    say(f"scores and report are in {page.parent}")
    if done.scores.about.left_out:
        say_faults("clips could not be used", done.scores.about.left_out)
        raise typer.Exit(1)
