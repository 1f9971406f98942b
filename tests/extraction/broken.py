"""Files that are damaged, lie or hold odd samples, the same in every run; docs/reliability.md counts them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import numpy as np
import soundfile
from extraction.helpers import speech

FORMATS = {
    "wav": ("WAV", "PCM_16"), "float.wav": ("WAV", "FLOAT"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III"), "aiff": ("AIFF", "PCM_16"), "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"), "w64": ("W64", "PCM_16"),
}  # fmt: skip
DAMAGES = 30


def encoded(name: str, samples: np.ndarray, rate: int = 16_000) -> bytes:
    """A file of a format, named by its suffix."""
    format, subtype = FORMATS[name]
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=format, subtype=subtype)
    return stream.getvalue()


def damaged(every: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of truncated and bit-flipped files of every format, the same in every run; each `every`-th."""
    for name in FORMATS:
        rng = np.random.default_rng(len(name))
        whole = encoded(name, speech(6_000))
        for number in range(0, DAMAGES, every):  # half of them in the first 200 bytes, where headers are
            limit = 200 if number % 2 else len(whole)
            yield f"cut{number}.{name}", whole[: rng.integers(0, limit)]
        for number in range(0, DAMAGES, every):
            content = bytearray(whole)
            region = 200 if number % 2 else len(whole)
            for place in rng.integers(0, region, 1 + number // 3):
                content[place] ^= 1 << rng.integers(8)
            yield f"flip{number}.{name}", bytes(content)


def wav_header(data_bytes: int, rate: int = 16_000, channels: int = 1) -> bytes:
    """A wav header of 16-bit samples that promises so many bytes."""
    block = 2 * channels
    body = struct.pack("<HHIIHH", 1, channels, rate, rate * block % 2**32, block % 2**16, 16)
    size = min(data_bytes + 36, 2**32 - 1)
    return (
        b"RIFF"
        + struct.pack("<I", size)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + body
        + b"data"
        + struct.pack("<I", data_bytes)
    )


def lying() -> dict[str, bytes]:
    """Headers that promise more than there is, or what cannot be."""
    pcm = (speech(6_000) * 32_767).astype("<i2").tobytes()
    flac = bytearray(encoded("flac", speech(6_000)))
    flac[21] |= 0x0F  # total samples: 36 bits, in STREAMINFO
    flac[22:26] = b"\xff" * 4
    au = bytearray(encoded("au", speech(6_000)))
    au[8:12] = struct.pack(">I", 2**31)
    return {
        "ten_hours.wav": wav_header(36_000 * 32_000) + pcm,
        "all_ones.wav": wav_header(2**32 - 1) + pcm,
        "only_header.wav": wav_header(36_000 * 32_000),
        "no_rate.wav": wav_header(12_000, rate=0) + pcm,
        "terahertz.wav": wav_header(12_000, rate=2**32 - 1) + pcm,
        "no_channel.wav": wav_header(12_000, channels=0) + pcm,
        "many_channels.wav": wav_header(12_000, channels=60_000) + pcm,
        "endless.flac": bytes(flac),
        "endless.au": bytes(au),
        "text.wav": b"this is no audio\n" * 100,
        "html.mp3": b"<html><body>404 Not Found</body></html>",
        "zeros.flac": bytes(10_000),
        "empty.ogg": b"",
    }


def odd() -> dict[str, tuple[np.ndarray, int, bool]]:
    """Samples, rate, and whether they can be used."""
    clean = speech(8_000)
    holes = clean.copy()
    holes[100] = np.nan
    spikes = clean.copy()
    spikes[5] = np.inf
    return {
        "nan": (holes, 16_000, False),
        "infinite": (spikes, 16_000, False),
        "all_nan": (np.full(8_000, np.nan), 16_000, False),
        "huge": (clean * 1e30, 16_000, True),
        "tiny": (clean * 1e-30, 16_000, True),
        "silence": (np.zeros(8_000), 16_000, True),
        "constant": (np.full(8_000, 0.5), 16_000, True),
        "offset": (clean + 100, 16_000, True),
        "clipped": (np.sign(clean), 16_000, True),
        "impulse": (np.eye(1, 8_000)[0], 16_000, True),
        "one_sample": (clean[:1], 16_000, False),
        "399_samples": (clean[:399], 16_000, False),
        "400_samples": (clean[:400], 16_000, True),
        "401_samples": (clean[:401], 16_000, True),
        "8_khz": (clean, 8_000, True),
        "11025_hz": (clean, 11_025, True),
        "44100_hz": (clean, 44_100, True),
        "192_khz": (clean, 192_000, True),
        "32_channels": (np.stack([clean] * 32, axis=1), 48_000, True),
        "opposite_channels": (np.stack([clean, -clean], axis=1), 16_000, True),
        "999_hz": (clean, 999, False),
    }


def broken(every: int) -> dict[str, bytes]:
    """All of them by their names, of those that are damaged each `every`-th."""
    files = dict(damaged(every)) | lying()
    for name, (samples, rate, _) in odd().items():
        stream = io.BytesIO()
        soundfile.write(stream, samples, rate, format="WAV", subtype="FLOAT")
        files[f"{name}.wav"] = stream.getvalue()
    return files
