from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture(scope="session")
def equal_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips of one second: every update of eight seconds holds them all, whoever reads which."""
    folder = tmp_path_factory.mktemp("equal")
    rng = np.random.default_rng(0)
    for number in range(8):
        tone = np.sin(2 * np.pi * (100 + 60 * number) * np.arange(16_000) / 16_000)
        soundfile.write(folder / f"{number}.wav", 0.3 * tone + 0.05 * rng.normal(size=16_000), 16_000)
    return folder
