"""Reading a named corpus: the clips that its names or annotations list, with what is missing or odd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.lists.folders import audio_files, found_below
from emotion2vec.corpora.named.annotated import ANNOTATED, iemocap_facts
from emotion2vec.corpora.named.readers import CORPORA, NamedFiles
from emotion2vec.corpora.names import stem
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import ConfigError, ManifestError


def dataset_names() -> list[str]:
    """All names that `read_named` knows."""
    return sorted([*CORPORA, *ANNOTATED])


def native_name(name: str) -> str:
    """The name that we have for a corpus that others spell without hyphens, or the same name."""
    return next((known for known in dataset_names() if known.replace("-", "") == name.lower().replace("-", "")), name)


def facts_of_name(corpus: str, path: Path) -> dict[str, str]:
    """What a clip's file name says in a known corpus: speaker, sentence and so on; nothing where it says nothing."""
    if corpus == "iemocap":
        return iemocap_facts(stem(path)) or {}
    return (CORPORA[corpus].read(path) or {}) if corpus in CORPORA else {}


def read_named(name: str, root: str | Path) -> Corpus:
    """Find a named corpus's clips anywhere below `root`.

    Args:
        name: one of `dataset_names`.
        root: folder of the corpus, in its published layout; corpora that are read by file stems may have any.

    Returns:
        The clips, sorted by stem. A stem found twice is taken once, and a number of clips other than the published
        one is reported; both as warnings.

    Raises:
        ConfigError: the name is not known.
        ManifestError: the folder is missing or is not that corpus.
    """
    if name not in CORPORA and name not in ANNOTATED:
        raise ConfigError(f"dataset is {name!r}, expected one of {', '.join(dataset_names())}, or a table of your own")
    root = Path(root)
    if not root.is_dir():
        title = CORPORA[name].title if name in CORPORA else name
        raise ManifestError(f"root {root}: no such folder, expected the folder of {title}")
    if name in ANNOTATED:
        reader: Callable[[Path], Corpus] = ANNOTATED[name]
        return reader(root)
    return _read_by_name(name, CORPORA[name], root)


def _read_by_name(name: str, corpus: NamedFiles, root: Path) -> Corpus:
    found: dict[tuple[str, str], Utterance] = {}
    doubled: list[str] = []
    strangers: list[str] = []
    audio = audio_files(root, doubles=False)
    for path in audio:
        facts = corpus.read(path)
        file = path.relative_to(root).as_posix()
        if facts is None:
            strangers.append(file)
            continue
        key = stem(path), facts.get("speaker", "")  # SAVEE's speakers share stems
        if key in found:
            doubled.append(file)
            continue
        found[key] = found_below(root, path, **facts)
    if not found:
        seen = f"{len(audio)} audio files such as {audio[0].name}" if audio else "no audio files"
        clips_of = f"{corpus.clips} clips of {corpus.title}" if corpus.clips else f"clips of {corpus.title}"
        raise ManifestError(f"root {root}: found {seen}, expected the {clips_of}, named such as {corpus.example}.wav")
    warnings = []
    if doubled:
        warnings.append(f"{len(doubled)} clips of {corpus.title} lie below {root} twice; left out: {examples(doubled)}")
    if strangers:
        warnings.append(
            f"{len(strangers)} audio files below {root} are no clips of {corpus.title}; left out: {examples(strangers)}"
        )
    if corpus.clips is not None and len(found) != corpus.clips:
        warnings.append(f"{root} holds {len(found)} clips of {corpus.title}, expected {corpus.clips}")
    clips = tuple(found[key] for key in sorted(found))
    return Corpus(name=name, root=root, utterances=clips, warnings=tuple(warnings))
