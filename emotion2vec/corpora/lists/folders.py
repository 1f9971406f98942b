"""Audio that lies in folders: all of it, some of it by name, or one folder per class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from emotion2vec.audio.decode.suffixes import AUDIO_SUFFIXES, SNDFILE_SUFFIXES
from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.lists.naming import unique_ids
from emotion2vec.corpora.names import normal, path_id, span_name, stem
from emotion2vec.corpora.utterance import Corpus, Listing, Utterance
from emotion2vec.errors import ManifestError


def audio_files(
    folder: Path, faults: list[Fault] | None = None, left_out: Counter[str] | None = None, *, doubles: bool = True
) -> list[Path]:
    """Sorted audio files below a folder; hidden names are passed over, and links are followed, once.

    Args:
        folder: where to look.
        faults: gets what cannot be opened.
        left_out: counts files with other endings.
        doubles: whether a video counts where the sound that was taken out of it lies beside it.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    faults = [] if faults is None else faults
    walk = os.walk(folder, followlinks=True, onerror=lambda e: faults.append(Fault(str(e.filename), str(e.strerror))))
    for parent, folders, files in walk:
        try:
            status = os.stat(parent)
        except OSError as error:  # it went meanwhile
            faults.append(Fault(parent, str(error.strerror)))
            continue
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(parent, name) for name in files if not name.startswith(".")):
            if path.suffix.lower() not in AUDIO_SUFFIXES:
                if left_out is not None:
                    left_out[path.suffix.lower()] += 1
            elif path.is_file():
                found.append(path)
            else:
                faults.append(Fault(str(path), "the link points nowhere"))
    return sorted(found) if doubles else sorted(_without_doubles(found))


def _without_doubles(paths: list[Path]) -> list[Path]:
    """Audio files without the videos whose sound lies beside them."""
    sound = {path.with_suffix("") for path in paths if path.suffix.lower() in SNDFILE_SUFFIXES}
    return [path for path in paths if path.suffix.lower() in SNDFILE_SUFFIXES or path.with_suffix("") not in sound]


def read_folder(folder: Path) -> Listing:
    """All audio in a folder and its subfolders."""
    faults: list[Fault] = []
    left_out: Counter[str] = Counter()
    paths = audio_files(folder, faults, left_out)
    named = [(str(path), found_below(folder, path)) for path in paths]
    utterances, repeated = unique_ids(named, keyed=set())
    return Listing(utterances, [*faults, *repeated], left_out=left_out)


def read_class_folders(root: str | Path) -> Corpus:
    """Read a folder that has one folder per class; speakers are unknown, so only folds `random` are possible.

    Raises:
        ManifestError: it has fewer than two folders with audio.
    """
    root = Path(root)
    if not root.is_dir():
        raise ManifestError(f"root {root}: no such folder, expected one that has a folder per class")
    passed_over: Counter[str] = Counter()
    files = {
        folder.name: audio_files(folder, left_out=passed_over, doubles=False)
        for folder in sorted(root.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    }
    named = [(str(path), found_below(root, path, label=label)) for label, paths in files.items() for path in paths]
    utterances, _ = unique_ids(named, keyed=set())
    if len({utterance.label for utterance in utterances}) < 2:
        found = ", ".join(f"{label} ({len(paths)} audio files)" for label, paths in files.items()) or "no folder"
        raise ManifestError(f"root {root}: found {found}; expected at least two folders with audio, one per class")
    return Corpus(name=root.resolve().name, root=root, utterances=tuple(utterances), passed_over=passed_over)


def found_below(root: Path, path: Path, **facts: object) -> Utterance:
    """The utterance that a file below a folder is, or a stretch of it, with what else is known of it."""
    file = path.relative_to(root).as_posix()
    span = span_name(facts.get("start"), facts.get("duration"))  # type: ignore[arg-type]
    return Utterance(id=path_id(path, root) + span, audio=path, file=file, **facts)  # type: ignore[arg-type]


class AudioIndex:
    """Audio by what identifies it, in whatever Unicode form.

    Args:
        root: folder that the audio lies below, for messages.
        paths: the files.
        name: what identifies a file, by default its stem.
    """

    def __init__(self, root: Path, paths: Iterable[Path], name: Callable[[Path], str] = stem):
        self._root = root
        self._paths: dict[str, list[Path]] = {}
        for path in paths:
            self._paths.setdefault(normal(name(path)), []).append(path)

    def find(self, name: str) -> Path | str:
        """The only file of that name, or why there is none."""
        found = self._paths.get(normal(name), [])
        if len(found) == 1:
            return found[0]
        if not found:
            return f"no audio of that name below {self._root}"
        return f"{len(found)} files of that name below {self._root}, such as {found[0]} and {found[1]}: expected one"
