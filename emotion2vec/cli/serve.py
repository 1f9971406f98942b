"""The verb `serve`: models behind HTTP."""

from __future__ import annotations

from emotion2vec.cli.log import say
from emotion2vec.cli.options import takes
from emotion2vec.serve.options import ServeOptions


@takes(ServeOptions)
def serve(options: ServeOptions) -> None:
    """Answer requests with labels, features and live streams of audio, over HTTP and WebSocket."""
    from emotion2vec.serve.run import serve as run

    run(options, say)
