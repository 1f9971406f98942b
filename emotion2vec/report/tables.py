"""How the scores of a probe are shown in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emotion2vec.probe.knowledge import MARK

if TYPE_CHECKING:
    from rich.table import Table

    from emotion2vec.probe.results import ProbeResult
    from emotion2vec.probe.scores import HeadScores, Scores


def fold_table(result: HeadScores) -> Table:
    """Lay out one feature and head: a row per fold, then mean ± standard deviation, then pooled."""
    from rich.table import Table

    table = Table(title=f"{result.feature} · {result.head}{_mark(result)}", title_justify="left")
    table.add_column("fold")
    table.add_column("test speakers", overflow="fold")
    table.add_column("clips", justify="right")
    _add_metrics(table, result)
    for fold in result.folds:
        table.add_row(fold.name, " ".join(fold.test_speakers), str(fold.clips), *_numbers(result, fold.scores))
    table.add_section()
    table.add_row("mean ± std", "", "", *_spread(result))
    table.add_row("pooled", "", str(result.clips), *_numbers(result, result.pooled))
    return table


def summary_table(result: ProbeResult) -> Table:
    """Lay out all results side by side: a row per feature and head, mean ± standard deviation over folds."""
    from rich.table import Table

    about = result.about
    table = Table(title=f"{about.dataset}, {about.scheme} folds, {about.clips} clips", title_justify="left")
    table.add_column("feature", overflow="fold")
    table.add_column("head")
    _add_metrics(table, result.results[0])
    for row in result.results:
        table.add_row(row.feature + _mark(row), row.head, *_spread(row))
    return table


def show(result: ProbeResult) -> None:
    """Print a table per feature and head, and one that sums up when there are several, to stdout."""
    from rich.console import Console

    console = Console()
    for row in result.results:
        console.print(fold_table(row))
    if len(result.results) > 1:
        console.print(summary_table(result))


def _mark(result: HeadScores) -> str:
    """What stands behind a name where the feature's models knew some of the tests."""
    return f" ({MARK})" if result.is_transductive else ""


def _add_metrics(table: Table, result: HeadScores) -> None:
    for metric in result.metrics:
        table.add_column(f"{metric} {result.unit}".strip(), justify="right")


def _numbers(result: HeadScores, scores: Scores) -> list[str]:
    """Scores as text; the CCC of a single clip, which there is not, as a dash."""
    digits = 2 if result.unit == "%" else 3
    found = [scores[metric] for metric in result.metrics]
    return ["–" if value is None else f"{round(value, digits) + 0.0:.{digits}f}" for value in found]


def _spread(result: HeadScores) -> list[str]:
    """Mean ± standard deviation over folds."""
    both = zip(_numbers(result, result.mean), _numbers(result, result.std), strict=True)
    return [f"{mean} ± {std}" for mean, std in both]
