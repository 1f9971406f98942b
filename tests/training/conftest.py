from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ten clips of 0.6 to 1.5 s: tones under noise, all different."""
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(0)
    for number in range(10):
        samples = rng.integers(9_600, 24_000)
        tone = np.sin(2 * np.pi * (100 + 40 * number) * np.arange(samples) / 16_000)
        soundfile.write(folder / f"clip{number}.wav", 0.3 * tone + 0.05 * rng.normal(size=samples), 16_000)
    return folder
