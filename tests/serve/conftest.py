from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emotion2vec.serve.options import Limits, ServeOptions

if TYPE_CHECKING:
    from serve.running import Running


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the processes of the server say on stderr, until they are started again."""
    return tmp_path_factory.mktemp("log") / "stderr"


@pytest.fixture(scope="session")
def server(log: Path) -> Iterator[Running]:
    """A server with narrow limits, a model with a head and one without, and the page where Gradio is installed."""
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    from serve.running import running

    kept = os.dup(2)
    with log.open("wb") as stream:
        os.dup2(stream.fileno(), 2)  # for the processes that are started
        try:
            limits = Limits(max_mb=2, max_seconds=20, max_files=40, timeout=60)
            page = find_spec("gradio") is not None
            options = ServeOptions(model=("compact", "tiny"), decoders=1, limits=limits, page=page)
            with running(options) as one:
                os.dup2(kept, 2)
                yield one
        finally:
            os.dup2(kept, 2)
            os.close(kept)
