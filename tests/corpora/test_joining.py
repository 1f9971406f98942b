"""Training on some corpora, testing on others: what is shared, what is left out, and whether it is learnt."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from probe.conversations import write_tone
from probe.stand_in import run_plan

from emotion2vec.corpora.folds import make_folds
from emotion2vec.corpora.joining import Part, join_corpora
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.corpora.validation import validation_split
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.probe.benchmark.loading import load_plan


def corpus(name: str, *labels: str, speakers: int = 3, warnings: tuple[str, ...] = ()) -> Corpus:
    clips = [
        Utterance(
            id=f"{speaker}/{label}.wav",
            file=f"{speaker}/{label}.wav",
            audio=Path(f"/{name}/{speaker}/{label}.wav"),
            label=label,
            speaker=f"s{speaker}",
        )
        for speaker in range(speakers)
        for label in labels
    ]
    return Corpus(name=name, root=Path("/", name), utterances=tuple(clips), warnings=warnings)


def part(name: str, *labels: str, **settings: object) -> Part:
    return Part(name=name, corpus=corpus(name, *labels), **settings)  # type: ignore[arg-type]


def test_shared_classes_are_kept_and_the_others_named() -> None:
    found = join_corpora([part("de", "happy", "Sad", "boredom"), part("pl", "happiness", "sadness", "fear")], "both")
    assert found.classes == ("happiness", "sadness") and len(found.utterances) == 12
    assert found.mapping == {
        "de": {"Sad": "sadness", "boredom": "", "happy": "happiness"},
        "pl": {"fear": "", "happiness": "happiness", "sadness": "sadness"},
    }
    assert found.warnings == (
        "de: 3 clips are left out, of classes that are not shared: boredom 3",
        "pl: 3 clips are left out, of classes that are not shared: fear 3",
    )
    assert {clip.speaker for clip in found.utterances} == {f"{c}:s{i}" for c in ("de", "pl") for i in range(3)}
    assert len({clip.file for clip in found.utterances}) == 12


def test_synonyms_that_are_other_words_are_told() -> None:
    found = join_corpora([part("de", "Anxiety", "sad"), part("pl", "fear", "sadness", "Bored")], "both")
    assert found.classes == ("fear", "sadness")
    assert found.warnings[0] == "de: labels are taken for others of nearly the same meaning: Anxiety as fear"
    assert len(found.warnings) == 2


def test_a_mapping_of_ones_own() -> None:
    parts = [
        part("de", "happy", "sad", "boredom", labels={"boredom": "neutral", "happy": ""}),
        part("pl", "neutral", "sadness", "joy"),
    ]
    assert join_corpora(parts, "both").classes == ("neutral", "sadness")
    assert join_corpora(parts, "both", ["sadness", "happiness"]).classes == ("happiness", "sadness")


def test_folds_leave_out_a_corpus_or_a_language_and_validate_on_neither() -> None:
    parts = [part(name, "sad", "happy", language=spoken) for name, spoken in (("a", "en"), ("b", "en"), ("c", "de"))]
    found = join_corpora(parts, "all")
    assert [fold.name for fold in make_folds(found, "corpus")] == ["a", "b", "c"]
    german, english = make_folds(found, "language")
    assert (german.name, len(german.train), len(german.test)) == ("de", 12, 6)
    for fold in (german, english):
        assert fold.shared_speakers == ()
        heard = np.concatenate(validation_split(found.utterances, fold, seed=0))
        assert {found.utterances[i].language for i in heard}.isdisjoint({fold.name})
        assert sorted(heard) == sorted(fold.train)


def test_explicit_sets_are_the_official_split() -> None:
    parts = [part("a", "sad", "happy", split="train"), part("b", "sad", "happy", split="test")]
    (fold,) = make_folds(join_corpora(parts, "x"), "official")
    assert (len(fold.train), len(fold.test), fold.valid) == (6, 6, None)


def test_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"x: 1 corpora, expected at least 2 to join$"):
        join_corpora([part("a", "sad", "happy")], "x")
    parts = [part("a", "sad", "happy", labels={"glad": "happiness"}), part("b", "anger", "fear")]
    with pytest.raises(
        ConfigError,
        match=r"a maps glad, which it does not have; it has happy, sad;.*share 0 classes.*they have a: happiness, sadn",
    ):
        join_corpora(parts, "x")
    with pytest.raises(ConfigError, match="a is the name of several corpora, expected another for each"):
        join_corpora([parts[0], parts[0]], "x")
    with pytest.raises(ConfigError, match="classes names rage, which no corpus has"):
        join_corpora([part("a", "sad", "happy"), part("b", "sad", "joy")], "x", ["rage", "sadness"])
    with pytest.raises(ConfigError, match="18 of 18 clips have no language"):
        make_folds(join_corpora([part("a", "sad", "joy", "fear"), part("b", "sad", "joy", "fear")], "x"), "language")


def test_emobox_balanced_sets(tmp_path: Path) -> None:
    """Lists name a few clips by the end of their path; stems alone may be those of several clips."""
    listed = tmp_path / "A_selected_balenced.jsonl"
    rows = [
        {"wav_filename": name, "label": "sad", "speaker": "0"} for name in ("0/sad.wav", "1/happy.wav", "7/sad.wav")
    ]
    listed.write_text("\n".join(map(json.dumps, rows)))
    parts = [part("a", "sad", "happy", split="test", only=listed), part("b", "sad", "joy", split="train")]
    found = join_corpora(parts, "x")
    assert [clip.file for clip in found.utterances if clip.split == "test"] == ["a/0/sad.wav", "a/1/happy.wav"]
    assert list(found.left_out) == ["a/7/sad.wav"]
    listed.write_text('{"wav": "0/sad.wav"}')
    with pytest.raises(ManifestError, match="JSON Lines with wav_filename: line 1: wav_filename is None, expected a"):
        join_corpora(parts, "x")
    listed.write_text('{"wav_filename": "other.wav"}')
    with pytest.raises(ManifestError, match=r"none of its 1 clips is in a, such as other\.wav"):
        join_corpora(parts, "x")


def test_labels_are_those_of_the_whole_corpus_and_what_is_left_out_that_of_the_list(tmp_path: Path) -> None:
    """Renaming a label that the list drops is no mistake; a name that the corpus never had is one, list or no list."""
    listed = tmp_path / "list.jsonl"
    names = ("0/sad", "0/happy", "1/sad", "1/happy", "2/joy", "3/joy", "lone")
    listed.write_text("\n".join(json.dumps({"wav_filename": f"audio/{name}.wav"}) for name in names))
    lost = {"2/joy.wav": "broken", "lone": "no audio", "5/fear.wav": "broken too"}
    whole = replace(corpus("a", "sad", "happy", "fear"), left_out=lost)
    one = Part(name="a", corpus=whole, labels={"fear": "horror"}, only=listed)
    found = join_corpora([one, part("b", "sad", "joy")], "x")
    assert found.mapping["a"] == {"happy": "happiness", "sad": "sadness"} and len(found.utterances) == 4 + 6
    assert list(found.left_out) == ["a/2/joy.wav", "a/lone", "a/audio/3/joy.wav"]
    with pytest.raises(ConfigError, match=r"labels of a maps feer, which it does not have; it has fear, happy, sad$"):
        join_corpora([replace(one, labels={"feer": "fear"}), part("b", "sad", "joy")], "x")


def test_files_that_a_list_does_not_name_are_not_lost(tmp_path: Path) -> None:
    """SAVEE's speakers share their stems: what is left out of one is not what the list takes of another."""
    listed = tmp_path / "list.jsonl"
    listed.write_text('{"wav_filename": "SAVEE/1/sad.wav"}\n{"wav_filename": "SAVEE/1/happy.wav"}')
    whole = replace(corpus("a", "sad", "happy"), left_out={"DC/sad.wav": "broken"})
    one, other = Part(name="a", corpus=whole, only=listed), part("b", "sad", "joy")
    found = join_corpora([one, other], "x")
    assert len(found.utterances) == 2 + 6 and found.left_out == {}
    alone = Corpus(name="a", root=Path("/a"), utterances=whole.utterances[:2], left_out=whole.left_out)
    for name, left_out in (("sad", ["a/sad.wav"]), ("DC/sad", ["a/DC/sad.wav"])):  # a stem of two clips, of one
        listed.write_text(f'{{"wav_filename": "{name}.wav"}}\n{{"wav_filename": "JE/happy.wav"}}')
        found = join_corpora([replace(one, corpus=alone, labels={"happy": "joy"}), other], "x", ["joy", "happiness"])
        assert list(found.left_out) == left_out and found.utterances[0].file == "a/0/happy.wav"


def write_corpus(root: Path, names: tuple[str, str], *, signal: bool, seed: int) -> None:
    """Two classes of three speakers; the label is the pitch, or nothing."""
    random = np.random.default_rng(seed)
    lines = ["file,label,speaker"]
    for number in range(36):
        high = int(random.integers(0, 2))
        write_tone(root / f"{number}.wav", high, random)
        lines.append(f"{number}.wav,{names[high if signal else int(random.integers(0, 2))]},s{number % 3}")
    (root / "table.csv").write_text("\n".join(lines))


def test_what_carries_over_is_learnt_and_what_does_not_is_not(tmp_path: Path) -> None:
    write_corpus(tmp_path / "one", ("sad", "angry"), signal=True, seed=1)
    write_corpus(tmp_path / "two", ("sadness", "anger"), signal=True, seed=2)
    write_corpus(tmp_path / "noise", ("sadness", "anger"), signal=False, seed=3)
    config = tmp_path / "plan.yaml"
    config.write_text(
        f"""
data: {tmp_path}
corpora:
  - title: signal
    folds: language
    parts:
      - {{table: one/table.csv, title: one, language: English}}
      - {{table: two/table.csv, title: two, language: German}}
  - title: noise
    folds: official
    parts:
      - {{table: one/table.csv, title: one, split: train}}
      - {{table: noise/table.csv, title: noise, split: test}}
  - title: nothing shared
    folds: corpus
    parts:
      - {{table: one/table.csv, title: one}}
      - {{table: two/table.csv, title: two, labels: {{anger: x, sadness: y}}}}
  - {{title: both, dataset: emodb, root: x, parts: [{{table: one/table.csv}}]}}
  - {{title: one corpus, table: one/table.csv, classes: [sad]}}
features: [logmel]
output: {tmp_path / "out"}
"""
    )
    plan = load_plan(config)
    result = run_plan(plan)
    assert result.exit_code == 1
    signal, noise = result.combinations
    assert [fold["name"] for fold in signal["folds"]] == ["English", "German"]
    assert signal["pooled"]["UA"] > 90 and 25 < noise["pooled"]["UA"] < 75
    assert signal["mapping"]["one"] == {"angry": "anger", "sad": "sadness"}
    assert [re.sub(":.*", "", failure.reason) for failure in result.failures] == [
        "nothing shared",
        "both",
        "one corpus",
    ]
    assert "parts and dataset are given" in result.failures[1].reason
    assert "classes are given without parts" in result.failures[2].reason
    page = (Path(plan.output) / "report.html").read_text()
    assert page.count("What the corpora&#x27;s labels became") + page.count("What the corpora's labels became") == 2


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{parts: [{dataset: emodb, lang: de}]}", r"unknown key corpora\[0\]\.parts\[0\]\.lang"),
        ("{parts: []}", r"corpora\[0\]\.parts is \[\]"),
        ("{parts: [{dataset: a, labels: [x]}]}", "labels is .*expected names by names"),
        ("{parts: [{dataset: a, split: dev2}]}", "split is 'dev2', expected train, valid or test"),
        ("{dataset: a, context: six, targets: [1]}", r"targets is \[1\].*context is 'six'"),
    ],
)
def test_faulty_plans(tmp_path: Path, entry: str, message: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(f"corpora: [{entry}]\nfeatures: [logmel]\n")
    with pytest.raises(ConfigError, match=message):
        load_plan(path)
