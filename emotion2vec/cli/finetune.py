"""The verb `finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emotion2vec.cli.dry_run import HELP as DRY
from emotion2vec.cli.dry_run import train
from emotion2vec.cli.log import progress_events, say
from emotion2vec.cli.shared import allow_fallback, conclude_training, find_config
from emotion2vec.errors import ConfigError


def finetune(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as optim.encoder_lr=1e-5.")
    ] = None,
    config: Annotated[
        str,
        typer.Option(help="YAML file, or one that ships: classify, values, compact, gmp, phonemes, text."),
    ] = "classify",
    check: Annotated[bool, typer.Option("--check", help="Say what there is to learn from, and train nothing.")] = False,
    suspects: Annotated[
        Path | None, typer.Option(help="With --check: CSV of the clips whose labels are probably wrong.")
    ] = None,
    no_speakers: Annotated[
        bool, typer.Option("--no-speakers", help="Accept clips whose speakers are unknown; every score is marked.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=DRY)] = False,
) -> None:
    """Adapt a model to your labels: data.table=FILE (or data.corpora) and run.dir=FOLDER are required.

    The run folder is then a model for predict. The same command continues an interrupted run.
    """
    from emotion2vec.finetune.config import load_config

    given = [*(overrides or []), *["data.speakers=false"] * no_speakers]
    settings = load_config(find_config(config, "finetune"), given)
    if suspects is not None and not check:
        raise ConfigError("--suspects is of --check, which is not given")
    if check:
        from emotion2vec.finetune.check import check as run_check

        if run_check(settings, say, suspects):
            raise typer.Exit(1)
        return
    allow_fallback(settings.run.accelerator)
    if dry_run:
        return train("finetune", settings)
    from emotion2vec.finetune.run import finetune as run

    done = run(settings, say=say, on_progress=progress_events())
    if done.scores is not None:
        from emotion2vec.report.tables import show

        show(done.scores)
    if done.result.is_main and (Path(settings.run.dir) / "data.json").is_file():
        from emotion2vec.report.run import write_run_report

        say(f"report: {write_run_report(Path(settings.run.dir))}")
    conclude_training(done.result, settings)
