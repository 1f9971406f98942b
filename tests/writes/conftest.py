from __future__ import annotations

import hashlib
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
from finetune.talkers import write_model, write_talkers

from emotion2vec.checkpoint import save_model
from emotion2vec.model.encoder import Emotion2vec

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def model() -> Emotion2vec:
    return tiny_model()


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """The library of `disk.c`; None where it cannot be built."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    library = tmp_path_factory.mktemp("disk") / "disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", str(HERE / "disk.c"), "-o", str(library), "-ldl"], check=True)
    return library


@pytest.fixture(scope="session")
def ask(disk: Path | None, root: Path) -> Iterator[Callable[..., Iterator[Any]]]:
    """A function: what a request to `driver.py` says -> its answers."""
    preloaded = {} if disk is None else {"LD_PRELOAD": str(disk)}
    process = subprocess.Popen(
        [sys.executable, str(HERE / "driver.py"), *preloaded.values()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **preloaded, "PYTHONPATH": str(root)},
    )
    assert process.stdin is not None and process.stdout is not None

    def answers(**request: Any) -> Iterator[Any]:
        print(json.dumps(request), file=process.stdin, flush=True)
        for line in iter(process.stdout.readline, "done\n"):
            assert line
            yield json.loads(line)

    yield answers
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def full_disk(
    tmp_path_factory: pytest.TempPathFactory, disk: Path | None, ask: Callable[..., Iterator[Any]]
) -> Callable[..., Iterator[Any]]:
    """A function: what else a request says -> what becomes of a command, for each call to the disk that fails.

    Commands run in a folder with three clips `in`, clips with labels `talkers`, models `model` and `small`, and what
    the commands `once` have left there.
    """
    if disk is None:
        pytest.skip("needs Linux and a C compiler, cc")
    folder = tmp_path_factory.mktemp("full")
    fill(folder / "before")
    (folder / "at").mkdir()

    def run(*, once: list[list[str]], **request: Any) -> Iterator[Any]:
        before = folder / "before"
        for words in once:
            after = before.with_name(f"{before.name}-{hashlib.sha256(json.dumps(words).encode()).hexdigest()[:8]}")
            if not after.exists():
                shutil.copytree(before, after)
                (answer,) = ask(once=words, before=str(after), stop=None)
                assert answer["code"] == 0, answer
            before = after
        return ask(before=str(before), below=str(folder / "at" / "disk"), **request)

    return run


def fill(folder: Path) -> None:
    """Write what commands read."""
    (folder / "in").mkdir(parents=True)
    tiny = tiny_model()
    save_model(folder / "model", tiny.config, tiny.state_dict())
    for number in range(3):
        soundfile.write(folder / "in" / f"{number}.wav", noise(4_000 + 500 * number, number), 16_000)
    write_talkers(folder / "talkers", speakers=3, takes=1, classes=("anger", "neutral"))
    write_model(folder / "small")
    (folder / "space.yaml").write_text("optim.lr: {choices: [0.01, 0.001]}\n")
    (folder / "plan.yaml").write_text(
        "data: talkers\ncorpora: [{table: talkers/table.csv}]\nfeatures: [logmel]\nheads: [logreg]\n"
    )
