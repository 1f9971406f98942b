"""How results are shown and kept: a table for the terminal and a JSON file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emotion2vec.probe.knowledge import MARK, is_transductive

if TYPE_CHECKING:
    from rich.table import Table

    from emotion2vec.probe.probing import ProbeResult


def fold_table(result: dict[str, Any]) -> Table:
    """Lay out one result of `ProbeResult.results`: a row per fold, then mean ± standard deviation, then pooled."""
    from rich.table import Table

    mark = f" ({MARK})" if is_transductive(result) else ""
    table = Table(title=f"{result['feature']} · {result['head']}{mark}", title_justify="left")
    table.add_column("fold")
    table.add_column("test speakers", overflow="fold")
    table.add_column("clips", justify="right")
    _add_metrics(table, result)
    for fold in result["folds"]:
        table.add_row(fold["name"], " ".join(fold["test_speakers"]), str(fold["clips"]), *_numbers(result, fold))
    table.add_section()
    clips = str(sum(fold["clips"] for fold in result["folds"]))
    table.add_row("mean ± std", "", "", *_spread(result))
    table.add_row("pooled", "", clips, *_numbers(result, result["pooled"]))
    return table


def _add_metrics(table: Table, result: dict[str, Any]) -> None:
    for metric in result["metrics"]:
        table.add_column(f"{metric} {result['unit']}".strip(), justify="right")


def _numbers(result: dict[str, Any], scores: dict[str, Any]) -> list[str]:
    """Scores as text; the CCC of a single clip, which there is not, as a dash."""
    digits = 2 if result["unit"] == "%" else 3
    found = [scores[metric] for metric in result["metrics"]]
    return ["–" if value is None else f"{round(value, digits) + 0.0:.{digits}f}" for value in found]


def _spread(result: dict[str, Any]) -> list[str]:
    """Mean ± standard deviation over folds."""
    both = zip(_numbers(result, result["mean"]), _numbers(result, result["std"]), strict=True)
    return [f"{mean} ± {std}" for mean, std in both]


def summary_table(result: ProbeResult) -> Table:
    """Lay out all results side by side: a row per feature and head, mean ± standard deviation over folds."""
    from rich.table import Table

    about = result.about
    table = Table(title=f"{about['dataset']}, {about['scheme']} folds, {about['clips']} clips", title_justify="left")
    table.add_column("feature", overflow="fold")
    table.add_column("head")
    _add_metrics(table, result.results[0])
    for row in result.results:
        mark = f" ({MARK})" if is_transductive(row) else ""
        table.add_row(row["feature"] + mark, row["head"], *_spread(row))
    return table


def show(result: ProbeResult) -> None:
    """Print a table per feature and head, and one that sums up when there are several, to stdout."""
    from rich.console import Console

    console = Console()
    for row in result.results:
        console.print(fold_table(row))
    if len(result.results) > 1:
        console.print(summary_table(result))
