"""Make examples/sample_speech: a small synthetic emotional corpus, spoken by the formant synthesizer espeak-ng.

Every speaker says the same two sentences in every emotion, so that neither words nor speaker tell the emotion; only
prosody does. Needs the program `espeak-ng` (Debian: `apt-get install espeak-ng`). The same version of espeak-ng and
libsndfile gives the same bytes every time.

    python examples/make_sample_speech.py [--output DIR] [--seed N]

S: samples at 16 kHz.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.samples import load_audio
from emotion2vec.seeding import keyed_seed

OPUS_COMPRESSION = 0.94
"""libsndfile's compression level for Opus, 0 to 1; this one gives some 24 kbit/s for one channel."""


@dataclass(frozen=True)
class Speaker:
    """A voice of espeak-ng (language + variant) that stands for one speaker."""

    name: str
    gender: str
    language: str
    voice: str


@dataclass(frozen=True)
class Prosody:
    """How an emotion is spoken; percentages are relative to the voice's own."""

    rate: float  # speaking rate, %
    pitch: float  # mean pitch, %
    pitch_range: float  # excursion of the pitch around its mean, %
    level: float  # RMS level, dB relative to full scale
    tilt: float  # spectral tilt, dB per octave around 1 kHz: positive is tense and bright, negative soft and dull
    pause: int  # silence in the middle of the sentence, ms
    stress: bool = False  # whether the marked word is emphasized
    tremor: float = 0.0  # depth, 0 to 1, of an amplitude modulation at TREMOR_HZ


TREMOR_HZ = 7.0

# espeak-ng silently drops the variant of voices named by an alias of their file ("en-gb", "fr-fr"): name the file.
SPEAKERS = (
    Speaker("en1", "male", "en", "en-us+m3"),
    Speaker("en2", "female", "en", "en+f2"),
    Speaker("de1", "male", "de", "de+m7"),
    Speaker("de2", "female", "de", "de+f3"),
    Speaker("fr1", "female", "fr", "fr+f4"),
    Speaker("it1", "male", "it", "it+m2"),
    Speaker("es1", "female", "es", "es+f1"),
    Speaker("pl1", "male", "pl", "pl+m4"),
)

EMOTIONS = {
    "angry": Prosody(rate=125, pitch=125, pitch_range=170, level=-23, tilt=3.0, pause=0, stress=True),
    "fearful": Prosody(rate=130, pitch=150, pitch_range=60, level=-27, tilt=0.5, pause=120, tremor=0.6),
    "happy": Prosody(rate=108, pitch=140, pitch_range=200, level=-25, tilt=1.5, pause=0, stress=True),
    "neutral": Prosody(rate=100, pitch=100, pitch_range=90, level=-28, tilt=0.0, pause=0),
    "sad": Prosody(rate=76, pitch=82, pitch_range=30, level=-33, tilt=-3.0, pause=250),
}

# *word* is stressed where the emotion asks for it; | is where a pause may fall.
SENTENCES = {
    "en": (
        "The blue bag is still | behind the *kitchen* door.",
        "They will bring the *letters* back | on Sunday night.",
    ),
    "de": ("Der blaue Korb steht | noch hinter der *Tür*.", "Am Sonntag bringt sie | die *Briefe* nach Hause."),
    "fr": ("Le panier bleu se trouve | derrière la *porte*.", "Dimanche soir elle apporte | les *lettres* chez nous."),
    "it": ("La borsa blu si trova | dietro la *porta*.", "Domenica sera porta | le *lettere* a casa."),
    "es": ("La bolsa azul está | detrás de la *puerta*.", "El domingo traerá | las *cartas* a casa."),
    "pl": ("Niebieska torba stoi | za *drzwiami* kuchni.", "W niedzielę przyniesie | *listy* do domu."),
}


def main() -> int:
    """Make the whole corpus; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "sample_speech", help="folder to fill")
    parser.add_argument("--seed", type=int, default=1, help="key of the small variations between clips")
    arguments = parser.parse_args()
    if shutil.which("espeak-ng") is None:
        print("espeak-ng is not installed; on Debian or Ubuntu: apt-get install espeak-ng", file=sys.stderr)
        return 2
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = ["file\tspeaker\tgender\temotion\tlanguage"]
    for speaker in SPEAKERS:
        for emotion in EMOTIONS:
            for index in range(len(SENTENCES[speaker.language])):
                name = f"{speaker.name}_{emotion}_{index + 1}.opus"
                write_opus(arguments.output / name, speak(speaker, emotion, index, arguments.seed), serial=len(rows))
                rows.append("\t".join((name, speaker.name, speaker.gender, emotion, speaker.language)))
    (arguments.output / "metadata.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    print(f"{arguments.output}: {len(rows) - 1} clips")
    return 0


def speak(speaker: Speaker, emotion: str, index: int, seed: int) -> np.ndarray:
    """Synthesize one clip: (S,) float32 at 16 kHz."""
    draw = random.Random(keyed_seed(seed, speaker.name, emotion, index))
    prosody = vary(EMOTIONS[emotion], draw)
    ssml = to_ssml(SENTENCES[speaker.language][index], prosody)
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        subprocess.run(["espeak-ng", "-z", "-m", "-v", speaker.voice, "-w", str(wav), ssml], check=True)
        return color(trim(load_audio(wav)), prosody, phase=draw.random())


def vary(prosody: Prosody, draw: random.Random) -> Prosody:
    """Move every setting a little, as no speaker says a thing twice alike."""
    return replace(
        prosody,
        rate=prosody.rate * draw.uniform(0.94, 1.06),
        pitch=prosody.pitch * draw.uniform(0.94, 1.06),
        pitch_range=prosody.pitch_range * draw.uniform(0.85, 1.15),
        level=prosody.level + draw.uniform(-1.5, 1.5),
        tilt=prosody.tilt + draw.uniform(-0.5, 0.5),
        pause=round(prosody.pause * draw.uniform(0.7, 1.3)),
    )


def to_ssml(sentence: str, prosody: Prosody) -> str:
    """Write a marked sentence as SSML with the prosody that espeak-ng can render itself."""
    emphasis = r'<emphasis level="strong">\1</emphasis>' if prosody.stress else r"\1"
    text = re.sub(r"\*(.+?)\*", emphasis, sentence)
    text = text.replace("| ", f'<break time="{prosody.pause}ms"/> ' if prosody.pause else "")
    attributes = f'rate="{prosody.rate:.0f}%" pitch="{prosody.pitch:.0f}%" range="{prosody.pitch_range:.0f}%"'
    return f"<speak><prosody {attributes}>{text}</prosody></speak>"


def trim(waveform: np.ndarray, threshold: float = 0.005, margin: int = SAMPLE_RATE // 20) -> np.ndarray:
    """Cut the silence at both ends of (S,) down to `margin` samples."""
    loud = np.flatnonzero(np.abs(waveform) > threshold)
    return waveform[max(loud[0] - margin, 0) : loud[-1] + margin]


def color(waveform: np.ndarray, prosody: Prosody, phase: float) -> np.ndarray:
    """Apply to (S,) what espeak-ng cannot render: spectral tilt, tremor and an exact level."""
    frequency = np.fft.rfftfreq(waveform.size, 1 / SAMPLE_RATE)
    octaves = np.log2(np.clip(frequency, 125, 4000) / 1000)
    tilted = np.fft.irfft(np.fft.rfft(waveform) * 10 ** (prosody.tilt * octaves / 20), waveform.size)
    cycles = TREMOR_HZ * np.arange(waveform.size) / SAMPLE_RATE + phase
    shaken = tilted * (1 - prosody.tremor * (0.5 + 0.5 * np.sin(2 * np.pi * cycles)))
    leveled = shaken * (10 ** (prosody.level / 20) / np.sqrt(np.mean(shaken**2)))
    return np.clip(leveled, -0.99, 0.99).astype(np.float32)


def write_opus(path: Path, waveform: np.ndarray, serial: int) -> None:
    """Write (S,) as Ogg Opus with a given stream serial, which libsndfile would draw at random."""
    soundfile.write(path, waveform, SAMPLE_RATE, format="OGG", subtype="OPUS", compression_level=OPUS_COMPRESSION)
    path.write_bytes(set_serial(path.read_bytes(), serial))


def set_serial(stream: bytes, serial: int) -> bytes:
    """Replace the serial number in every page of an Ogg stream and renew the checksums (RFC 3533, section 6)."""
    data, start = bytearray(stream), 0
    while start < len(data):
        segments = data[start + 26]
        end = start + 27 + segments + sum(data[start + 27 : start + 27 + segments])
        data[start + 14 : start + 18] = serial.to_bytes(4, "little")
        data[start + 22 : start + 26] = bytes(4)
        data[start + 22 : start + 26] = ogg_checksum(data[start:end]).to_bytes(4, "little")
        start = end
    return bytes(data)


def ogg_checksum(page: bytes | bytearray) -> int:
    """CRC-32 with the polynomial 0x04C11DB7, unreflected, from 0."""
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = ((checksum << 1) ^ 0x04C11DB7 if checksum & 0x80000000 else checksum << 1) & 0xFFFFFFFF
    return checksum


if __name__ == "__main__":
    sys.exit(main())
