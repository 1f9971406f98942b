"""Whole iterations of a small network on made-up speech."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import soundfile
from command import run as command
from iterate.pools import Speech, overrides, plan_of

from emotion2vec.audio.samples import load_audio
from emotion2vec.checkpoint import load_model
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.finetune.labelled import read_labelled
from emotion2vec.iterate import choosing
from emotion2vec.iterate.people import divide
from emotion2vec.iterate.run import iterate
from emotion2vec.model.fingerprint import weights_hash

WINDOWS = ["filters.window=0.2", "filters.agreeing=0.3"]
"""Windows in which a random network hears something of a tone."""


@dataclass
class Finished:
    folder: Path
    said: list[str]
    rounds: list[dict[str, Any]]


@pytest.fixture(scope="module")
def finished(speech: Speech, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two rounds after the first model; windows are compared."""
    folder, said = tmp_path_factory.mktemp("runs") / "plus", list[str]()
    done = iterate(plan_of(speech, model, folder, "rounds.count=2", *WINDOWS), said.append)
    return Finished(folder, said, done.rounds)


def table_of(folder: Path, number: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parquet.read_table(folder / f"round_{number}" / "labels.parquet").to_pylist()
    return rows


def same_tables(ours: Path, theirs: Path) -> bool:
    """Whether the first rounds have the same labels, for the same reasons; scores are nearly those."""
    tables = [table_of(folder, 1) for folder in (ours, theirs)]
    numbers = [[[value for value in row.values() if isinstance(value, float)] for row in table] for table in tables]
    words = [[{n: v for n, v in row.items() if not isinstance(v, float)} for row in table] for table in tables]
    return words[0] == words[1] and np.allclose(*numbers, atol=1e-4)


def read_tsv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_every_round_leaves_tables_that_add_up(finished: Finished, speech: Speech) -> None:
    assert [document["accepted"] for document in finished.rounds] == [True, True, True]
    for number in (1, 2):
        rows, document = table_of(finished.folder, number), finished.rounds[number]
        assert {Path(row["id"]).name for row in rows} == set(speech.hidden)
        assert all((row["kept"] == 1) == (row["reason"] is None) for row in rows)
        kept = Counter(row["label"] for row in rows if row["kept"])
        assert {name: row["kept"]["clips"] for name, row in document["clips"]["by class"].items()} == dict(kept)
        hours = sum(row["seconds"] for row in rows if row["kept"]) / 3600
        assert document["clips"]["kept"]["hours"] == pytest.approx(hours, abs=1e-4)
        refused = Counter(row["reason"] for row in rows if not row["kept"])
        assert {name: row["clips"] for name, row in document["clips"]["refused"].items()} == dict(refused)
        counted = {row["class"]: row for row in read_tsv(finished.folder / f"round_{number}" / "clips.tsv")}
        assert int(counted["all"]["kept"]) == sum(kept.values()) and int(counted["all"]["labelled"]) == len(rows)
        for label, row in counted.items():
            reasons = [int(row[name]) for name in list(row)[5:]]
            assert int(row["labelled"]) == int(row["kept"]) + sum(reasons), label
        assert all(row["confidence"] == pytest.approx(max(row[f"score:{c}"] for c in kept), abs=1e-4) for row in rows)
    assert [row["accepted"] for row in read_tsv(finished.folder / "rounds.tsv")] == ["yes"] * 3


def test_scores_of_a_round_are_those_of_scikit_learn(finished: Finished) -> None:
    from sklearn.metrics import accuracy_score, f1_score, recall_score

    rows = read_tsv(finished.folder / "round_1" / "held_out.tsv")
    truth, said = ([row[name] for row in rows] for name in ("label", "predicted"))
    found = finished.rounds[1]["scores"]["human"]
    assert found["UA"] == pytest.approx(100 * recall_score(truth, said, average="macro"), abs=1e-3)
    assert found["WA"] == pytest.approx(100 * accuracy_score(truth, said), abs=1e-3)
    assert found["WF1"] == pytest.approx(100 * f1_score(truth, said, average="weighted"), abs=1e-3)
    assert len({row["speaker"] for row in rows}) == 1


def test_the_last_accepted_model_is_the_folders(finished: Finished) -> None:
    folder = finished.folder
    assert weights_hash(load_model(folder)) == weights_hash(load_model(folder / "round_2" / "model"))
    assert weights_hash(load_model(folder)) != weights_hash(load_model(folder / "round_0" / "model"))
    assert "pool" in json.loads((folder / "data.json").read_text())["groups"]["corpus"]
    assert not list(folder.glob("round_*/model/checkpoints"))
    card, kept = (folder / "README.md").read_text(), finished.rounds[2]["clips"]["kept"]["clips"]
    assert f"Of the clips that train, {kept} (" in card and "no person labelled them" in card


def test_labels_of_a_pool_of_tones_are_mostly_right(finished: Finished, speech: Speech) -> None:
    rows = [row for row in table_of(finished.folder, 1) if row["kept"]]
    assert np.mean([speech.hidden[Path(row["id"]).name] == row["label"] for row in rows]) > 0.8


def test_the_same_seed_gives_the_same_tables(finished: Finished, speech: Speech, model: Path, tmp_path: Path) -> None:
    plan = plan_of(speech, model, tmp_path / "again", "rounds.count=1", *WINDOWS, "pool.shards=2")
    iterate(plan, lambda text: None)
    assert same_tables(tmp_path / "again", finished.folder)
    for name in ("clips.tsv", "scores.tsv", "held_out.tsv"):
        assert (tmp_path / "again" / "round_1" / name).read_text() == (finished.folder / "round_1" / name).read_text()


@pytest.mark.slow
def test_a_finished_folder_does_nothing_more_and_may_get_more_rounds(
    finished: Finished, speech: Speech, model: Path, tmp_path: Path
) -> None:
    folder, said = tmp_path / "plus", list[str]()
    shutil.copytree(finished.folder, folder)
    asked = [*WINDOWS, "filters.quantile=0.4"]
    done = iterate(plan_of(speech, model, folder, "rounds.count=3", *asked), said.append)
    assert len(done.rounds) == 4 and "round 2 is done" in said and "round 3 is accepted" in said
    assert done.rounds[3]["filters"]["quantile"] == 0.4 and done.rounds[2]["filters"]["quantile"] == 0.25
    with pytest.raises(ConfigError, match=r"other settings: optim.lr was 0.01, now 0.5; expected the same"):
        iterate(plan_of(speech, model, folder, "rounds.count=3", *asked, "optim.lr=0.5"), said.append)


class Killed(Exception):
    pass


def killed_after(count: int) -> Callable[[object], None]:
    """A callback that ends a command at its n-th call."""
    left = [count]

    def call(progress: object) -> None:
        left[0] -= 1
        if not left[0]:
            raise Killed

    return call


@pytest.mark.parametrize("calls", [10, *(pytest.param(calls, marks=pytest.mark.slow) for calls in (2, 4 + 18 + 2))])
def test_a_killed_command_goes_on_in_the_middle_of_what_it_did(
    finished: Finished, speech: Speech, model: Path, tmp_path: Path, calls: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Four updates, eighteen clips, four updates: killed in the first training, in labelling, in the second one."""
    plan = plan_of(speech, model, tmp_path / "plus", *WINDOWS)
    said: list[str] = []
    with pytest.raises(Killed):
        iterate(plan, said.append, killed_after(calls))
    first = sum(text.startswith("round 1: ") for text in said)
    assert first == (calls > 4)
    again: list[str] = []
    done = iterate(plan, again.append)
    assert any("were there" in text for text in again) or "resumed after update" in "".join(capfd.readouterr())
    assert [one["scores"] for one in done.rounds] == [one["scores"] for one in finished.rounds[:2]]
    assert same_tables(tmp_path / "plus", finished.folder)


def test_a_round_that_is_worse_is_rolled_back(
    finished: Finished, speech: Speech, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pseudo-labels that are all wrong, and drawn most of the time."""
    right = choosing.as_labelled
    wrong = {"anger": "neutral", "neutral": "sadness", "sadness": "anger"}
    monkeypatch.setattr(choosing, "as_labelled", lambda clip, label: right(clip, wrong[label]))
    folder, said = tmp_path / "plus", list[str]()
    asked = ["rounds.count=2", "rounds.human=0.02", "finetune.solve=0", "optim.max_updates=60", "accept.over=clips"]
    asked += ["validation.every=60", "checkpoint.every=60", "log.every=60", "accept.share=0.5", "pool.compare=bytes"]
    done = iterate(plan_of(speech, model, folder, *asked), said.append)
    assert [one["accepted"] for one in done.rounds] == [True, False]
    assert done.rounds[1]["worse on"] == ["human"] and done.rounds[1]["compared"]["human"]["interval"][1] < 0
    assert weights_hash(load_model(folder)) == weights_hash(load_model(folder / "round_0" / "model"))
    assert "round 1 is worse on human beyond the interval, and is rolled back" in said[-1]
    again: list[str] = []
    assert len(iterate(plan_of(speech, model, folder, *asked), again.append).rounds) == 2
    assert "round 1 is done and was rolled back" in again
    with pytest.raises(ConfigError, match="was rolled back, after which there is no other round"):
        iterate(plan_of(speech, model, folder, *asked, "pool.shards=2", "pool.shard=0"), said.append)


@pytest.mark.slow
def test_shards_are_labelled_by_processes_of_their_own(
    finished: Finished, speech: Speech, model: Path, tmp_path: Path
) -> None:
    folder, said = tmp_path / "plus", list[str]()
    asked = ["pool.shards=3", *WINDOWS]
    with pytest.raises(ConfigError, match="has no model yet, expected the command without it"):
        iterate(plan_of(speech, model, folder, *asked, "pool.shard=1"), said.append)
    iterate(plan_of(speech, model, folder, *asked, "rounds.count=0"), said.append)
    for shard in (2, 0):
        done = iterate(plan_of(speech, model, folder, *asked, f"pool.shard={shard}"), said.append)
        assert done.labelled == f"shard {shard} of 3 for round 1"
    said.clear()
    iterate(plan_of(speech, model, folder, *asked), said.append)
    assert sum("6 were there" in text for text in said) == 2  # those of shards 0 and 2
    assert same_tables(folder, finished.folder)


@pytest.mark.slow
def test_sources_that_are_shards_are_read_by_those_who_label_them(
    finished: Finished, speech: Speech, model: Path, tmp_path: Path
) -> None:
    header, *rows = speech.pool.read_text().splitlines()
    lists = [speech.pool.parent / f"part{number}.csv" for number in range(2)]
    for place, first in zip(lists, (0, 5), strict=True):
        place.write_text("\n".join([header, *(rows[:5] if first == 0 else rows[5:])]) + "\n")
    folder, said = tmp_path / "plus", list[str]()
    asked = [f"pool.sources=[{lists[0]},{lists[1]}]", "pool.shards=0", *WINDOWS]
    iterate(plan_of(speech, model, folder, *asked, "rounds.count=0"), said.append)
    unread = [f"pool.sources=[{tmp_path / 'gone.csv'},{lists[1]}]", *asked[1:]]
    iterate(plan_of(speech, model, folder, *unread, "pool.shard=1"), said.append)
    iterate(plan_of(speech, model, folder, *asked), said.append)
    assert any("13 were there" in text for text in said)
    assert same_tables(folder, finished.folder)
    with pytest.raises(ManifestError, match=r"5 clips have the name of one in another source: .*; expected other"):
        iterate(
            plan_of(speech, model, tmp_path / "b", f"pool.sources=[{lists[0]},{lists[0]}]", *asked[1:]), said.append
        )


def test_held_out_clips_in_the_pool_are_refused(speech: Speech, model: Path, tmp_path: Path) -> None:
    plan = plan_of(speech, model, tmp_path / "plus")
    people = divide(plan, read_labelled(plan.data))
    held = people.corpus.utterances[int(people.held["human"][0])]
    pool = tmp_path / "pool"
    pool.mkdir()
    for name in speech.hidden:
        shutil.copy(speech.pool.parent / f"{name}.wav", pool)
    shutil.copy(held.path, pool / "secret.wav")
    for kind, copied in (("bytes", "secret.wav"), ("sound", "secret.ogg")):
        if kind == "sound":
            soundfile.write(pool / copied, 0.5 * load_audio(held.path), 16_000, format="OGG", subtype="VORBIS")
            (pool / "secret.wav").unlink()
        wanted = (
            rf"1 clip of the pool is held out to judge rounds by: .*{copied} = {held.file}; expected a pool without"
        )
        with pytest.raises(ConfigError, match=wanted):
            iterate(plan_of(speech, model, tmp_path / kind, f"pool.sources={pool}", f"pool.compare={kind}"))
    assert not list(tmp_path.glob("*/round_0"))  # before anything is trained


def test_clips_that_people_labelled_and_clips_that_are_there_twice_are_left_out(
    speech: Speech, model: Path, tmp_path: Path
) -> None:
    plan = plan_of(speech, model, tmp_path / "plus", "pool.compare=bytes")
    people = divide(plan, read_labelled(plan.data))
    trained = people.corpus.utterances[int(people.split.train[0])]
    pool = tmp_path / "pool"
    pool.mkdir()
    for name in speech.hidden:
        shutil.copy(speech.pool.parent / f"{name}.wav", pool)
    shutil.copy(trained.path, pool / "known.wav")
    shutil.copy(speech.pool.parent / f"{next(iter(speech.hidden))}.wav", pool / "zz_again.wav")
    (pool / "broken.wav").write_bytes(b"RIFF no")
    said: list[str] = []
    more = [f"pool.sources={pool}", "pool.compare=bytes", "filters.quantile=0"]
    iterate(plan_of(speech, model, tmp_path / "plus", *more), said.append)
    reasons = {row["id"]: row["reason"] for row in table_of(tmp_path / "plus", 1)}
    expected = {"known": "labelled by people", "zz_again": "another clip again", "broken": "cannot be read"}
    assert {name: reason for name, reason in reasons.items() if reason} == expected
    assert any(text.startswith("warning: 1 clip of the pool cannot be read, such as") for text in said)


def test_bad_pools_are_one_sentence(speech: Speech, model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match=r"pool.sources .*empty: "):
        iterate(plan_of(speech, model, tmp_path / "a", f"pool.sources={tmp_path / 'empty'}"), lambda text: None)
    listed = tmp_path / "listed.csv"
    rows = [str(speech.pool.parent / f"{name}.wav") for name in list(speech.hidden)[:4]]
    listed.write_text("\n".join(["file", *rows, "gone.wav", "away.wav"]) + "\n")
    wanted = r"2 of 6 clips of the pool cannot be read, expected at most 10.0% \(pool.max_bad_share\): .*gone.wav"
    with pytest.raises(ManifestError, match=wanted):
        iterate(plan_of(speech, model, tmp_path / "b", f"pool.sources={listed}"), lambda text: None)


def test_a_class_that_keeps_no_clip_stops_the_round_or_learns_from_people(
    speech: Speech, model: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "pool.csv"
    calm = [speech.pool.parent / f"{name}.wav" for name, label in speech.hidden.items() if label != "anger"]
    listed.write_text("\n".join(["file", *map(str, calm)]) + "\n")
    plan = plan_of(speech, model, tmp_path / "plus", f"pool.sources={listed}")
    with pytest.raises(
        ConfigError, match=r"round 1 keeps no clip of anger \(0 labelled so\), of \d+ kept clips in all; "
    ):
        iterate(plan, lambda text: None)
    said: list[str] = []
    plan = plan_of(speech, model, tmp_path / "plus", f"pool.sources={listed}", "filters.lacking=human")
    assert len(iterate(plan, said.append).rounds) == 2  # the labels that are there are not made again
    assert any("keeps no clip of anger" in text and text.startswith("warning") for text in said)
    assert any(text.startswith("labelled: 0 clips") and "were there" in text for text in said)


@pytest.mark.slow
def test_other_filters_do_not_go_on_with_a_training(speech: Speech, model: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        iterate(plan_of(speech, model, tmp_path / "plus"), lambda text: None, killed_after(4 + 18 + 2))
    with pytest.raises(ConfigError, match=r"was begun on \d+ clips of the pool, and filters or pool now choose"):
        iterate(plan_of(speech, model, tmp_path / "plus", "filters.quantile=0.9"), lambda text: None)


def test_a_model_that_knows_held_out_labels_is_refused(finished: Finished, speech: Speech, tmp_path: Path) -> None:
    wanted = r"model .* has learnt the labels of \d+ of 6 held-out clips, by their names and lengths: "
    plan = plan_of(speech, finished.folder, tmp_path / "plus", "run.seed=5")  # which holds out somebody else
    with pytest.raises(ConfigError, match=wanted):
        iterate(plan, lambda text: None)


def test_the_command_checks_trains_and_says_mistakes_in_a_sentence(
    speech: Speech,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    asked = overrides(speech, model, tmp_path / "plus")
    assert command(monkeypatch, "iterate", *asked, "--check") == 0
    out = capfd.readouterr()
    assert "24 clips train, 6 choose" in out.out + out.err and not (tmp_path / "plus" / "round_0").exists()
    assert command(monkeypatch, "iterate", *asked) == 0
    out = capfd.readouterr()
    assert f"done: the model of round 1 is in {tmp_path / 'plus'}" in out.out + out.err
    wrong = ["accept.corpora=[nobody]", "filters.balance=0.5", "pool.shard=4", "data.targets=[arousal]"]
    assert command(monkeypatch, "iterate", *asked, *wrong) == 2
    text = "".join(capfd.readouterr())
    for fault in ("accept.corpora has nobody", "filters.balance is 0.5", "pool.shard is 4", "data.targets are values"):
        assert fault in text
    assert "Traceback" not in text
