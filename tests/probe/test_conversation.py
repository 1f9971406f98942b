"""The next emotion of a conversation: what is heard, what must not be, and whether it is learnt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from probe.conversations import (
    follows_the_turn_before,
    is_what_is_heard,
    write_iemocap,
    write_meld,
    write_tone,
)
from torch import nn
from typer.testing import CliRunner

from emotion2vec.cli import app
from emotion2vec.corpora.conversations import Contexts, with_turns
from emotion2vec.corpora.folds import Fold
from emotion2vec.corpora.named.registry import read_named
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.model.dialogue import Dialogue
from emotion2vec.probe import probe
from emotion2vec.probe.dialogues import DialogueHead, Rows, heard_turns
from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.probe.problem import Problem

QUICK = DialogueHead(hidden=16, lr=1e-2, batch=16, epochs=8)


def talk(*turns: str) -> Corpus:
    """A dialogue: each turn is its speaker and the labels of its clips, `-` where unknown, such as `A:x-`."""
    clips = [
        Utterance(
            id=f"{number}{part}",
            file=f"{number}{part}",
            audio=Path(),
            label=label.strip("-"),
            speaker=turn[0],
            dialogue="d",
            turn=number,
        )
        for number, turn in enumerate(turns)
        for part, label in enumerate(turn[2:])
    ]
    return Corpus(name="made", root=Path(), utterances=tuple(clips))


def test_what_is_heard_is_what_came_before() -> None:
    clipset = talk("A:x", "B:-", "A:-y", "B:zz", "A:-", "C:x")
    found = Contexts.of(clipset, 2)
    files = [clip.file for clip in clipset.utterances]
    heard = {
        files[i]: [("+".join(files[j] for j in turn.clips), turn.own) for turn in turns]
        for i, turns in enumerate(found.before)
        if turns
    }
    assert heard == {
        "21": [("00", True), ("10", False)],  # the first clip with a label stands for its turn, which is not heard
        "30": [("10", True), ("20+21", False)],
        "50": [("30+31", False), ("40", False)],  # turns without a label are heard, and not predicted
    }
    assert found.facts == {"dialogues": 1, "turns": 6, "predicted": 3, "unlabelled": 2}


def test_turns_are_in_order_whatever_the_order_of_the_list() -> None:
    clipset = talk("A:x", "B:y", "A:x", "B:y")
    shuffled = replace(clipset, utterances=tuple(clipset.utterances[i] for i in (3, 1, 0, 2)))
    turns = Contexts.of(shuffled, 6).before[0]  # of the last turn
    assert [shuffled.utterances[turn.clips[0]].file for turn in turns] == ["00", "10", "20"]


def test_folds_keep_only_what_is_predicted() -> None:
    contexts = Contexts.of(talk("A:x", "B:y", "A:x", "B:-"), 6)
    fold = Fold(name="f", train=np.array([0, 1, 3]), test=np.array([2]))
    (kept,) = contexts.restrict([fold])
    assert (kept.train.tolist(), kept.test.tolist()) == ([1], [2])
    with pytest.raises(ConfigError, match="fold f has no turn to test on"):
        contexts.restrict([replace(fold, test=np.array([0, 3]))])


def test_dialogues_that_validation_shares_with_the_test_are_told() -> None:
    clipset = talk("A:x", "B:y", "A:x", "B:y")
    clips = tuple(replace(clip, dialogue="de"[i // 2]) for i, clip in enumerate(clipset.utterances))
    clipset = replace(clipset, utterances=clips)
    contexts = Contexts.of(clipset, 6)
    apart = Fold(name="f", train=np.array([0, 1]), test=np.array([2, 3]))
    assert contexts.warnings(clipset, [apart]) == []
    shared = replace(apart, valid=np.array([2]), test=np.array([3]))
    (warning,) = contexts.warnings(clipset, [apart, shared])
    assert "in training or validation, told from the other side, in 1 of 2 folds" in warning


def test_a_turn_has_one_speaker_and_every_clip_a_turn() -> None:
    clipset = talk("A:x", "B:y")
    with pytest.raises(ManifestError, match="1 clip has no dialogue or turn: 10"):
        with_turns(replace(clipset, utterances=(clipset.utterances[0], replace(clipset.utterances[1], turn=None))))
    with pytest.raises(ManifestError, match="1 turn has clips by several speakers, expected one: turn 0 of d"):
        with_turns(replace(clipset, utterances=(clipset.utterances[0], replace(clipset.utterances[1], turn=0))))


@pytest.fixture
def corpus() -> tuple[Corpus, FeatureTable]:
    """16 dialogues of ten turns; the emotion is what was heard a turn ago, and clips have 25 frames."""
    random = np.random.default_rng(0)
    clips, vectors = [], []
    for dialogue in range(16):
        heard = random.integers(0, 2, 10)
        for turn in range(10):
            clip = Utterance(
                id=f"{dialogue}/{turn}",
                file=f"{dialogue}/{turn}",
                audio=Path(),
                label="ab"[follows_the_turn_before(heard, turn)],
                speaker=f"{dialogue % 4}{'AB'[turn % 2]}",
                dialogue=str(dialogue),
                turn=turn,
            )
            clips.append(clip)
            vectors.append(np.r_[3.0 * heard[turn], 0, 0, 0] + random.standard_normal(4))
    table = FeatureTable(
        vectors=np.array(vectors, np.float32),
        frames=np.repeat(np.array(vectors, np.float32), 25, axis=0),
        lengths=np.full(160, 25),
        failures={},
    )
    return Corpus(name="made", root=Path(), utterances=tuple(clips)), table


def problem_of(clipset: Corpus) -> Problem:
    contexts = Contexts.of(clipset, 6)
    predicted = np.flatnonzero([bool(turns) for turns in contexts.before])
    return Problem(
        labels=np.array(["ab".index(clip.label) for clip in clipset.utterances]),
        outputs=2,
        speakers=None,
        train=predicted[predicted < 100],
        valid=predicted[(predicted >= 100) & (predicted < 120)],
        test=predicted[predicted >= 120],
        standardize=True,
        seed=0,
        contexts=contexts,
    )


@pytest.mark.parametrize("needs", ["vectors", "frames"])
def test_the_head_learns_and_never_hears_the_turn(corpus: tuple[Corpus, FeatureTable], needs: str) -> None:
    clipset, table = corpus
    problem, head = problem_of(clipset), replace(QUICK, needs=needs)
    found = head.fit(head.prepare(table, "cpu"), problem)
    assert np.mean(found.classes == problem.labels[problem.test]) > 0.85
    short = replace(head, epochs=1)
    found = short.fit(short.prepare(table, "cpu"), problem)
    for place in (0, len(problem.test) - 1):
        clip = problem.test[place]
        spoiled = table.vectors.copy(), table.frames.copy()  # type: ignore[union-attr]
        dialogue = np.array([other.dialogue == clipset.utterances[clip].dialogue for other in clipset.utterances])
        later = np.flatnonzero(dialogue & (np.arange(160) >= clip))  # the turn itself, and all that follows
        for values, rows in zip(spoiled, (later, later[:, None] * 25 + np.arange(25)), strict=True):
            values[rows.ravel()] = 1e3
        other = replace(table, vectors=spoiled[0], frames=spoiled[1])
        again = short.fit(short.prepare(other, "cpu"), replace(problem, test=problem.test[place : place + 1]))
        np.testing.assert_allclose(again.scores[0], found.scores[place], rtol=1e-4)


def test_no_signal_is_not_learnt(corpus: tuple[Corpus, FeatureTable]) -> None:
    clipset, table = corpus
    problem = problem_of(clipset)
    heard_now = (table.vectors[:, 0] > 1.5).astype(np.int64)  # the label is in the turn itself alone
    own = replace(problem, labels=heard_now)
    found = QUICK.fit(QUICK.prepare(table, "cpu"), own)
    assert 0.3 < np.mean(found.classes == heard_now[problem.test]) < 0.7


def test_the_network_is_two_grus(corpus: tuple[Corpus, FeatureTable]) -> None:
    """The same numbers turn by turn, without packing; a turn of which nothing could be read is a state of zeros."""
    clipset, table = corpus
    contexts = Contexts.of(clipset, 3)
    lengths = np.full(160, 25)
    lengths[1] = 0
    assert table.frames is not None
    data = Rows(table.frames, np.arange(160) * 25, lengths, "cpu")
    heard = heard_turns(data, torch.from_numpy(table.frames), contexts)
    network = Dialogue(4, 5, 2, torch.Generator().manual_seed(0))
    turn_gru, dialogue_gru = nn.GRU(4, 5, batch_first=True), nn.GRU(6, 5, batch_first=True)
    turn_gru.load_state_dict(network.of_turn.state_dict())
    dialogue_gru.load_state_dict(network.of_dialogue.state_dict())
    clips = [2, 7]
    found = network([heard[clip][0] for clip in clips], [heard[clip][1] for clip in clips])
    for clip, logits in zip(clips, found, strict=True):
        states = []
        for before in range(max(clip - 3, 0), clip):
            rows = torch.from_numpy(table.frames[before * 25 : (before + 1) * 25])
            state = torch.zeros(5) if before == 1 else turn_gru(rows[None])[1][0, 0]
            states.append(torch.cat([state, torch.tensor([float((clip - before) % 2 == 0)])]))
        expected = network.output(dialogue_gru(torch.stack(states)[None])[1][0])[0]
        torch.testing.assert_close(logits, expected)


def test_iemocap_is_ordered_by_time(tmp_path: Path) -> None:
    found = read_named("iemocap", write_iemocap(tmp_path, is_what_is_heard), conversations=True)
    assert len(found.utterances) == 9 * 18 and found.classes == ("anger", "sadness")
    assert any("lists 162 utterances of IEMOCAP, expected 10039" in warning for warning in found.warnings)
    dialogue = [clip for clip in found.utterances if clip.dialogue == "Ses02F_impro01"]
    assert [clip.turn for clip in dialogue] == [0, 1, 2, 3, 3, *range(4, 10), 10, 10, *range(11, 16)]
    assert [clip.speaker for clip in dialogue[:5]] == ["Ses02F", "Ses02M", "Ses02F", "Ses02M", "Ses02M"]
    assert [clip.label is None for clip in dialogue].count(True) == 3
    contexts = Contexts.of(found, 6)
    assert contexts.facts == {"dialogues": 9, "turns": 144, "predicted": 9 * 12, "unlabelled": 27}


@pytest.mark.parametrize(("label", "learnt"), [(follows_the_turn_before, True), (is_what_is_heard, False)])
def test_a_probe_of_iemocap_learns_from_what_came_before_alone(tmp_path: Path, label: object, learnt: bool) -> None:
    root = write_iemocap(tmp_path / "IEMOCAP", label)  # type: ignore[arg-type]
    result = probe(dataset="iemocap", root=root, context=6, folds="session", features=["logmel"], heads=[QUICK])
    (row,) = result.results
    assert (row["pooled"]["UA"] > 85) == learnt
    assert learnt or row["pooled"]["UA"] < 65
    assert sum(fold["clips"] for fold in row["folds"]) == 108
    assert not any("dialogues of the test" in warning for warning in result.about["warnings"])


def test_meld_and_folds_that_share_dialogues(tmp_path: Path) -> None:
    root, output = write_meld(tmp_path, follows_the_turn_before), tmp_path / "scores.json"
    options = ["--root", str(root), "--context", "6", "--features", "logmel", "--output", str(output)]
    found = CliRunner().invoke(app, ["probe", "--dataset", "meld", "--folds", "official", *options])
    assert found.exit_code == 0, found.output
    document = json.loads(output.read_text())
    assert document["head"] == "dialogue" and document["context"] == 6 and document["task"] == "classification"
    assert document["pooled"]["UA"] > 80
    assert document["conversation"]["predicted"] == 3 * 6 * 11
    shared = probe(dataset="meld", root=root, context=2, features=["logmel"], heads=[replace(QUICK, epochs=1)])
    assert any("dialogues of the test are also in training" in warning for warning in shared.about["warnings"])


def test_a_table_with_text_and_speech(tmp_path: Path) -> None:
    """The emotion is in the text of the turn before, the tones are of no use; both together serve as well."""
    random = np.random.default_rng(0)
    lines, arrays = ["file,emotion,speaker,session,dialogue,turn"], {}
    for dialogue in range(12):
        said = random.integers(0, 2, 10)
        for turn in range(10):
            name = f"d{dialogue}t{turn}"
            write_tone(tmp_path / f"{name}.wav", int(random.integers(0, 2)), random)
            arrays[name] = 3.0 * said[turn] + random.standard_normal(40)
            emotion = ("", "ab"[said[turn - 1]])[turn > 0]
            lines.append(f"{name}.wav,{emotion},{'AB'[turn % 2]}{dialogue % 4},{dialogue % 4},{dialogue},{turn}")
    table = tmp_path / "talk.csv"
    table.write_text("\n".join(lines))
    np.savez(tmp_path / "text.npz", **arrays)
    text = str(tmp_path / "text.npz")
    result = probe(table=table, context=6, folds="session", features=["logmel", text, f"logmel+{text}"], heads=[QUICK])
    speech, written, both = (row["pooled"]["UA"] for row in result.results)
    assert speech < 65 and written > 80 and both > 80


def test_mistakes_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    table = tmp_path / "t.csv"
    table.write_text("file,emotion,dialogue,turn\na.wav,x,,1\nb.wav,x,d,first\n")
    with pytest.raises(ManifestError, match="2 faulty lines: line 2: dialogue is empty; line 3: turn is 'first'"):
        probe(table=table, context=6, features=["logmel"])
    table.write_text("file,emotion\na.wav,x\n")
    with pytest.raises(ManifestError, match="expected `file` and `dialogue` and `turn` and `label` or `emotion`"):
        probe(table=table, context=6, features=["logmel"])
    with pytest.raises(
        ConfigError, match="dataset emodb has no dialogues that we know of, expected one of iemocap, meld"
    ):
        probe(dataset="emodb", root=tmp_path, context=6, features=["logmel"])
    with pytest.raises(ConfigError, match=r"targets and a context.*head mlp is not for predicting the next turn"):
        probe(table=table, context=6, targets=["arousal"], features=["logmel"], heads=["mlp"])


def test_clips_that_were_read_already_need_what_is_wanted_too() -> None:
    clip = Utterance(id="a.wav", file="a.wav", audio=Path("a.wav"), label="x", speaker="s")
    clipset = Corpus(name="made", root=Path(), utterances=(clip, replace(clip, file="b.wav")))
    with pytest.raises(ManifestError, match=r"made: 2 clips have no dialogue or turn: a\.wav, b\.wav"):
        probe(clips=clipset, context=6, features=["logmel"])
    with pytest.raises(ManifestError, match="made: no clip has a value of arousal, expected one of none"):
        probe(clips=clipset, targets=["arousal"], features=["logmel"])
    with pytest.raises(ConfigError, match="targets and a context are given"):
        probe(clips=clipset, targets=["arousal"], context=6, features=["logmel"])
