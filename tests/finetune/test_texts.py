"""Audio and text: a label that is in the text alone, predicted with texts and without, and what does not fit."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from finetune.talkers import quick, quick_config
from finetune.test_goals import silent
from finetune.test_run import check_killed_and_resumed
from probe.test_transcripts import write_bert

from emotion2vec.checkpoint import load_model
from emotion2vec.checkpoint.info import describe_model
from emotion2vec.checkpoint.text import Texts, text_encoder
from emotion2vec.data.micro_batch import MicroBatch, Mixture
from emotion2vec.data.order import Position
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.exporting.convert import convert
from emotion2vec.extraction.predict import predict
from emotion2vec.finetune.config import load_config
from emotion2vec.finetune.evaluation.plan import load_plan
from emotion2vec.finetune.evaluation.run import evaluate
from emotion2vec.finetune.run import finetune
from emotion2vec.finetune.texts import Transcripts
from emotion2vec.model.config import TEXT_HEADS, HeadConfig

WORDS = {"joy": "good day", "grief": "bad night"}


def write_told(folder: Path, speakers: int = 4, takes: int = 6, seed: int = 0) -> Path:
    """Clips of noise, whose emotion is in their text alone."""
    folder.mkdir(parents=True, exist_ok=True)
    random, rows = np.random.default_rng(seed), ["file,emotion,speaker,text"]
    for speaker in range(speakers):
        for take in range(takes):
            label = list(WORDS)[take % 2]
            path = f"{speaker}_{take}{seed or ''}.wav"
            soundfile.write(folder / path, 0.1 * random.normal(size=int(random.integers(5_000, 9_000))), 16_000)
            rows.append(f"{path},{label},s{speaker},{'and ' * (take // 2)}{WORDS[label]}")
    (folder / "told.csv").write_text("\n".join(rows) + "\n")
    return folder / "told.csv"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_told(tmp_path_factory.mktemp("told"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert") / "bert")


def settings(bert: Path, kind: str = "text-cross") -> list[str]:
    return [f"text.encoder={bert}", f"head.kind={kind}", "head.hidden=16", "data.clips=12", "data.max_seconds=1"]


def without_texts(table: Path) -> Path:
    other = table.with_name("silent.csv")
    other.write_text("\n".join(",".join(row.split(",")[:3]) for row in table.read_text().splitlines()) + "\n")
    return other


def accuracy(table: Path, model: Path, output: Path) -> float:
    """Share of a table's clips whose label `predict` finds."""
    predict(table, model=model, output=output)
    truth = {row["file"]: row["emotion"] for row in csv.DictReader(table.open())}
    found = list(csv.DictReader(output.open()))
    return float(np.mean([truth[Path(row["file"]).name] == row["label"] for row in found]))


@pytest.mark.parametrize("kind", TEXT_HEADS)
def test_a_label_in_the_text_alone_is_found_with_it_and_guessed_without(
    kind: str, told: Path, bert: Path, model: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    run = ["optim.max_updates=60", "validation.every=60", "checkpoint.every=60", "finetune.strategy=frozen"]
    more = ["evaluate.folds=speaker:2"] if kind == "text-cross" else []
    finetune(quick_config(told, model, tmp_path / "run", *settings(bert, kind), *run, *more), lines.append)
    new = write_told(tmp_path / "new", seed=1)
    assert accuracy(new, tmp_path / "run", tmp_path / "with.csv") > 0.95
    quiet = accuracy(without_texts(new), tmp_path / "run", tmp_path / "without.csv")
    assert 0.2 < quiet < 0.8  # 24 clips of two classes
    if more:  # folds, held-out clips and tests on other speech are told what is said, too
        assert json.loads((tmp_path / "run" / "scores.json").read_text())["pooled"]["UA"] > 95
        assert json.loads((tmp_path / "run" / "validation.json").read_text())["pooled"]["UA"] > 95
        plan = [f"data.table={new}", f"model={tmp_path / 'run'}", f"output={tmp_path / 'test'}"]
        tested = evaluate(load_plan([*plan, "device=cpu"]), silent)
        assert tested.scores.results[0].pooled["UA"] > 95


def test_single_clips_and_windows_hear_the_audio_alone(told: Path, bert: Path, model: Path, tmp_path: Path) -> None:
    finetune(quick_config(told, model, tmp_path / "run", *settings(bert), "optim.max_updates=2"), silent)
    opened, clip = load_model(tmp_path / "run"), told.parent / "0_0.wav"
    quiet = opened.predict(clip)
    predict(clip, model=tmp_path / "run", output=tmp_path / "a.csv")
    predict(told, model=tmp_path / "run", output=tmp_path / "b.csv", window=0.1)
    predict(told, model=tmp_path / "run", output=tmp_path / "c.csv")
    rows = [next(csv.DictReader((tmp_path / f"{name}.csv").open())) for name in "abc"]
    assert float(rows[0]["score:joy"]) == pytest.approx(quiet["joy"], abs=1e-4)
    assert abs(float(rows[2]["score:joy"]) - quiet["joy"]) > 1e-4
    convert(tmp_path / "run", tmp_path / "copy")
    assert load_model(tmp_path / "copy").predict(clip) == quiet
    shutil.move(bert, bert.with_name("gone"))  # not needed without texts, named with them
    try:
        predict(without_texts(told), model=tmp_path / "run", output=tmp_path / "d.csv")
        with pytest.raises(CheckpointError, match=r"text:.*bert: cannot be loaded.*expected text_encoder to say where"):
            predict(told, model=tmp_path / "run", output=tmp_path / "e.csv")
        write_bert(bert, lower=False)
        with pytest.raises(CheckpointError, match=r"expected the weights and the tokenizer that the model learnt with"):
            predict(told, model=tmp_path / "run", output=tmp_path / "f.csv")
    finally:
        shutil.rmtree(bert, ignore_errors=True)
        shutil.move(bert.with_name("gone"), bert)


def test_what_is_kept_of_texts_is_transformers_states(bert: Path) -> None:
    import transformers

    tokens = transformers.AutoTokenizer.from_pretrained(bert)("good bad day", return_tensors="pt")
    with torch.inference_mode():
        expected = transformers.AutoModel.from_pretrained(bert)(**tokens).last_hidden_state[0]
    encoder = text_encoder(str(bert), "cpu")
    calls: list[str] = []
    encode = encoder.encode
    encoder.encode = lambda text: calls.append(text) or encode(text)  # type: ignore[method-assign,func-returns-value]
    for pooled, wanted in ((False, expected), (True, expected.mean(0, keepdim=True))):
        texts = Texts(encoder, pooled=pooled)
        found = texts(["good bad day", None, "  ", "night"])
        rows = found.states[0][~found.padding[0]]
        torch.testing.assert_close(rows, wanted, atol=2e-3, rtol=2e-3)  # half precision
        assert found.padding[1:3].all() and found.known.flatten().tolist() == [1, 0, 0, 1]
        texts(["night", "good bad day"])
    assert calls == ["good bad day", "night"] * 2  # each once
    assert not Texts(encoder, pooled=True)([None, ""]).known.any()


def test_texts_are_left_out_as_often_as_told_and_of_mixtures(bert: Path) -> None:
    texts, ids = Texts(text_encoder(str(bert), "cpu"), pooled=True), [str(n) for n in range(400)]
    position = Position(0, 0)
    batch = MicroBatch(
        torch.zeros(400, 1), ids, position, mixtures=[Mixture("x", 0.5) if n < 40 else None for n in range(400)]
    )
    transcripts = Transcripts(texts, dict.fromkeys(ids, "good"), 0.25, seed=0)
    known = transcripts.of(batch, 3).known.flatten()
    assert not known[:40].any() and 0.65 < known[40:].mean() < 0.85
    assert torch.equal(transcripts.of(batch, 3).known.flatten(), known)
    assert not torch.equal(transcripts.of(batch, 4).known.flatten(), known)
    assert Transcripts(texts, dict.fromkeys(ids, "good"), 0.0, seed=0).of(batch, 1).known[40:].all()


def test_a_text_encoder_is_found_from_elsewhere_and_where_it_moved(
    told: Path, bert: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bert, tmp_path / "read")
    monkeypatch.chdir(tmp_path)
    finetune(quick_config(told, model, tmp_path / "run", *settings(Path("read")), "optim.max_updates=2"), silent)
    monkeypatch.chdir(tmp_path / "run")
    assert describe_model(tmp_path / "run").text_encoder == str(tmp_path / "read")
    predict(told, model=tmp_path / "run", output=tmp_path / "a.csv")
    shutil.move(tmp_path / "read", tmp_path / "moved")
    predict(told, model=tmp_path / "run", output=tmp_path / "b.csv", text_encoder="../moved")
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    plan = [f"data.table={told}", f"model={tmp_path / 'run'}", "known=keep", "device=cpu", "data.min_samples=800"]
    evaluate(load_plan([*plan, "output=test", "text_encoder=../moved"]), silent)
    other = write_bert(tmp_path / "other", lower=False)
    with pytest.raises(CheckpointError, match=r"text:.*other: expected the weights and the tokenizer"):
        predict(told, model=tmp_path / "run", output=tmp_path / "c.csv", text_encoder=str(other))
    with pytest.raises(ConfigError, match="text_encoder is moved, and no model reads texts, expected none"):
        predict(told, output=tmp_path / "d.csv", text_encoder="moved")


def test_predicting_keeps_the_last_texts_alone(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion2vec.checkpoint.text.RECENT", 2)
    encoder = text_encoder(str(bert), "cpu")
    config = HeadConfig(kind="text-cross", text=str(bert), text_fingerprint=encoder.fingerprint)
    texts, calls = Texts.of_head(config, "cpu"), list[str]()
    encode = texts.encoder.encode
    texts.encoder.encode = lambda text: calls.append(text) or encode(text)  # type: ignore[method-assign,func-returns-value]
    for text in ("good", "bad", "good", "day", "good", "bad"):
        texts([text])
    assert calls == ["good", "bad", "day", "bad"]  # what was asked for least lately went


@pytest.mark.slow
def test_killed_and_resumed_is_bit_for_bit_uninterrupted(told: Path, bert: Path, model: Path, tmp_path: Path) -> None:
    check_killed_and_resumed(told, model, tmp_path, [*settings(bert), "augment.mix_prob=0.5"], killed_in=4, last=6)


def test_clips_without_a_text_are_told(told: Path, bert: Path, model: Path, tmp_path: Path) -> None:
    lines, table = list[str](), told.with_name("some.csv")
    rows = [row if n % 3 else f"{','.join(row.split(',')[:3])}," for n, row in enumerate(told.read_text().splitlines())]
    table.write_text("\n".join([told.read_text().splitlines()[0], *rows[1:]]) + "\n")
    finetune(quick_config(table, model, tmp_path, *settings(bert), "optim.max_updates=1"), lines.append)
    assert any("6 of 18 clips that train have no text, and teach the audio alone: " in line for line in lines), lines
    with pytest.raises(ConfigError, match="no clip that trains has a text; expected what is said in a column text"):
        finetune(quick_config(without_texts(told), model, tmp_path / "no", *settings(bert)), silent)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["head.kind=text-late"], "head.kind is text-late and text.encoder is empty, expected a folder or a name"),
        (
            ["text.encoder=bert"],
            "text.encoder is bert and head.kind mean, expected one of text-late, text-concatenation",
        ),
        (["text.encoder=bert", "head.kind=text-late", "text.dropout=2"], "text.dropout"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, given: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(None, quick(tmp_path, tmp_path, tmp_path, *given))
    assert message in str(raised.value)


def test_text_models_that_do_not_fit_are_one_fault(told: Path, bert: Path, model: Path, tmp_path: Path) -> None:
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    transformers.BertModel(transformers.BertConfig(vocab_size=8, **sizes)).save_pretrained(tmp_path / "small")
    transformers.AutoTokenizer.from_pretrained(bert).save_pretrained(tmp_path / "small")
    with pytest.raises(CheckpointError, match="the tokenizer is not this network's: 2 of its words"):
        finetune(quick_config(told, model, tmp_path / "a", *settings(tmp_path / "small")), silent)
    with pytest.raises(CheckpointError, match=r"text:.*nothing: cannot be loaded"):
        finetune(quick_config(told, model, tmp_path / "b", *settings(tmp_path / "nothing")), silent)


def test_a_head_that_goes_on_wants_its_own_text_encoder(told: Path, bert: Path, model: Path, tmp_path: Path) -> None:
    finetune(quick_config(told, model, tmp_path / "one", *settings(bert), "optim.max_updates=1"), silent)
    other = write_bert(tmp_path / "other", lower=False)
    more = [*settings(other), "optim.max_updates=1"]
    with pytest.raises(ConfigError, match=r"text\.encoder is .*other, and the model's head learnt with another"):
        finetune(quick_config(told, tmp_path / "one", tmp_path / "two", *more), silent)
    finetune(quick_config(told, tmp_path / "one", tmp_path / "three", *more, "finetune.head=new"), silent)
    lines: list[str] = []
    finetune(
        quick_config(told, tmp_path / "one", tmp_path / "four", *settings(bert), "optim.max_updates=1"), lines.append
    )
    assert any("own head (text-cross) goes on learning" in line for line in lines)
