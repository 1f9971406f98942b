"""Opening a store of features on disk, in every format that `extract` writes, and arrays of others.

T: frames. D: channels of a frame. P: channels of a clip's vector.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from emotion2vec.documents import read_json
from emotion2vec.errors import ManifestError
from emotion2vec.probe.features.stored.formats import FORMATS, KINDS, Arrays, Reader, npz_entries

MODEL_FILES = ("model.json", "config.json", "config.yaml")
"""What lies beside the weights of a model, which are safetensors or HDF5 too."""


@dataclass(frozen=True)
class Store:
    """Features on disk.

    Attributes:
        entries: what reads the arrays of each name; more than one where several files have the name.
        files: all that was opened.
        ledgers: files that say what features were made from.
    """

    entries: dict[str, list[Reader]]
    files: list[Path]
    ledgers: list[Path]


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
    if path.suffix == ".npz":
        job = _read_job(path.with_name(f"{path.stem}.job.json"))
        ledgers = sorted(path.parent.glob(f"{path.stem}.inputs*.jsonl"))
        found = npz_entries(path)
        files = [path]
    else:
        job = _read_job(path / "job.json")
        ledgers = sorted(path.glob("inputs*.jsonl"))
        kind = _format_of(path, job.get("format"))
        files = _files(path, kind)
        found = (entry for file in files for entry in FORMATS[kind][1](path, file))
    _check_layers(path, job.get("layers"))
    readers: dict[str, list[Reader]] = defaultdict(list)
    for name, read in found:
        readers[name].append(read)
    return Store(_in_pairs(readers, job.get("granularity")), files, ledgers)


def _read_job(path: Path) -> dict[str, Any]:
    """What `extract` says of the job that wrote the features; nothing where there is no record of it."""
    try:
        job = read_json(path)
    except (OSError, ValueError):
        return {}
    return job if isinstance(job, dict) else {}


def _format_of(path: Path, named: Any) -> str:
    """The format that the job's record names, or the only one that is there."""
    there = _formats_in(path)
    if named in there:
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


def _check_layers(path: Path, layers: Any) -> None:
    """Refuse several layers: a summary of each, (L, D), looks like frames."""
    several = len(layers) > 1 if isinstance(layers, list) else layers == "all" or "," in str(layers)
    if several:
        raise ManifestError(
            f"features {path}: extracted with layers {layers}, expected one layer or a mean of several: layers last, "
            "mean:N, weights:FILE or a number; or give probe the model, with --layer all"
        )


def _in_pairs(readers: dict[str, list[Reader]], granularity: Any) -> dict[str, list[Reader]]:
    """Join `NAME.frames` and `NAME.utterance`, where the job wrote both, or where every array has its other."""
    ends = tuple(f".{key}" for key in KINDS)
    halves = {name for name in readers if name.endswith(ends)}
    names = {name[: -len(end)] for name in halves for end in ends if name.endswith(end)}
    complete = halves == readers.keys() == {name + end for name in names for end in ends}
    if not (halves and complete and granularity in ("both", None)):
        return readers
    pairs = {name: zip(*(readers[name + end] for end in ends), strict=True) for name in sorted(names)}
    return {name: [partial(_joined, *pair) for pair in several] for name, several in pairs.items()}


def _joined(frames: Reader, utterance: Reader) -> Arrays:
    """One clip's arrays, of readers that each give one."""
    return {key: next(iter(read().values())) for key, read in zip(KINDS, (frames, utterance), strict=True)}
