"""What the teacher says of a corpus, computed once and kept: whole clips as they are, in float16.

    features.json             whose features of what these are; written first
    part_00000/frames.npy     (ΣT, L, D) float16, one clip after the other
    part_00000/scores.npy     (n, K) float32 of the teacher's head, where it is learnt
    part_00000/clips.json     ids of the clips with their first frame and number of frames, and what was left out

A part appears when it is complete; whoever starts again computes those that are not there.

S: samples. T: frames of a clip. L: layers. D: teacher's width. n: clips of a part. K: classes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.samples import normalize
from emotion2vec.audio.windows import Chunking, cut_windows, plan_windows
from emotion2vec.data.pieces import Piece, lengths_hash, lengths_of, loaded, plan_pieces
from emotion2vec.data.sources import Source
from emotion2vec.distil.teacher import Taught, Teacher
from emotion2vec.documents import read_json
from emotion2vec.errors import AudioError, ConfigError, StorageError
from emotion2vec.files import complete_folder, write_json
from emotion2vec.training.ranks import Ranks
from emotion2vec.units import duration

HEADER = "features.json"
FORMAT, FORMAT_VERSION = "emotion2vec-taught", 1
NOT_FINITE = "the teacher's features are not finite in float16"


@dataclass(frozen=True)
class Content:
    """Whose features of what a folder holds.

    Attributes:
        teacher: its name.
        fingerprint: of its weights.
        layers: blocks, counted from 1.
        labels: of its head, where that is learnt.
        utterances: clips of the corpus.
        seconds: audio of it.
        lengths: hash of the clips' lengths, in their order.
    """

    teacher: str
    fingerprint: str
    layers: list[int]
    labels: list[str]
    utterances: int
    seconds: float
    lengths: str

    def differences(self, other: Content) -> list[str]:
        """What another one has otherwise: its layers, or else its weights; its labels; its corpus."""
        found = []
        if self.layers != other.layers or self.labels != other.labels:
            found.append("layers")
        elif self.fingerprint != other.fingerprint:
            found.append("teacher")
        return found + ["corpus"] * (self.lengths != other.lengths)

    def shown(self) -> str:
        """In words."""
        layers = ", ".join(str(layer) for layer in self.layers) + (" and the head" if self.labels else "")
        teacher = f"{self.teacher} (weights {self.fingerprint[:12]})"
        corpus = f"{self.utterances} clips ({duration(self.seconds)}, lengths {self.lengths[:12]})"
        return f"teacher {teacher}, layers {layers}, of {corpus}"


def content_of(teacher: Teacher, sources: Sequence[Source]) -> Content:
    """What features of these sources by this teacher would be."""
    lengths = [lengths_of(source) for source in sources]
    count, samples = sum(len(row) for row in lengths), sum(int(row.sum()) for row in lengths)
    return Content(
        teacher.name,
        teacher.fingerprint,
        teacher.layers,
        teacher.labels,
        count,
        samples / SAMPLE_RATE,
        lengths_hash(sources),
    )


def compute_features(
    folder: Path, teacher: Teacher, sources: Sequence[Source], ranks: Ranks, say: Callable[[str], None]
) -> None:
    """See to it that a folder holds the teacher's features of all sources; the processes share the parts out.

    Args:
        folder: new, or of an earlier run on the same corpus with the same teacher.
        teacher: on its device.
        sources: what is trained on.
        ranks: the processes of the run.
        say: gets the size beforehand, and how far it is.

    Raises:
        ConfigError: the folder holds features of another teacher, other layers or another corpus.
        StorageError: there is no room, or the disk does not take them.
    """
    content, parts = content_of(teacher, sources), plan_pieces(sources)
    missing = [number for number in range(len(parts)) if not (_part(folder, number) / "clips.json").is_file()]
    ranks.main_only(lambda: _begin(folder, content, _size(teacher, sources, [parts[n] for n in missing]), say))
    error: StorageError | None = None
    try:
        for done, number in enumerate(missing[ranks.rank :: ranks.size]):
            say(f"features: part {done * ranks.size + 1} of {len(missing)}")
            _write_part(_part(folder, number), teacher, sources[parts[number].source], parts[number])
    except OSError as raised:
        error = StorageError(f"target.features {folder}: cannot be written: {raised}; its complete parts stay")
    ranks.raise_together(error)


def _begin(folder: Path, content: Content, needed: int, say: Callable[[str], None]) -> None:
    """Compare what is there, tell how much will come, and write the header."""
    header = folder / HEADER
    if header.is_file():
        there = read_header(folder)
        if differing := there.differences(content):
            raise ConfigError(
                f"target.features is {folder}, whose {' and '.join(differing)} differ: it holds {there.shown()}; this "
                f"run has {content.shown()}; expected another folder"
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"target.features is {folder}, which holds no {HEADER}, expected a new folder or an own one")
    if needed:
        say(f"features of {content.shown()}: {needed / 1e9:.2f} GB to compute into {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise StorageError(
                f"target.features {folder}: has {free / 1e9:.2f} GB free, expected {needed / 1e9:.2f} GB; without "
                "target.features they are computed as needed"
            )
        if not header.is_file():
            write_json(header, {"format": FORMAT, "format_version": FORMAT_VERSION} | asdict(content))
    except OSError as error:
        raise StorageError(f"target.features {folder}: cannot be written: {error}") from error


def read_header(folder: Path) -> Content:
    """What a folder of features says that it holds.

    Raises:
        ConfigError: it cannot be read, or is of another format or version.
    """
    path = folder / HEADER
    try:
        document = read_json(path)
        kind, version = document.pop("format"), document.pop("format_version")
        if (kind, version) != (FORMAT, FORMAT_VERSION):
            raise ConfigError(f"{path}: is {kind!r} {version}, expected {FORMAT!r} {FORMAT_VERSION}")
        return Content(**document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: cannot be read as a header of features: {error}") from error


def _size(teacher: Teacher, sources: Sequence[Source], parts: Sequence[Piece]) -> int:
    """Bytes of the features of some parts."""
    lengths = [lengths_of(sources[part.source])[part.first : part.stop] for part in parts]
    frames = sum(teacher.config.grid.count(int(length)) for row in lengths for length in row)
    return frames * len(teacher.layers) * teacher.config.width * 2


def _part(folder: Path, number: int) -> Path:
    return folder / f"part_{number:05d}"


def _write_part(folder: Path, teacher: Teacher, source: Source, part: Piece) -> None:
    rows: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    clips: list[tuple[str, int, int]] = []
    left_out: dict[str, str] = {}
    first = 0
    for name, found in _heard(teacher, source, part):
        if isinstance(found, AudioError):
            left_out[name] = str(found)
            continue
        frames = found.layers[:, 0].transpose(0, 1).half().cpu().numpy()  # (T, L, D)
        score = None if found.scores is None else found.scores[0].cpu().numpy()  # (K,)
        if not np.isfinite(frames).all() or (score is not None and not np.isfinite(score).all()):
            left_out[name] = NOT_FINITE
            continue
        rows.append(frames)
        scores += [] if score is None else [score]
        clips.append((name, first, len(frames)))
        first += len(frames)
    empty = np.zeros((0, len(teacher.layers), teacher.config.width), np.float16)
    with complete_folder(folder) as partial:
        np.save(partial / "frames.npy", np.concatenate([empty, *rows]))
        if scores:
            np.save(partial / "scores.npy", np.stack(scores))
        document = {"clips": clips, "left_out": left_out}
        (partial / "clips.json").write_text(json.dumps(document))  # in ASCII, which names of any bytes survive


def _heard(teacher: Teacher, source: Source, part: Piece) -> Iterator[tuple[str, Taught | AudioError]]:
    """What the teacher says of each clip, one after the other: (L, 1, T, D), and scores (1, K) of its head."""
    for name, waveform in loaded(source, range(part.first, part.stop)):
        yield name, waveform if isinstance(waveform, AudioError) else taught_whole(teacher, waveform)


def taught_whole(teacher: Teacher, waveform: np.ndarray) -> Taught:
    """What the teacher says of a clip (S,), window by window where it is too long; scores are means over windows."""
    waveform = normalize(waveform) if teacher.config.normalizes else waveform
    grid = teacher.config.grid
    windows = plan_windows(waveform.size, Chunking().within(teacher.config.max_seconds), grid)
    pieces, scores = [], []
    for window, samples in zip(windows, cut_windows([waveform], windows), strict=True):
        taught = teacher(torch.from_numpy(samples).unsqueeze(0).to(teacher.device))
        pieces.append(taught.layers[:, :, window.skip : window.skip + window.keep])
        scores += [] if taught.scores is None else [taught.scores]
    return Taught(torch.cat(pieces, dim=2), torch.stack(scores).mean(dim=0) if scores else None)
