from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import soundfile
from extraction.helpers import speech, tiny_model

from emotion2vec.model.encoder import Emotion2vec


@pytest.fixture(scope="session")
def model() -> Emotion2vec:
    return tiny_model()


@pytest.fixture
def write_corpus(tmp_path: Path) -> Callable[[Sequence[str]], Path]:
    """Write a folder of wavs of different lengths at 16 kHz under the given names."""

    def write(names: Sequence[str]) -> Path:
        folder = tmp_path / "speech"
        for index, name in enumerate(names):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, speech(3000 + 700 * index, seed=index), 16_000, subtype="FLOAT")
        return folder

    return write
