from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from splits import corpus_of

from emotion2vec.corpora.audit import _person, audit_split
from emotion2vec.corpora.folds import Fold, fold_of, make_folds


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
        "1 recording is listed more than once, 1 of them under different labels: 0.wav = 2.wav",
        "1 clip is tested in more than one fold: 3.wav",
        "2 of 2 sentences",
        "fold x: training has no clip of c",
        "fold x: the test has no clip of b",
    ):
        assert part in told


def test_numbers_of_speakers_that_are_written_differently_are_one_person() -> None:
    pairs = [("1", "01"), ("3", "3.0"), ("en1", "en1\u200b"), ("s1", "s001")]
    assert all(_person(one) == _person(other) for one, other in pairs)
    assert len({_person(name) for name in ("1", "10", "100", "s_1_1", "s_11", "3.5", "35")}) == 7


def test_validation_clips_count_as_training(tmp_path: Path) -> None:
    """What the test shares with prescribed validation clips has chosen the epoch, and is told as of training."""
    rows = [("s1", "a", b"1"), ("s2", "b", b"same"), ("", "b", b"3"), ("s2", "b", b"same"), ("s3", "a", b"5")]
    corpus = corpus_of(tmp_path, rows)
    texts = ["one", "two", "three", "two", "four"]
    clips = tuple(replace(clip, text=text) for clip, text in zip(corpus.utterances, texts, strict=True))
    corpus = replace(corpus, utterances=clips)
    fold = fold_of(clips, "x", np.array([0]), np.array([3, 4]), np.array([1, 2]))
    found = audit_split(corpus, [fold])
    (only,) = found.folds
    assert only.shared_speakers == ["s2"] and only.shared_audio == ["3.wav"]
    assert (only.shared_texts, only.texts) == (1, 2)
    assert only.train == {"a": 1, "b": 2} and only.test == {"a": 1, "b": 1}
    told = " ".join(found.warnings)
    for part in (
        "speakers of the test are also in training in 1 of 1 folds",
        "1 test clips are also in training, byte for byte: 3.wav",
        "1 of 2 sentences of the tests are also said in training",
        "1 training clips have no speaker, who may also be tested: 2.wav; they train",
    ):
        assert part in told
    assert "has no clip of" not in told and "held out" not in told


def test_a_split_that_shares_nothing_has_nothing_to_tell(tmp_path: Path) -> None:
    rows = [(f"s{i // 2}", "ab"[i % 2], bytes([i])) for i in range(8)]
    corpus = corpus_of(tmp_path, rows)
    clips = tuple(replace(clip, sentence=f"t{i // 4}") for i, clip in enumerate(corpus.utterances))
    corpus = replace(corpus, utterances=clips)
    found = audit_split(corpus, [fold_of(clips, "x", np.arange(2), np.arange(4, 8), np.arange(2, 4))])
    (only,) = found.folds
    assert found.warnings == [] and (only.shared_texts, only.texts) == (0, 1)
    assert only.shared_speakers == only.shared_audio == []


@pytest.mark.parametrize(("pairs", "more"), [(5, ""), (7, "; and 2 more")])
def test_long_lists_of_alike_names_are_cut(tmp_path: Path, pairs: int, more: str) -> None:
    rows = [
        (name, "ab"[i % 2], bytes([i])) for i, name in enumerate(f"{c}{x}" for c in "pqrstuv"[:pairs] for x in "xX")
    ]
    rows += [(speaker, "ba"[i % 2], bytes([99, i])) for i, (speaker, _, _) in enumerate(rows)]
    corpus = corpus_of(tmp_path, rows)
    told = audit_split(corpus, [Fold(name="x", train=np.arange(4), test=np.arange(4, 8))]).warnings
    (people,) = [text for text in told if "the same person" in text]
    assert people.endswith(f"'tX' and 'tx'{more}")


def test_speakers_of_one_class_are_told_of_where_there_are_two(tmp_path: Path) -> None:
    def told(*labels: str) -> list[str]:
        rows = [("s1", labels[0], b"1"), ("s1", labels[1], b"2"), ("s2", labels[2], b"3"), ("", labels[3], b"4")]
        corpus = corpus_of(tmp_path, rows)
        fold = Fold(name="x", train=np.arange(2), test=np.arange(2, 4))
        return [text for text in audit_split(corpus, [fold]).warnings if "one class only" in text]

    assert told("a", "b", "b", "a") == ["1 of 2 speakers have clips of one class only: s2"]
    assert told("a", "a", "b", "b") == ["2 of 2 speakers have clips of one class only: s1, s2"]
    assert told("a", "a", "a", "a") == []


def test_how_clips_without_a_speaker_are_validated_is_told_of_the_folds_that_choose(tmp_path: Path) -> None:
    rows = [
        ("s1", "a", b"1"),
        ("s2", "b", b"2"),
        ("s3", "a", b"3"),
        ("", "b", b"4"),
        ("", "a", b"5"),
        ("s4", "b", b"6"),
    ]
    corpus = corpus_of(tmp_path, rows)
    folds = [
        fold_of(corpus.utterances, "held out", np.arange(4), np.array([5])),
        fold_of(corpus.utterances, "by clips", np.array([3, 4]), np.array([5])),
        fold_of(corpus.utterances, "prescribed", np.arange(2), np.array([5]), np.array([3])),
    ]
    (told,) = [text for text in audit_split(corpus, folds).warnings if "no speaker" in text]
    assert told.startswith("2 training clips have no speaker, who may also be tested: 3.wav, 4.wav; they train, and ")
    assert told.endswith("held out for validation in 1 of 2 folds")
    unknown = corpus_of(tmp_path, [("", "a", b"1"), ("", "b", b"2"), ("", "a", b"3")])
    told_all = audit_split(unknown, [fold_of(unknown.utterances, "x", np.arange(2), np.array([2]))]).warnings
    assert "speakers are unknown, so that training and test may share them" in told_all
    assert not any("have no speaker" in text for text in told_all)


def test_values_are_described_and_not_counted(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, [("s1", "joy", b"1"), ("s1", "Joy", b"2"), ("s2", "joy", b"3")])
    fold = fold_of(corpus.utterances, "x", np.arange(2), np.array([2]))
    found = audit_split(corpus, [fold], describe=lambda rows: {"clips": len(rows)})
    assert found.folds[0].train == {"clips": 2} and found.folds[0].test == {"clips": 1} and found.warnings == []
