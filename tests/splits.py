"""Corpora of files that hold what is said of them, for audits."""

from __future__ import annotations

from pathlib import Path

from emotion2vec.corpora.utterance import Corpus, Utterance


def corpus_of(tmp_path: Path, rows: list[tuple[str, str, bytes]], **fields: str) -> Corpus:
    """One clip for each row: its speaker, its label, and its bytes; `fields` are the same for all."""
    clips = []
    for number, (speaker, label, content) in enumerate(rows):
        path = tmp_path / f"{number}.wav"
        path.write_bytes(content)
        clips.append(
            Utterance(id=path.name, file=path.name, audio=path, label=label, speaker=speaker or None, **fields)
        )
    return Corpus(name="made", root=tmp_path, utterances=tuple(clips))
