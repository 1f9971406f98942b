"""Speech-like sound, and files of it in every format."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emotion2vec.audio.decode import find_ffmpeg

RATE = 16_000


@pytest.fixture
def sound() -> np.ndarray:
    """Ten seconds of noise whose loudness changes five times a second, (S,)."""
    rng = np.random.default_rng(0)
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 5 * np.arange(10 * RATE) / RATE)
    return (0.2 * envelope * rng.standard_normal(10 * RATE)).clip(-0.9, 0.9).astype(np.float32)


@pytest.fixture
def encode() -> Callable[..., bytearray]:
    """A function: samples (S,) or (C, S), format and subtype -> the bytes of a file by libsndfile."""

    def run(samples: np.ndarray, format: str = "WAV", subtype: str | None = "PCM_16", rate: int = RATE) -> bytearray:
        stream = io.BytesIO()
        soundfile.write(stream, samples.T, rate, format=format, subtype=subtype)
        return bytearray(stream.getvalue())

    return run


def encoder() -> str | None:
    """The ffmpeg that files are made with: imageio-ffmpeg's encodes more than that of many systems."""
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return find_ffmpeg()


@pytest.fixture
def transcode(tmp_path: Path) -> Callable[..., Path]:
    """A function: samples, file name and ffmpeg's options -> the file that ffmpeg wrote."""
    program = encoder()
    if program is None:
        pytest.skip("needs ffmpeg, or the package imageio-ffmpeg")

    def run(samples: np.ndarray, name: str, *options: str) -> Path:
        source = tmp_path / "source-of-ffmpeg.wav"
        soundfile.write(source, samples.T, RATE, subtype="FLOAT")
        target = tmp_path / name
        subprocess.run([program, "-v", "error", "-y", "-i", str(source), *options, str(target)], check=True)
        source.unlink()
        return target

    return run
