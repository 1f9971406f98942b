from __future__ import annotations

from pathlib import Path

import numpy as np
from splits import corpus_of

from emotion2vec.corpora.audit import _person, audit_split
from emotion2vec.corpora.folds import Fold, make_folds


def test_labels_that_look_alike_are_told(tmp_path: Path) -> None:
    corpus = corpus_of(
        tmp_path, [(f"s{i % 2}", ("joy", "Joy", "ang-er", "anger ")[i // 2], bytes([i])) for i in range(8)]
    )
    told = audit_split(corpus, make_folds(corpus, "speaker")).warnings
    assert any("different ones: 'Joy' and 'joy'; 'ang-er' and 'anger '" in text for text in told)


def test_speakers_and_synonyms_that_look_alike_are_told(tmp_path: Path) -> None:
    speakers, labels = ("en1", "EN1", "en 1", "Zo\u00eb", "Zoe\u0308", "s_1_1", "s_11"), ("angry", "anger", "Joie")
    corpus = corpus_of(
        tmp_path, [(speaker, label, f"{speaker}{label}".encode()) for speaker in speakers for label in labels]
    )
    told = audit_split(corpus, make_folds(corpus, "speaker")).warnings
    (people,) = [text for text in told if "the same person" in text]
    assert people.endswith("different ones: 'EN1' and 'en 1' and 'en1'; 'Zoe\\u0308' and 'Zo\\xeb'")
    assert any(text.endswith("same class count as different ones: 'anger' and 'angry'") for text in told)


def test_shared_audio_texts_and_missing_classes(tmp_path: Path) -> None:
    rows = [("s1", "a", b"same"), ("s1", "b", b"2"), ("s2", "c", b"same"), ("s2", "a", b"4")]
    corpus = corpus_of(tmp_path, rows, text="one sentence")
    folds = [
        Fold(name="x", train=np.array([0, 1]), test=np.array([2, 3])),
        Fold(name="y", train=np.array([2]), test=np.array([3])),
    ]
    told = " ".join(audit_split(corpus, folds).warnings)
    for part in (
        "1 test clips are also in training, byte for byte: 2.wav",
        "1 recordings are listed more than once, 1 of them under different labels: 0.wav = 2.wav",
        "1 clips are tested in more than one fold: 3.wav",
        "2 of 2 sentences",
        "fold x: training has no clip of c",
        "fold x: the test has no clip of b",
    ):
        assert part in told


def test_numbers_of_speakers_that_are_written_differently_are_one_person() -> None:
    pairs = [("1", "01"), ("3", "3.0"), ("en1", "en1\u200b"), ("s1", "s001")]
    assert all(_person(one) == _person(other) for one, other in pairs)
    assert len({_person(name) for name in ("1", "10", "100", "s_1_1", "s_11", "3.5", "35")}) == 7
