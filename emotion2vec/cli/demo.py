"""The verb `demo`: a page on which people try models."""

from __future__ import annotations

from emotion2vec.cli.log import say
from emotion2vec.cli.options import takes
from emotion2vec.serve.page.options import DemoOptions


@takes(DemoOptions)
def demo(options: DemoOptions) -> None:
    """Open a page to try models on: a microphone or files, labels over time, tables and comparisons."""
    from emotion2vec.serve.page.run import demo as run

    run(options, say)
