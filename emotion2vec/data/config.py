"""Audio to train on, how it is batched, and how it is distorted."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from importlib.util import find_spec
from pathlib import Path

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.corpora.lists.columns import COLUMNS_HELP, LABELS_HELP
from emotion2vec.data.codecs import CODECS, lacking
from emotion2vec.data.distortions import STRETCH_PACKAGE
from emotion2vec.settings import option


@dataclass(kw_only=True)
class SpeechConfig:
    """How audio is read and batched, whatever says which."""

    columns: list[str] = option([], "what tables call their columns, ours first: file=Datei, emotion=Gefuehl")
    min_samples: int = option(8_000, "shorter utterances are left out, in samples at 16 kHz", ge=800)
    length_step: int = option(1, "batches are cropped to a multiple of this, in samples, so that shapes recur", ge=1)
    workers: int = option(2, "processes that decode audio; 0 decodes in the training process", ge=0)
    cache: bool = option(False, "keep decoded audio in memory (0.23 GB an hour; needs workers: 0)")
    patience: float = option(600.0, "how long a data source that went away is waited for, in seconds", ge=0)
    max_bad_share: float = option(0.01, "stop when more than this share of the files cannot be used", ge=0, le=1)

    @property
    def max_samples(self) -> int:
        """Length that longer utterances are cropped to at random, in samples."""
        raise NotImplementedError

    @property
    def budget(self) -> int:
        """Bound on utterances × length of a batch, in samples."""
        raise NotImplementedError

    def faults(self) -> list[str]:
        """Combinations that cannot work."""
        faults = []
        if self.length_step > self.min_samples:
            faults.append(f"data.length_step is {self.length_step}, expected at most data.min_samples")
        if self.cache and self.workers:
            faults.append(f"data.cache is on and data.workers is {self.workers}, expected data.workers=0")
        return faults


@dataclass(kw_only=True)
class DataConfig(SpeechConfig):
    """Audio to train on without labels, and how it is batched."""

    train: list[str] = option([], "prepared corpora (folders or URLs), folders or manifests of audio; required")
    weights: list[float] = option([], "how often each of data.train is seen per epoch; empty for once each", gt=0)
    window: int = option(100_000, "utterances shuffled together, whose shards are read at the same time", ge=1)
    max_samples: int = option(320_000, "longer utterances are cropped at random to this, in samples", ge=800)
    batch_seconds: float = option(37.5, "audio per batch at most, in seconds", gt=0)
    audio_per_update: float = option(900.0, "audio per update at most, of all devices together, in seconds", gt=0)
    buckets: int = option(20, "how finely batches sort by length: buckets from a length to a third more", ge=1)

    @property
    def budget(self) -> int:
        """See `SpeechConfig`."""
        return int(self.batch_seconds * SAMPLE_RATE)

    def faults(self) -> list[str]:
        """See `SpeechConfig`: of lengths and weights too."""
        faults = super().faults()
        if self.max_samples < self.min_samples:
            faults.append(f"data.max_samples is {self.max_samples}, expected at least data.min_samples")
        if self.max_samples > self.batch_seconds * SAMPLE_RATE:
            faults.append(
                f"data.max_samples is {self.max_samples}, expected at most data.batch_seconds "
                f"({self.batch_seconds:g} s, {self.batch_seconds * SAMPLE_RATE:.0f} samples)"
            )
        if self.weights and len(self.weights) != len(self.train):
            count = len(self.weights)
            faults.append(f"data.weights has {count} values and data.train {len(self.train)}, expected one each")
        return faults


MOVING = ("speed", "stretch", "reverse", "shift")
"""Distortions after which a sound is no longer where it was in the utterance."""


@dataclass(kw_only=True)
class AugmentConfig:
    """Distortions of the audio, drawn anew at every update; a probability of 0 turns one off."""

    mix_prob: float = option(
        0.0,
        "share of labelled utterances that are mixed with another one, before all else, and their labels as much",
        ge=0,
        le=1,
    )
    mix_least: float = option(0.5, "least share of the utterance itself in a mixture", ge=0, le=1)
    noise: list[str] = option([], "noise to add: prepared corpora, folders or manifests")
    noise_prob: float = option(0.0, "share of utterances with noise", ge=0, le=1)
    noise_snr_low: float = option(5.0, "lowest ratio of speech to noise, in dB", ge=-50, le=100)
    noise_snr_high: float = option(20.0, "highest ratio of speech to noise, in dB", ge=-50, le=100)
    reverb: list[str] = option([], "impulse responses of rooms: as augment.noise; empty for synthetic ones")
    reverb_prob: float = option(0.0, "share of utterances with reverberation", ge=0, le=1)
    reverb_seconds: float = option(0.6, "longest reverberation time (T60) of synthetic rooms, in seconds", ge=0.1, le=5)
    speed_prob: float = option(0.0, "share of utterances with another speed, pitch included", ge=0, le=1)
    speed_low: float = option(0.9, "lowest factor on the speed", ge=0.5, le=2)
    speed_high: float = option(1.1, "highest factor on the speed", ge=0.5, le=2)
    pitch_prob: float = option(0.0, "share of utterances with another pitch, of the same duration", ge=0, le=1)
    pitch_semitones: float = option(2.0, "pitch up or down at most, in semitones", gt=0, le=24)
    stretch_prob: float = option(0.0, "share of utterances with another tempo, of the same pitch", ge=0, le=1)
    stretch_low: float = option(0.9, "lowest factor on the tempo", ge=0.5, le=2)
    stretch_high: float = option(1.1, "highest factor on the tempo", ge=0.5, le=2)
    reverse_prob: float = option(0.0, "share of utterances that are played backwards", ge=0, le=1)
    shift_prob: float = option(0.0, "share of utterances that are shifted in time, their ends joined", ge=0, le=1)
    shift_seconds: float = option(1.0, "shift back or forth at most, in seconds", gt=0)
    clip_prob: float = option(0.0, "share of utterances that are clipped", ge=0, le=1)
    clip_db: float = option(12.0, "clipping level below the peak at most, in dB", ge=0, le=60)
    codec_prob: float = option(0.0, "share of utterances that are encoded and decoded", ge=0, le=1)
    codecs: list[str] = option(list(CODECS), f"codecs to draw from: {', '.join(CODECS)}")
    codec_level: float = option(0.95, "compression of mp3, opus and vorbis at most, 0 being the least", ge=0, le=0.99)
    frequency_mask_prob: float = option(0.0, "share of utterances with a band taken out", ge=0, le=1)
    frequency_mask_share: float = option(0.15, "widest band, as a share of the mel scale", gt=0, lt=1)
    time_mask_prob: float = option(0.0, "share of utterances with a stretch of silence", ge=0, le=1)
    time_mask_share: float = option(0.1, "longest silence, as a share of the utterance", gt=0, lt=1)
    gain_prob: float = option(0.0, "share of utterances with a gain, after normalization", ge=0, le=1)
    gain_db: float = option(6.0, "gain up or down at most, in dB", ge=0, le=60)


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """From which list of audio a corpus is prepared, and how."""

    source: Path | str = option(MISSING, "Audio file, folder, or manifest of any supported kind.", argument=True)
    output: str = option(MISSING, "Folder for the shards, new or of an interrupted preparation.", argument=True)
    root: Path | str | None = option(None, "Where relative paths of a list start.")
    resample: bool = option(False, "Copy everything as 16 kHz mono FLAC; else files stay as they are.")
    columns: tuple[str, ...] = option((), COLUMNS_HELP)
    labels: tuple[str, ...] = option((), LABELS_HELP)
    accept_damaged: bool = option(False, "Take what there is of damaged files, and warn of each.")
    copy: bool = option(True, "Copy audio into tar shards, or only name the files.")
    shard_size: int = option(1000, "Utterances per shard.", ge=1)
    workers: int | None = option(None, "Processes that decode; by default one per processor.", ge=1)

    @property
    def audio(self) -> str:
        """What a prepared corpus says of it: `tar` where the audio is copied, `files` where it is named."""
        return "tar" if self.copy else "files"


def check_augment(augment: AugmentConfig) -> list[str]:
    """List combinations of distortions that cannot work, here or anywhere."""
    faults = []
    if augment.noise_prob and not augment.noise:
        faults.append(f"augment.noise_prob is {augment.noise_prob:g} and augment.noise empty, expected a list of noise")
    for name in ("noise_snr", "speed", "stretch"):
        low, high = getattr(augment, f"{name}_low"), getattr(augment, f"{name}_high")
        if low > high:
            faults.append(f"augment.{name}_low is {low:g}, expected at most augment.{name}_high ({high:g})")
    for name in ("pitch", "stretch"):
        probability = getattr(augment, f"{name}_prob")
        if probability and find_spec(STRETCH_PACKAGE) is None:
            needed = "which needs the package python-stretch: pip install 'emotion2vec[stretch]'"
            faults.append(f"augment.{name}_prob is {probability:g}, {needed}")
    return faults + _codec_faults(augment)


def _codec_faults(augment: AugmentConfig) -> list[str]:
    """What is wrong with the codecs."""
    expected = f"expected some of {', '.join(CODECS)}"
    unknown = [codec for codec in augment.codecs if codec not in CODECS]
    if unknown:
        return [f"augment.codecs has {', '.join(unknown)}, {expected}"]
    if not augment.codec_prob:
        return []
    if not augment.codecs:
        return [f"augment.codec_prob is {augment.codec_prob:g} and augment.codecs empty, {expected}"]
    return [
        f"augment.codecs has {codec}, which the libsndfile of this machine cannot encode, expected others"
        for codec in augment.codecs
        if lacking(codec)
    ]


def augment_warnings(augment: AugmentConfig) -> list[str]:
    """What a user should know of distortions that are on: some change what is to be learned."""
    known = {
        "stretch": "a faster or slower tempo sounds like another arousal",
        "reverse": "speech that is played backwards has lost its words and its melody",
    }
    return [
        f"augment.{name}_prob is {probability:g}, which changes the emotion that is heard: {reason}"
        for name, reason in known.items()
        if (probability := getattr(augment, f"{name}_prob"))
    ]
