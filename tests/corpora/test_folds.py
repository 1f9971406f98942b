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
from emotion2vec.corpora.validation import holds_speakers_out, selection_fold, validation_split
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
    assert [fold.name for fold in found] == [f"random-{number}" for number in range(1, 6)]


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


def test_speakers_whom_validation_shares_with_the_test_are_shared() -> None:
    clips = clips_of(1, split="train") + clips_of(2, split="dev")[6:] + clips_of(2, split="test")[6:]
    (fold,) = make_folds(clips, "official")
    assert fold.test_speakers == fold.shared_speakers == ("s01",)
    assert sorted(fold.fitted) == list(range(12))


@pytest.mark.parametrize("speakers", [2, 3, 5])
def test_however_few_train_one_speaker_validates_and_others_train(speakers: int) -> None:
    clips = clips_of(speakers + 1)
    for fold in make_folds(clips, "speaker"):
        for seed in range(4):
            train, valid = (speakers_of(clips, rows) for rows in validation_split(clips, fold, seed))
            assert len(valid) == 1 and len(train) == speakers - 1 and not train & valid


@pytest.mark.parametrize(("share", "held"), [(0.2, 2), (0.34, 3), (0.5, 5)])
def test_as_many_validate_as_asked_for(share: float, held: int) -> None:
    clips = clips_of(11, each=4)
    fold = make_folds(clips, "speaker")[0]
    assert len(speakers_of(clips, validation_split(clips, fold, 0, share)[1])) == held


@pytest.mark.parametrize("field", ["corpus", "language", "fold"])
def test_each_of_two_groups_is_left_out(field: str) -> None:
    clips = [dataclasses.replace(clip, **{field: "ab"[i % 2]}) for i, clip in enumerate(clips_of(2))]
    scheme = "official" if field == "fold" else field
    found = make_folds(clips, scheme)
    assert [(fold.name, fold.test.tolist()) for fold in found] == [("a", [*range(0, 12, 2)]), ("b", [*range(1, 12, 2)])]
    with pytest.raises(ConfigError, match=f"every clip is of {field} a"):
        make_folds([dataclasses.replace(clip, **{field: "a"}) for clip in clips], scheme)
    with pytest.raises(ConfigError, match=f"1 of 12 clips have no {field}, which these folds need: 0-1;"):
        make_folds(
            [dataclasses.replace(clip, **({field: None} if i == 1 else {})) for i, clip in enumerate(clips)], scheme
        )


def test_many_speakers_are_grouped_under_numbers_of_one_width() -> None:
    assert [fold.name for fold in make_folds(clips_of(13), "speaker")] == [f"group-{n:02d}" for n in range(1, 11)]
    assert [fold.name for fold in make_folds(clips_of(3), "speaker")] == ["s00", "s01", "s02"]


def test_the_largest_speakers_are_shared_out_first() -> None:
    groups = balanced_groups({"a": 2, "b": 3, "c": 4, "d": 3, "e": 6}, 2)
    assert groups == {"e": 0, "c": 1, "b": 1, "d": 0, "a": 1}  # 6 | 4; 6 | 7; 9 | 7; 9 | 9


def test_five_clips_are_enough_for_five_random_folds() -> None:
    assert [len(fold.test) for fold in make_folds(clips_of(1, each=5), "random")] == [1] * 5


def test_labels_are_dealt_in_turn_which_runs_on_from_label_to_label() -> None:
    class Unshuffled:
        permutation = staticmethod(lambda items: items)

    labels = ["b", "a", None, "a", "c", "b", "a"]  # dealt in this order: None, a, a, a, b, b, c
    found = schemes.stratified_fold(labels, 3, Unshuffled())  # type: ignore[arg-type]
    assert found.tolist() == [1, 1, 0, 2, 0, 2, 0]


def test_clips_without_a_speaker_share_none() -> None:
    clips = [dataclasses.replace(clip, speaker=None) for clip in clips_of(1)]
    fold = schemes.fold_of(clips, "x", np.arange(3), np.arange(3, 6))
    assert fold.test_speakers == fold.shared_speakers == ()


@pytest.mark.parametrize(("named", "held"), [(2, True), (1, False)])
def test_speakers_are_held_out_where_enough_clips_are_named(named: int, held: bool) -> None:
    """A fifth of the training clips at least."""
    clips = [
        dataclasses.replace(clip, speaker=f"s{i}" if i < named else None) for i, clip in enumerate(clips_of(1, 10))
    ]
    clips += [dataclasses.replace(clip, speaker="s9") for clip in clips_of(1, 1)] if named == 1 else []
    fold = Fold(name="x", train=np.arange(len(clips)), test=np.arange(0))
    assert holds_speakers_out(clips, fold) == held
    assert not holds_speakers_out(clips, dataclasses.replace(fold, valid=np.arange(1)))
    assert not holds_speakers_out(clips, dataclasses.replace(fold, shared_speakers=("s0",)))


def test_what_chooses_is_as_mixed_as_the_folds_are() -> None:
    """Where folds share speakers, a fifth of the clips chooses; where they do not, a fifth of the speakers."""
    clips = clips_of(10)
    shared = selection_fold(clips, make_folds(clips, "random"))
    assert len(shared.test) == 12 and len(shared.test_speakers) > 2 and shared.shared_speakers
    apart = selection_fold(clips, make_folds(clips, "speaker"))
    assert len(apart.test) == 12 and len(apart.test_speakers) == 2 and not apart.shared_speakers
    for fold in (shared, apart):
        assert fold.name == "selection" and sorted([*fold.train, *fold.test]) == list(range(60))
    (only,) = [fold for fold in make_folds(clips, "speaker") if fold.name == "s03"]
    one = selection_fold(clips, [only])
    assert sorted([*one.train, *one.test]) == only.train.tolist() and len(one.test_speakers) == 2
