"""Splits that tables and split files prescribe: they are honoured, and a test is never learnt or chosen from."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from finetune.talkers import QUICK, quick_config, write_talkers

from emotion2vec.checkpoint.opening import load_model
from emotion2vec.errors import ConfigError, Emotion2vecError
from emotion2vec.finetune.config import load_config
from emotion2vec.finetune.labelled import read_labelled, show_labels
from emotion2vec.finetune.run import finetune
from emotion2vec.finetune.splits import whole_split

SPLITS = {"s0": "train", "s1": "Training", "s2": "dev", "s3": "test"}


def files_of(table: Path) -> dict[str, str]:
    """Speaker of each file, read by the csv module."""
    with table.open() as stream:
        return {row["file"]: row["speaker"] for row in csv.DictReader(stream)}


def write_split(path: Path, rows: dict[str, str], header: str = "file,split") -> Path:
    path.write_text("\n".join([header, *(f"{name},{part}" for name, part in rows.items())]) + "\n")
    return path


@pytest.mark.parametrize("how", ["file", "id", "absolute", "column"])
def test_a_split_is_honoured(talkers: Path, tmp_path: Path, how: str) -> None:
    files = files_of(talkers)
    named = {
        "file": lambda file: f"./{file}",
        "id": lambda file: file.removesuffix(".wav"),
        "absolute": lambda file: str(talkers.parent / file),
        "column": str,
    }[how]
    table, more = talkers, []
    if how == "column":
        lines = talkers.read_text().splitlines()
        table = tmp_path / "table.csv"
        table.write_text(
            "\n".join([f"{lines[0]},split", *(f"{x},{SPLITS[files[x.split(',')[0]]]}" for x in lines[1:])])
        )
        more = [f"data.root={talkers.parent}"]
    else:
        rows = {named(file): SPLITS[speaker] for file, speaker in files.items()}
        split = write_split(tmp_path / "split.tsv", rows, f"{'id' if how == 'id' else 'file'},split")
        more = [f"data.split={split}"]
    config = quick_config(table, Path("m"), tmp_path / "run", *more)
    corpus = read_labelled(config.data)
    found = whole_split(config, corpus)
    by_speaker = {
        part: {corpus.utterances[i].speaker for i in rows}
        for part, rows in (("train", found.train), ("valid", found.valid))
    }
    assert by_speaker == {"train": {"s0", "s1"}, "valid": {"s2"}} and found.held == ("s2",)
    said: list[str] = []
    show_labels(corpus, said.append)
    assert "split of the list: 12 clips train, 6 choose, 6 are of the test, which nothing learns from" in said


def test_a_test_is_scored_and_never_heard(talkers: Path, model: Path, tmp_path: Path) -> None:
    split = write_split(tmp_path / "split.csv", {file: SPLITS[who] for file, who in files_of(talkers).items()})
    more = [f"data.split={split}", "evaluate.folds=official", "optim.max_updates=2", "finetune.strategy=frozen"]
    finetune(quick_config(talkers, model, tmp_path / "run", *more), lambda text: None)
    document = json.loads((tmp_path / "run" / "scores.json").read_text())
    (fold,) = document["folds"]
    assert fold["test_speakers"] == ["s3"] and fold["chosen"][0]["validation_speakers"] == ["s2"]
    for folder in (tmp_path / "run", tmp_path / "run" / "folds" / "01_test"):
        heard = load_model(folder).heard
        assert heard is not None
        assert {name for name in heard.labels} and len(heard.labels) == 18


def test_folds_of_a_list_are_tested_in_turn(talkers: Path, tmp_path: Path) -> None:
    from emotion2vec.corpora.folds import make_folds

    rows = {file: str(int(who[1]) // 2 + 1) for file, who in files_of(talkers).items()}
    split = write_split(tmp_path / "split.csv", rows, "file,fold")
    config = quick_config(talkers, Path("m"), tmp_path / "run", f"data.split={split}")
    folds = make_folds(read_labelled(config.data), "official")
    assert [fold.test_speakers for fold in folds] == [("s0", "s1"), ("s2", "s3")]


def test_one_of_joined_corpora_may_prescribe(tmp_path: Path) -> None:
    tables = [write_talkers(tmp_path / name, takes=1) for name in ("one", "two")]
    split = write_split(tmp_path / "split.csv", {f"one/{f}": SPLITS[who] for f, who in files_of(tables[0]).items()})
    corpora = f"data.corpora=[one={tables[0]},two={tables[1]}]"
    config = load_config(None, [*QUICK, f"run.dir={tmp_path / 'run'}", corpora, f"data.split={split}"])
    corpus = read_labelled(config.data)
    found = whole_split(config, corpus)
    train, valid = ({corpus.utterances[i].speaker for i in rows} for rows in (found.train, found.valid))
    assert {name for name in train if str(name).startswith("one")} == {"one:s0", "one:s1"}
    assert {name for name in valid if str(name).startswith("one")} == {"one:s2"}
    held = {name for name in valid if str(name).startswith("two")}
    assert len(held) == 1 and len([name for name in train if str(name).startswith("two")]) == 3 and not held & train


BAD = {
    "a speaker in two parts": (
        {"s0_anger_0.wav": "test"},
        "1 of 4 speakers are in more than one part of the split: s0 in test and train; expected .*data.speakers=false",
    ),
    "an unknown split": ({"s0_anger_0.wav": "spare"}, "found split 'spare' on line 2, expected train, valid or test"),
    "an unknown clip": ({"other.wav": "test"}, "1 clip is in no corpus: other.wav"),
    "a clip twice": ({"./s0_anger_0.wav": "test"}, "s0_anger_0.wav is in train and in test, expected one"),
    "a clip unnamed": ({"s0_anger_0.wav": None}, "1 clip of table is not named: s0_anger_0.wav"),
}


@pytest.mark.parametrize("what", BAD)
def test_splits_that_do_not_fit_are_refused(talkers: Path, tmp_path: Path, what: str) -> None:
    changes, message = BAD[what]
    rows = {file: SPLITS[who] for file, who in files_of(talkers).items()} | changes
    split = write_split(tmp_path / "split.csv", {name: part for name, part in rows.items() if part is not None})
    config = quick_config(talkers, Path("m"), tmp_path / "run", f"data.split={split}")
    with pytest.raises(Emotion2vecError, match=message):
        whole_split(config, read_labelled(config.data))


def test_shared_speakers_are_accepted_where_it_is_said(talkers: Path, tmp_path: Path) -> None:
    rows = {file: ("train", "test", "valid")[n % 3] for n, file in enumerate(files_of(talkers))}
    split = write_split(tmp_path / "split.csv", rows)
    given = [f"data.split={split}", "evaluate.folds=official"]
    config = quick_config(talkers, Path("m"), tmp_path / "run", *given, "data.speakers=false")
    found = whole_split(config, read_labelled(config.data))
    assert len(found.train) == 8 and len(found.valid) == 8 and not found.held
    with pytest.raises(ConfigError, match="4 of 4 speakers are in more than one part"):
        finetune(quick_config(talkers, Path("m"), tmp_path / "run", *given), lambda text: None)
