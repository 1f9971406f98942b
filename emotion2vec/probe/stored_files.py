"""Opening features on disk, in every format that `extract` writes, and arrays of others.

T: frames. D: channels of a frame. P: channels of a clip's vector.
"""

from __future__ import annotations

import json
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.corpora.names import without_suffix
from emotion2vec.errors import ManifestError
from emotion2vec.probe.stored_parts import hdf5_entries, kaldi_entries, parquet_entries

Arrays = Mapping[str, np.ndarray]
"""Of one clip: `frames` (T, D), `utterance` (P,), or both; what is alone may be either."""

Found = Iterator[tuple[str, Callable[[], Arrays]]]
"""Names in a file, each with what reads its arrays."""

BOTH = ("frames", "utterance")
"""Arrays of a clip where there are two, and the ends of their names."""

MODEL_FILES = ("model.json", "config.json", "config.yaml")
"""What lies beside the weights of a model, which are safetensors or HDF5 too."""


@dataclass
class Store:
    """Features on disk.

    Attributes:
        entries: what reads the arrays of each name; more than one where several files have the name.
        files: all that was opened.
        ledgers: files that say what features were made from.
    """

    entries: dict[str, list[Callable[[], Arrays]]] = field(default_factory=lambda: defaultdict(list))
    files: list[Path] = field(default_factory=list)
    ledgers: list[Path] = field(default_factory=list)


def is_feature_store(path: Path) -> bool:
    """Whether a path is an .npz file, or a folder of features in a known format that is no model."""
    if path.suffix == ".npz":
        return path.is_file()
    return path.is_dir() and bool(_formats_in(path))


def open_store(path: Path) -> Store:
    """List what a store holds.

    Args:
        path: an `.npz` of one array per clip; or a folder of what `extract` wrote in any format, of `.npy` files, or of
            the original recipe: `NAME.npy` (all frames), `NAME.lengths` (frames per clip) and `NAME.tsv` or `NAME.emo`
            (a name per clip, in the same order).

    Raises:
        ManifestError: files cannot be read, do not fit each other, are of several formats, or hold several layers.
    """
    store = Store()
    if path.suffix == ".npz":
        about = path.with_name(f"{path.stem}.job.json")
        store.ledgers = sorted(path.parent.glob(f"{path.stem}.inputs*.jsonl"))
        found = _npz_entries(path)
        store.files = [path]
    else:
        about = path / "job.json"
        store.ledgers = sorted(path.glob("inputs*.jsonl"))
        kind = _format_of(path, about)
        store.files = _files(path, kind)
        found = (entry for file in store.files for entry in FORMATS[kind][1](path, file))
    _check_layers(path, _fact(about, "layers"))
    for name, read in _in_pairs(dict(_gathered(found)), about):
        store.entries[name].append(read)
    return store


def _format_of(path: Path, about: Path) -> str:
    """The format that the job's record names, or the only one that is there."""
    there = _formats_in(path)
    if (named := _fact(about, "format")) in there:
        return str(named)
    if len(there) > 1:
        raise ManifestError(f"features {path}: holds files of the formats {', '.join(there)}, expected one")
    return there[0]


def _formats_in(path: Path) -> list[str]:
    if _files(path, "iemocap"):
        return ["iemocap"]
    return [kind for kind in FORMATS if kind != "iemocap" and _files(path, kind)]


def _files(path: Path, kind: str) -> list[Path]:
    """Files of a format in a folder; partial ones are hidden."""
    pattern = FORMATS[kind][0]
    if kind not in ("npy", "iemocap") and any((path / name).exists() for name in MODEL_FILES):
        return []
    return sorted(file for file in path.glob(pattern) if not file.name.startswith("."))


def _fact(about: Path, name: str) -> Any:
    try:
        return json.loads(about.read_text(encoding="utf-8")).get(name)
    except (OSError, ValueError, AttributeError):
        return None


def _check_layers(path: Path, layers: Any) -> None:
    """Refuse several layers: a summary of each, (L, D), looks like frames."""
    several = len(layers) > 1 if isinstance(layers, list) else layers == "all" or "," in str(layers)
    if several:
        raise ManifestError(
            f"features {path}: extracted with layers {layers}, expected one layer or a mean of several: layers last, "
            "mean:N, weights:FILE or a number; or give probe the model, with --layer all"
        )


def _gathered(found: Found) -> Iterator[tuple[str, list[Callable[[], Arrays]]]]:
    readers: dict[str, list[Callable[[], Arrays]]] = defaultdict(list)
    for name, read in found:
        readers[name].append(read)
    return iter(readers.items())


def _in_pairs(readers: Mapping[str, list[Callable[[], Arrays]]], about: Path) -> Found:
    """Join `NAME.frames` and `NAME.utterance`, where the job wrote both, or where every array has its other."""
    ends = tuple(f".{key}" for key in BOTH)
    halves = {name for name in readers if name.endswith(ends)}
    names = {name[: -len(end)] for name in halves for end in ends if name.endswith(end)}
    complete = halves == readers.keys() == {name + end for name in names for end in ends}
    paired = bool(halves) and _fact(about, "granularity") in ("both", None) and complete
    if not paired:
        yield from ((name, read) for name, several in readers.items() for read in several)
        return
    for name in sorted(names):
        pair = [readers[name + end] for end in ends]
        for first, second in zip(*pair, strict=True):
            yield name, partial(_joined, first, second)


def _joined(first: Callable[[], Arrays], second: Callable[[], Arrays]) -> Arrays:
    return {key: next(iter(read().values())) for key, read in zip(BOTH, (first, second), strict=True)}


def _npy_entries(folder: Path, file: Path) -> Found:
    name = file.relative_to(folder).as_posix().removesuffix(".npy")
    yield name, lambda: {"frames": np.load(file, allow_pickle=False)}


def _npz_entries(path: Path) -> Found:
    try:
        archive = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ManifestError(f"features {path}: cannot be read as .npz: {error}") from error
    return ((key, partial(_member, archive, key)) for key in archive.files)


def _member(archive: Any, key: str) -> Arrays:
    return {"frames": archive[key]}


def _safetensors_entries(folder: Path, file: Path) -> Found:
    name = file.relative_to(folder).as_posix().removesuffix(".safetensors")

    def read() -> Arrays:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(file)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        if len(tensors) == 1:
            return {"frames": next(iter(tensors.values()))}
        return {key: tensors[key] for key in BOTH}

    yield name, read


def _recipe_entries(folder: Path, path: Path) -> Found:
    """Frames of all clips in one array, cut by a file of lengths and named by a file of names."""
    names = next((path.with_suffix(end) for end in (".tsv", ".emo") if path.with_suffix(end).is_file()), None)
    if names is None or not path.with_suffix(".npy").is_file():
        raise ManifestError(f"features {path}: expected beside it {path.stem}.npy, and {path.stem}.tsv or .emo")
    try:
        counts = [int(line) for line in path.read_text(encoding="utf-8").split()]
        lines = [line for line in names.read_text(encoding="utf-8").split("\n") if line.strip()]
    except ValueError as error:
        raise ManifestError(f"features {path}: cannot be read: {error}") from error
    if names.suffix == ".tsv" and len(lines) == len(counts) + 1:
        lines = lines[1:]  # a fairseq manifest starts with its root
    rows = [line.split("\t")[0] if "\t" in line else line.split()[0] for line in lines]
    frames = np.load(path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
    if len(rows) != len(counts) or sum(counts) != len(frames):
        raise ManifestError(
            f"features {path}: {len(rows)} names, {len(counts)} lengths of {sum(counts)} frames together, and "
            f"{len(frames)} frames in {path.stem}.npy; expected them to agree"
        )
    for row, end, count in zip(rows, np.cumsum(counts).tolist(), counts, strict=True):
        yield (without_suffix(row) if names.suffix == ".tsv" else row), partial(_cut, frames, end - count, end)


def _cut(frames: np.ndarray, start: int, end: int) -> Arrays:
    return {"frames": frames[start:end]}


FORMATS: dict[str, tuple[str, Callable[[Path, Path], Found]]] = {
    "iemocap": ("*.lengths", _recipe_entries),
    "npy": ("**/*.npy", _npy_entries),
    "npz": ("*.npz", lambda folder, file: _npz_entries(file)),
    "safetensors": ("**/*.safetensors", _safetensors_entries),
    "parquet": ("*.parquet", parquet_entries),
    "hdf5": ("*.h5", hdf5_entries),
    "kaldi": ("*.scp", kaldi_entries),
}
"""Files of each format, and what lists the names in one."""
