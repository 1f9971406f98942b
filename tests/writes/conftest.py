from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from extraction.helpers import speech as noise
from extraction.helpers import tiny_model

from emotion2vec.checkpoint import save_model
from emotion2vec.model.encoder import Emotion2vec

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def model() -> Emotion2vec:
    return tiny_model()


@pytest.fixture(scope="session")
def full_disk(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Callable[..., Iterator[Any]]]:
    """A function: a command and one that goes on -> what becomes of both, for each call to the disk that fails.

    See `driver.py`; the commands run in a folder with three clips `in` and a model `model`.
    """
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler, cc")
    folder = tmp_path_factory.mktemp("full")
    library, before = folder / "disk.so", folder / "before"
    subprocess.run([compiler, "-shared", "-fPIC", str(HERE / "disk.c"), "-o", str(library), "-ldl"], check=True)
    (before / "in").mkdir(parents=True)
    tiny = tiny_model()
    save_model(before / "model", tiny.config, tiny.state_dict())
    for number in range(3):
        soundfile.write(before / "in" / f"{number}.wav", noise(4_000 + 500 * number, number), 16_000)
    (folder / "at").mkdir()
    process = subprocess.Popen(
        [sys.executable, str(HERE / "driver.py"), str(library)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(root)},
    )
    assert process.stdin is not None and process.stdout is not None

    def run(verb: list[str], resume: list[str] | None = None, **options: Any) -> Iterator[Any]:
        asked = {"verb": verb, "resume": resume or verb, "below": str(folder / "at" / "disk"), "before": str(before)}
        print(json.dumps({**asked, **options}), file=process.stdin, flush=True)
        for line in iter(process.stdout.readline, "done\n"):
            assert line
            yield json.loads(line)

    yield run
    process.kill()
    process.wait()
