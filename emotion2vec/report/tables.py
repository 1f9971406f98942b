"""How the scores of a probe are shown in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emotion2vec.probe.comparing import against_best, best_of
from emotion2vec.probe.knowledge import MARK
from emotion2vec.tasks.metrics import format_score
from emotion2vec.tasks.significance import format_p
from emotion2vec.units import counted

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
    low, high = ({name: limits[side] for name, limits in result.intervals.items()} for side in (0, 1))
    limits = zip(_numbers(result, low), _numbers(result, high), strict=True)
    table.add_row(
        f"95 % of pooled, over {result.intervals_over}", "", "", *(f"{low} to {high}" for low, high in limits)
    )
    return table


def summary_table(result: ProbeResult) -> Table:
    """Lay out all results side by side: mean ± standard deviation over folds, and how far they are from the best."""
    from rich.table import Table

    about, rows = result.about, result.results
    found = {id(row): against_best(row, rows) for row in rows}
    title = f"{about.dataset}, {about.scheme} folds, {counted(about.clips, 'clip')}"
    table = Table(title=title, title_justify="left")
    table.add_column("feature", overflow="fold")
    table.add_column("head")
    _add_metrics(table, rows[0])
    table.add_column(f"{rows[0].main} to the best", justify="right")
    table.add_column("p", justify="right")
    for row in rows:
        against = found[id(row)]
        last = ["best" if row is best_of(rows) else "–", ""]
        if against is not None:
            low, high = (format_score(limit, row.unit) for limit in against.interval)
            last = [f"{format_score(against.difference, row.unit)} ({low} to {high})", format_p(against)]
        table.add_row(row.feature + _mark(row), row.head, *_spread(row), *last)
    compared = [one for one in found.values() if one is not None]
    if compared:
        table.caption = (
            f"Differences of mean {rows[0].main} over folds, with 95 % by bootstrap. p: paired permutation test that "
            "swaps whole speakers (or folds), of which so few give "
            f"{max(one.least_p for one in compared):.3g} at least; not corrected for the number of comparisons."
        )
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
