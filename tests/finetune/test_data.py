"""What is learnt from: labels, splits and draws."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from finetune.talkers import quick, write_talkers

from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.data.config import DataConfig
from emotion2vec.data.drawn import DrawnOrder, Draws
from emotion2vec.data.order import Position, Stream
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.finetune.config import LabelledData, load_config
from emotion2vec.finetune.labelled import read_labelled, show_labels
from emotion2vec.finetune.splits import inner_split
from emotion2vec.finetune.task import make_task


class Lengths:
    """A source that is nothing but lengths."""

    weight = 1.0

    def __init__(self, lengths: list[int]):
        self.counts = np.array([len(lengths)])
        self.seconds = sum(lengths) / 16_000
        self.table = np.zeros(len(lengths), dtype=[("item", "<i4"), ("length", "<i4")])
        self.table["item"], self.table["length"] = np.arange(len(lengths)), lengths

    def entries(self, spans: list[tuple[int, int]]) -> np.ndarray:
        return np.concatenate([self.table[first:stop] for first, stop in spans])


def items(request: object) -> list[int]:
    return [int(item) for _, entries in request.parts for item in entries["item"]]  # type: ignore[attr-defined]


GROUPS = [np.array([0, 1, 2, 3, 4]), np.array([5, 6]), np.array([7])]


def order(start: Position | None = None, **stream: int) -> DrawnOrder:
    source = Lengths([1000 * (1 + item) for item in range(8)])
    return DrawnOrder([source], DataConfig(), Stream(seed=3, **stream), start or Position(), groups=GROUPS, clips=6)  # type: ignore[list-item]


def test_groups_are_drawn_from_equally_often_and_give_all_they_have() -> None:
    drawn = Draws(GROUPS, 0).at(0, 90)
    counts = Counter(drawn)
    assert [sum(counts[item] for item in group) for group in GROUPS] == [30, 30, 30]
    assert [counts[item] for item in range(8)] == [6, 6, 6, 6, 6, 15, 15, 30]
    assert drawn != Draws(GROUPS, 1).at(0, 90)


def test_draws_go_on_from_any_position_and_are_shared_by_ranks() -> None:
    whole = list(islice(order(accumulate=2), 8))
    resumed = list(islice(order(whole[4].position, accumulate=2), 3))
    assert [items(one) for one in resumed] == [items(one) for one in whole[5:]]
    assert [one.position for one in resumed] == [one.position for one in whole[5:]]
    alone = [items(one) for one in islice(order(), 4)]
    ranks = [[items(one) for one in islice(order(rank=rank, world_size=2), 4)] for rank in (0, 1)]
    for update, everything in enumerate(alone):
        assert sorted(ranks[0][update] + ranks[1][update]) == sorted(everything)
        assert everything == sorted(everything, key=lambda item: 1000 * (1 + item))  # by length


def test_what_an_update_draws_twice_is_told_apart() -> None:
    for request in islice(order(), 20):
        seen: Counter[int] = Counter()
        assert request.draws is not None
        for item, before in zip(items(request), np.concatenate(request.draws).tolist(), strict=True):
            assert before == seen[item]
            seen[item] += 1


def corpus(speakers: list[str | None], of: str | None = None) -> Corpus:
    clips = [
        Utterance(id=f"{number}", audio=f"{number}.wav", label="ab"[number % 2], speaker=speaker, corpus=of)
        for number, speaker in enumerate(speakers)
    ]
    return Corpus(name="c", root=Path(), utterances=tuple(clips))


def test_the_inner_split_holds_out_whole_speakers_of_every_corpus() -> None:
    one, other = corpus([f"a:{n % 10}" for n in range(40)], "a"), corpus([f"b:{n % 2}" for n in range(8)], "b")
    both = replace(one, utterances=(*one.utterances, *other.utterances))
    rows = np.arange(48)
    split = inner_split(both, rows, share=0.2, seed=0)
    train, valid = ({both.utterances[i].speaker for i in part} for part in (split.train, split.valid))
    assert not train & valid and set(split.held) == valid
    assert sum(str(name).startswith("a") for name in valid) == 2 and sum(str(n).startswith("b") for n in valid) == 1
    assert sorted([*split.train, *split.valid]) == list(rows)
    assert {tuple(inner_split(both, rows, share=0.2, seed=seed).held) for seed in range(5)} != {split.held}
    some = inner_split(both, rows[:20], share=0.2, seed=0)
    assert max(some.train.max(), some.valid.max()) < 20


def test_unknown_speakers_are_refused_unless_it_is_said() -> None:
    with pytest.raises(ConfigError, match=r"1 of 3 clips have no speaker: 1.wav; .*--no-speakers"):
        inner_split(corpus(["a", None, "b"]), np.arange(3), share=0.2, seed=0)
    with pytest.raises(ConfigError, match=r"1 speaker \(a\), expected at least 2"):
        inner_split(corpus(["a"] * 4), np.arange(4), share=0.2, seed=0)
    split = inner_split(corpus([None] * 10), np.arange(10), share=0.2, seed=0, speakers=False)
    assert len(split.valid) == 2 and not split.held


def table(folder: Path, rows: list[str]) -> Path:
    write_talkers(folder)
    (folder / "table.csv").write_text("\n".join(["file,emotion,speaker", *rows]) + "\n")
    return folder / "table.csv"


def test_labels_are_joined_renamed_and_shown(tmp_path: Path) -> None:
    write_talkers(tmp_path / "one", classes=("anger", "neutral"))
    second = write_talkers(tmp_path / "two", classes=("neutral", "sadness"))
    second.write_text(second.read_text().replace(",neutral,", ",Neu,"))
    (tmp_path / "two" / "table.csv").rename(tmp_path / "two" / "metadata.csv")
    places = [f"one={tmp_path / 'one' / 'table.csv'}", f"two={tmp_path / 'two'}"]
    joined = read_labelled(LabelledData(corpora=places))
    assert joined.classes == ("anger", "neutral", "sadness") and len({clip.id for clip in joined.utterances}) == 32
    said: list[str] = []
    show_labels(joined, said.append)
    assert said[:2] == ["labels of one: anger, neutral", "labels of two: Neu -> neutral, sadness"]
    assert said[2] == "32 labelled clips of 8 speakers: anger 8, neutral 16, sadness 8"
    renamed = read_labelled(LabelledData(corpora=places, labels=["anger=angry", "two.sadness=angry", "neutral=calm"]))
    assert renamed.label_counts == {"angry": 16, "calm": 16}
    with pytest.raises(ConfigError, match="share 1 classes"):
        read_labelled(LabelledData(corpora=places, classes=["shared"]))


@pytest.mark.parametrize(
    ("rows", "more", "message"),
    [
        (["s0_anger_0.wav,Angry,a", "s1_anger_0.wav,angry,b"], [], "'Angry' and 'angry' differ only in case"),
        (["s0_anger_0.wav,angry,a", "s1_anger_0.wav,angry,b"], [], r"1 class \(angry\), expected at least 2"),
        (
            ["s0_anger_0.wav,angry,a", "s1_anger_0.wav,sad,b"],
            ["data.classes=[angry,happy]"],
            "happy, which table has not",
        ),
        (["s0_anger_0.wav,angry,a", "s1_anger_0.wav,sad,b"], ["data.labels=[joy=happy]"], "joy, which no corpus has"),
    ],
)
def test_labels_that_cannot_be_learnt(tmp_path: Path, rows: list[str], more: list[str], message: str) -> None:
    config = load_config(None, quick(table(tmp_path, rows), Path("m"), tmp_path / "run", *more))
    with pytest.raises(ConfigError, match=message):
        read_labelled(config.data)


def test_a_class_that_only_held_out_speakers_have_is_named(tmp_path: Path) -> None:
    rows = [f"s{n}_{label}_0.wav,{label},s{n}" for n in range(4) for label in ("anger", "neutral")]
    config = load_config(None, quick(table(tmp_path, rows), Path("m"), tmp_path / "run"))
    found = read_labelled(config.data)
    held = inner_split(found, np.arange(8), share=0.2, seed=0).held[0]
    rows.append(f"{held}_sadness_0.wav,sadness,{held}")
    found = read_labelled(replace(config.data, table=str(table(tmp_path, rows))))
    split = inner_split(found, np.arange(9), share=0.2, seed=0)
    with pytest.raises(ConfigError, match="no clip of sadness trains"):
        make_task(config, found, split)


def test_clips_that_cannot_be_read_are_named_and_too_many_stop(tmp_path: Path) -> None:
    path = write_talkers(tmp_path)
    (tmp_path / "s0_anger_0.wav").write_bytes(b"RIFF no")
    config = load_config(None, quick(path, Path("m"), tmp_path / "run", "data.max_bad_share=0.1"))
    found = read_labelled(config.data)
    split = inner_split(found, np.arange(24), share=0.2, seed=0)
    task = make_task(config, found, split)
    assert [fault.where for fault in task.found.faults] == [
        str(tmp_path / "s0_anger_0.wav")
    ] and task.found.missing == 1
    with pytest.raises(ManifestError, match=r"1 of 24 clips cannot be used, expected at most 1.0% .*s0_anger_0"):
        make_task(replace(config, data=replace(config.data, max_bad_share=0.01)), found, split)


def test_settings_that_cannot_work_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(None, ["data.corpora=[nemo]", "finetune.strategy=some", "finetune.freeze=all", "optim.enc_lr=1"])
    for part in (
        "data.corpora has 'nemo', expected NAME=PATH",
        "finetune.strategy is 'some'",
        "finetune.freeze is 'all'",
        "unknown key optim.enc_lr; did you mean optim.encoder_lr",
        "run.dir is empty",
    ):
        assert part in str(raised.value)
