"""Verbs that judge features: `probe`, `benchmark`, `visualize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emotion2vec.cli.shared import (
    CHANGED,
    FALLBACK,
    Cache,
    CorpusRoot,
    Dataset,
    Device,
    EmoBox,
    Layer,
    Table,
    allow_fallback,
    find_config,
    say,
    say_faults,
)


def probe(
    dataset: Dataset = None,
    table: Table = None,
    emobox: EmoBox = None,
    root: CorpusRoot = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            help="logmel, mfcc, egemaps, untrained, hf:NAME, torchaudio:NAME, text:NAME, a model; joined by +; may be "
            "repeated."
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="One more model to probe; untrained takes its shape.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="Predict a value such as arousal, in place of classes; may be repeated."),
    ] = None,
    context: Annotated[
        int, typer.Option(help="Predict a turn of a conversation from that many turns before it; 6 in the paper.")
    ] = 0,
    folds: Annotated[
        str,
        typer.Option(
            help="speaker, speaker:K, 8-1-1, session, session-80-20, official, emobox, random, corpus or language."
        ),
    ] = "speaker",
    head: Annotated[
        list[str] | None,
        typer.Option(
            help="mlp, linear, logreg, weighted, attention, gru; mlp-paper or linear-superb for published protocols; "
            "ridge for targets; dialogue or dialogue-frames for a context; may be repeated. [default: mlp, or dialogue]"
        ),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seed; may be repeated for means. [default: 0]")] = None,
    layer: Layer = "last",
    pooling: Annotated[str | None, typer.Option(help="mean or mean+std over time, for logreg.")] = None,
    standardize: Annotated[
        bool, typer.Option(help="Standardize channels for neural heads; mlp-paper and linear-superb never do.")
    ] = True,
    select: Annotated[
        bool, typer.Option("--select", help="Score validation speakers in place of tests, to choose by.")
    ] = False,
    cache: Cache = None,
    device: Device = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for the scores.")] = None,
) -> None:
    """Train small heads on frozen features and score them on held-out speakers."""
    from emotion2vec.corpora.summary import Summary
    from emotion2vec.probe.probing import probe as run
    from emotion2vec.probe.stopping import leaving_at_once
    from emotion2vec.report.tables import show

    kept = f"features are kept in {cache}" if cache else "nothing is kept; --cache DIR would keep features"
    with leaving_at_once(lambda: kept):
        result = run(
            dataset=dataset,
            table=table,
            emobox=emobox,
            root=root,
            features=features or [],
            model=model,
            targets=target or [],
            context=context,
            folds=folds,
            heads=head or [],
            seeds=seed or [0],
            layer=layer,
            pooling=pooling,
            standardize=standardize,
            select=select,
            cache=cache,
            device=device,
            output=output,
            progress=True,
        )
    show(result)
    changes = [f"{row['where']}: {row['kind']}: {row['text']}" for row in result.about["changes"]]
    say_faults(CHANGED, changes, shown=10)
    if left_out := result.about["left_out"]:
        say("these scores are incomplete:")
        say_faults("clips could not be used", [f"{row['file']}: {row['reason']}" for row in left_out])
    say(str(Summary.of(result.about["summary"])))
    if left_out:
        raise typer.Exit(1)


def benchmark(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as data=/speech output=results."),
    ] = None,
    config: Annotated[
        str,
        typer.Option(
            help="YAML file, or the name of a shipped one: acted, iemocap, song, sentiment, dimensions, languages or "
            "conversation."
        ),
    ] = "acted",
) -> None:
    """Probe many features on many corpora, and write one report; the same command goes on after an interrupt."""
    import shlex

    for kind in FALLBACK:  # the plan says which, and what reads it loads torch
        allow_fallback(kind)
    from emotion2vec.probe.benchmark.plan import load_plan
    from emotion2vec.probe.benchmark.run import run_benchmark
    from emotion2vec.probe.stopping import leaving_at_once

    plan = load_plan(find_config(config, "benchmark"), overrides or [])
    command = shlex.join(["emotion2vec", "benchmark", "--config", config, *(overrides or [])])
    finished = Path(plan.output) / "results"
    with leaving_at_once(
        lambda: f"{len(list(finished.glob('*.json')))} results are kept in {finished}; the same command goes on"
    ):
        result = run_benchmark(plan, command, progress=True)
    for failure in result.failures:
        say(f"failed: {failure['corpus']} {failure['feature']}: {failure['reason']}")
    if incomplete := sum(not document["complete"] for document in result.documents):
        say(f"incomplete: {incomplete} results, as clips could not be used; the report marks them")
    say(f"{len(result.documents)} results in {Path(plan.output) / 'report.html'}")
    say(str(result.summary))
    raise typer.Exit(result.exit_code)


def visualize(
    output: Annotated[Path, typer.Option(help="HTML file.")],
    dataset: Dataset = None,
    table: Table = None,
    emobox: EmoBox = None,
    root: CorpusRoot = None,
    features: Annotated[list[str] | None, typer.Option(help="As for probe; may be repeated. [default: tiny]")] = None,
    layer: Layer = "last",
    pooling: Annotated[str | None, typer.Option(help="mean or mean+std over time.")] = None,
    cache: Cache = None,
    device: Device = None,
) -> None:
    """Draw features in two dimensions, by emotion, arousal and speaker."""
    from emotion2vec.corpora.options import CorpusOptions, read_corpus
    from emotion2vec.devices import choose_device
    from emotion2vec.probe.probing import clip_summary
    from emotion2vec.probe.stopping import leaving_at_once
    from emotion2vec.report.embedding import MOST_POINTS
    from emotion2vec.report.page import write_plots

    clipset = read_corpus(CorpusOptions(dataset=dataset, table=table, emobox=emobox, root=root))
    names, place = features or ["tiny"], str(choose_device(device))
    with leaving_at_once(lambda: "nothing is written"):
        unread = write_plots(
            clipset, names, output, layer=layer, pooling=pooling, cache=cache, device=place, progress=True
        )
    drawn = f"{min(MOST_POINTS, len(clipset.utterances))} of {len(clipset.utterances)} clips"
    say(f"{len(names)} features of {drawn} drawn in {output}")
    left_out = {**clipset.left_out, **unread}
    say_faults(CHANGED, clipset.changes, shown=10)
    say_faults("clips could not be used", [f"{file}: {reason}" for file, reason in left_out.items()])
    say(str(clip_summary(clipset, left_out)))
    if left_out:
        raise typer.Exit(1)
