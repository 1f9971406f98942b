from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from emotion2vec.corpora import folds as schemes
from emotion2vec.corpora.audit import audit_split
from emotion2vec.corpora.folds import Fold, balanced_groups
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.corpora.validation import validation_split
from emotion2vec.errors import ConfigError


def clips_of(speakers: int, each: int = 6, **fields: str) -> list[Utterance]:
    return [
        Utterance(
            id=f"{s}-{i}", file=f"{s}-{i}", audio=Path(f"{s}-{i}"), label="abc"[i % 3], speaker=f"s{s:02d}", **fields
        )
        for s in range(speakers)
        for i in range(each)
    ]


def make_folds(clips: list[Utterance], scheme: str) -> list[Fold]:
    return schemes.make_folds(Corpus(name="made", root=Path(), utterances=tuple(clips)), scheme)


def speakers_of(clips: list[Utterance], rows: np.ndarray) -> set[str | None]:
    return {clips[i].speaker for i in rows}


@pytest.mark.parametrize(("speakers", "folds"), [(2, 2), (9, 9), (12, 12), (13, 10), (65, 10)])
def test_speaker_folds_test_every_clip_once_and_share_no_speaker(speakers: int, folds: int) -> None:
    clips = clips_of(speakers)
    found = make_folds(clips, "speaker")
    assert len(found) == folds
    assert sorted(np.concatenate([fold.test for fold in found])) == list(range(len(clips)))
    for fold in found:
        assert not speakers_of(clips, fold.train) & speakers_of(clips, fold.test)
        assert len(fold.train) + len(fold.test) == len(clips)
        assert fold.test_speakers == tuple(sorted(speakers_of(clips, fold.test)))
        assert fold.shared_speakers == ()


def test_speaker_groups_are_balanced_and_do_not_depend_on_order() -> None:
    counts = {f"s{i}": 10 + (i * 37) % 60 for i in range(65)}
    groups = balanced_groups(counts, 10)
    sizes = [sum(counts[name] for name in counts if groups[name] == group) for group in range(10)]
    assert max(sizes) < 1.03 * np.mean(sizes)
    assert min(sizes) > 0.97 * np.mean(sizes)
    assert balanced_groups(dict(reversed(counts.items())), 10) == groups


@pytest.mark.parametrize(("speakers", "names"), [(10, "s03"), (24, "group-04")])
def test_eight_train_one_validates_one_tests(speakers: int, names: str) -> None:
    clips = clips_of(speakers)
    found = make_folds(clips, "8-1-1")
    assert len(found) == 10 and found[3].name == names
    parts = [[speakers_of(clips, rows) for rows in (fold.train, fold.valid, fold.test)] for fold in found]
    for number, (train, valid, test) in enumerate(parts):
        assert not train & valid and not train & test and not valid & test
        assert len(train | valid | test) == speakers
        assert valid == parts[(number + 1) % 10][2]
    assert sorted(np.concatenate([fold.test for fold in found])) == list(range(len(clips)))
    assert not any(fold.shared_speakers for fold in found)


def test_as_many_groups_of_speakers_as_asked_for() -> None:
    clips = clips_of(23)
    found = make_folds(clips, "speaker:5")
    assert [fold.name for fold in found] == [f"group-{number}" for number in range(1, 6)]
    assert sorted(len(fold.test_speakers) for fold in found) == [4, 4, 5, 5, 5]
    assert not any(fold.shared_speakers for fold in found)


def test_a_session_tests_and_a_fifth_of_the_other_clips_validates() -> None:
    sessions = [clips_of(10, each=30)[60 * s : 60 * s + 60] for s in range(5)]
    clips = [dataclasses.replace(clip, session=str(s)) for s in range(5) for clip in sessions[s]]
    found = make_folds(clips, "session-80-20")
    assert [fold.name for fold in found] == list("01234")
    for fold in found:
        train, valid = validation_split(clips, fold, seed=3)
        assert (len(train), len(valid), len(fold.test)) == (192, 48, 60)
        assert Counter(clips[i].label for i in valid) == {"a": 16, "b": 16, "c": 16}
        assert speakers_of(clips, valid) <= speakers_of(clips, train) and not fold.shared_speakers
    many = [clip for s in range(30) for clip in clips_of(1, session=f"d{s:02d}")]
    assert len(make_folds(many, "session")) == 10


def test_session_and_official_folds() -> None:
    clips = [c for s in "123" for c in clips_of(2, session=s, fold=f"f{s}")]
    for scheme in ("session", "official"):
        found = make_folds(clips, scheme)
        assert [len(fold.test) for fold in found] == [12, 12, 12]
    assert [fold.name for fold in found] == ["f1", "f2", "f3"]
    assert found[0].shared_speakers == ("s00", "s01")
    assert all(fold.shared_speakers for fold in found)


def test_official_splits_keep_their_validation() -> None:
    clips = clips_of(1, split="Train") + clips_of(2, split="dev")[6:] + clips_of(3, split="test")[12:]
    (fold,) = make_folds(clips, "official")
    train, valid = validation_split(clips, fold, seed=0)
    assert [speakers_of(clips, rows) for rows in (train, valid, fold.test)] == [{"s00"}, {"s01"}, {"s02"}]


def test_random_folds_are_stratified_and_own_up_to_shared_speakers() -> None:
    clips = clips_of(4, each=30)
    found = make_folds(clips, "random")
    assert sorted(np.concatenate([fold.test for fold in found])) == list(range(120))
    for fold in found:
        assert [sum(clips[i].label == label for i in fold.test) for label in "abc"] == [8, 8, 8]
    assert all(fold.shared_speakers for fold in found)


@pytest.mark.parametrize("scheme", ["speaker", "random"])
@pytest.mark.parametrize("seed", range(3))
def test_validation_is_a_fifth_of_the_training_and_never_the_test(scheme: str, seed: int) -> None:
    clips = clips_of(11, each=30)
    for fold in make_folds(clips, scheme):
        train, valid = validation_split(clips, fold, seed)
        assert sorted([*train, *valid]) == sorted(fold.train)
        assert len(valid) == pytest.approx(0.2 * len(fold.train), rel=0.03)
        if scheme == "speaker":
            assert not speakers_of(clips, train) & speakers_of(clips, valid)
        again = validation_split(clips, fold, seed)
        np.testing.assert_array_equal(again[1], valid)


def test_the_seed_changes_the_validation_speakers() -> None:
    clips = clips_of(11)
    fold = make_folds(clips, "speaker")[0]
    drawn = {tuple(validation_split(clips, fold, seed)[1]) for seed in range(10)}
    assert len(drawn) > 1


def test_one_training_speaker_is_divided_by_clips() -> None:
    clips = clips_of(2, each=30)
    fold = make_folds(clips, "speaker")[0]
    train, valid = validation_split(clips, fold, seed=0)
    assert len(valid) == 6
    assert {clips[i].label for i in valid} == {"a", "b", "c"}
    assert not set(train) & set(valid)


def test_a_clip_without_a_speaker_leaves_the_other_speakers_apart() -> None:
    clips = clips_of(11, each=30, split="train") + clips_of(1, split="test")
    unnamed = [
        dataclasses.replace(clip, speaker=None) if number in (3, 50) else clip for number, clip in enumerate(clips)
    ]
    unnamed = [dataclasses.replace(clip, speaker="tested") if clip.split == "test" else clip for clip in unnamed]
    (fold,) = make_folds(unnamed, "official")
    for seed in range(3):
        train, valid = validation_split(unnamed, fold, seed)
        assert sorted([*train, *valid]) == sorted(fold.train)
        held = {unnamed[i].speaker for i in valid}
        assert len(held) == 2 and None not in held and not held & {unnamed[i].speaker for i in train}
        assert {3, 50} <= set(train)
    (said,) = [
        text
        for text in audit_split(Corpus(name="made", root=Path(), utterances=tuple(unnamed)), [fold]).warnings
        if "no speaker" in text
    ]
    assert said.startswith("2 training clips have no speaker") and "held out for validation in 1 of 1 folds" in said
    hardly = [dataclasses.replace(clip, speaker=None) if number > 20 else clip for number, clip in enumerate(clips)]
    (fold,) = make_folds(hardly, "official")
    assert len(validation_split(hardly, fold, 0)[1]) == 66  # drawn by clips: too few of them are named


def test_folds_that_a_corpus_brings() -> None:
    clips = tuple(clips_of(3))
    brought = {
        "fold_1": {"train": (0, 1, 2, 3), "test": (8, 9)},
        "fold_2": {"train": (6,), "valid": (7,), "test": (1,)},
    }
    found = schemes.make_folds(Corpus(name="x", root=Path(), utterances=clips, splits=brought), "emobox")
    assert [fold.name for fold in found] == ["fold_1", "fold_2"]
    assert found[0].valid is None and found[1].valid is not None and found[1].valid.tolist() == [7]
    brought["fold_2"]["test"] = ()
    with pytest.raises(ConfigError, match="fold_2 has no clip to test on"):
        schemes.make_folds(Corpus(name="x", root=Path(), utterances=clips, splits=brought), "emobox")
    with pytest.raises(ConfigError, match="brings none, expected --emobox"):
        make_folds(list(clips), "emobox")


@pytest.mark.parametrize(
    ("clips", "scheme", "message"),
    [
        (clips_of(3), "loso", "'loso', expected one of speaker, 8-1-1, session, .*, emobox, or speaker:K"),
        (clips_of(3), "speaker:1", "'speaker:1', expected one of"),
        (clips_of(1), "speaker", "'speaker' .* of 1 speaker .s00., expected at least 2; folds 'random'"),
        (clips_of(3), "speaker:5", "'speaker:5' .* of 3 speaker .s00, s01, s02., expected at least 5"),
        (clips_of(9), "8-1-1", "'8-1-1' .* of 9 speaker .* and 4 more., expected at least 10"),
        (clips_of(3, session="1"), "session-80-20", "of 1 session .1., expected at least 2"),
        (clips_of(3), "session", "18 of 18 clips have no session"),
        (clips_of(3), "official", "neither a fold nor a split"),
        (clips_of(3, fold="1"), "official", "every clip is of fold 1"),
        (clips_of(3, fold="1", split="test"), "official", "both a fold and a split"),
        (clips_of(3, split="spare"), "official", "split is spare, expected train, valid or test"),
        (clips_of(1, each=3), "random", "with 3 clips"),
    ],
)
def test_what_a_scheme_cannot_do_is_said(clips: list[Utterance], scheme: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_folds(clips, scheme)
