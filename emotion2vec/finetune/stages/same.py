"""Which clips the stages of a run learnt from, kept beside each, so that a stage is never taken for one of others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from emotion2vec.checkpoint.native import CONFIG_FILE, newest_checkpoint
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.documents import read_json
from emotion2vec.errors import ConfigError, StorageError
from emotion2vec.files import write_json
from emotion2vec.finetune.splits import Split

LEARNT = "learnt.json"
"""Digests of the clips that a stage learns from, in its folder."""


def digests(corpus: Corpus, split: Split) -> dict[str, str]:
    """Of all that is known of the clips that train and of those that choose, and of the names of all."""
    clips = corpus.utterances
    return {
        "train": _digest(_facts(clips[i]) for i in split.train),
        "valid": _digest(_facts(clips[i]) for i in split.valid),
        "corpus": _digest(clip.id for clip in clips),
    }


def check_learnt(folder: Path, wanted: dict[str, str]) -> None:
    """Note which clips a stage learns from, before it begins; once it has, see that they are the same.

    Args:
        folder: of the stage.
        wanted: digests of them.

    Raises:
        ConfigError: it learnt from others, or the note cannot be read.
        StorageError: the disk does not take the note.
    """
    path = folder / LEARNT
    if newest_checkpoint(folder) is None and not (folder / CONFIG_FILE).is_file():
        try:
            write_json(path, wanted)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error}") from error
        return
    instead = f"remove the folders of all stages in {folder.parent} to train them again, or use another run.dir"
    try:
        there = dict(read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: cannot be read as what a stage learnt from: {error}; {instead}") from error
    differ = [name for name, value in wanted.items() if there.get(name) != value]
    if differ:
        raise ConfigError(
            f"{folder}: learnt from other clips, labels or folds than there are now ({', '.join(differ)}), expected "
            f"the same; {instead}"
        )


def _facts(clip: Utterance) -> str:
    """All that may be learnt of a clip, wherever its corpus lies."""
    known = [clip.start, clip.duration, clip.label, clip.speaker, clip.gender, clip.corpus, clip.votes]
    return repr([clip.id, *known, sorted(clip.values.items()), sorted(clip.labels.items())])


def _digest(texts: Iterable[str]) -> str:
    """Of texts, whatever their order."""
    digest = hashlib.blake2b(digest_size=16)
    for text in sorted(texts):
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()
