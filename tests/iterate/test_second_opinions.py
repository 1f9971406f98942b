"""Agreement of a second model, and of a text classifier that transformers made."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
import torch
import transformers
from finetune.talkers import write_model
from iterate.pools import Speech, plan_of

from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.iterate import transcripts
from emotion2vec.iterate.filters import NO_CLASS, NO_TEXT
from emotion2vec.iterate.pool import read_pool
from emotion2vec.iterate.run import iterate
from emotion2vec.iterate.transcripts import classes_of, read_transcripts

CLASSES = ["anger", "neutral", "sadness"]


def write_classifier(folder: Path, labels: list[str], vocabulary: list[str]) -> Path:
    """A small random text classifier that any program of Hugging Face reads."""
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *vocabulary]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        initializer_range=1.0,
    )
    network = transformers.BertForSequenceClassification(config)
    with torch.no_grad():  # the first layer norm would make all words of so few channels much alike
        network.bert.embeddings.LayerNorm.weight.mul_(5)
        network.classifier.weight.mul_(5)
    network.save_pretrained(folder)
    return folder


def expected_of(folder: Path, texts: list[str]) -> list[str]:
    """What transformers' own pipeline says, text by text."""
    pipe: Any = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    return [pipe(text)[0]["label"] for text in texts]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels = ["Angry", "neutral", "grief", "love"]
    return write_classifier(tmp_path_factory.mktemp("texts") / "bert", labels, ["so", *CLASSES])


def test_transcripts_are_read_as_transformers_reads_them(
    speech: Speech, model: Path, classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = [f"filters.text={classifier}", "filters.text_labels=[grief=sadness]"]
    plan = plan_of(speech, model, tmp_path / "plus", *more)
    found = read_pool(plan).found
    found.utterances[0] = type(found.utterances[0])(**{**vars(found.utterances[0]), "text": " "})
    said: list[str] = []
    numbers = read_transcripts(plan, found, CLASSES, said.append)
    meaning = {"Angry": 0, "neutral": 1, "grief": 2, "love": NO_CLASS}
    texts = [item.text or "" for item in found.utterances[1:]]
    labels = expected_of(classifier, texts)
    assert len(set(labels)) > 1
    assert [numbers[item.id] for item in found.utterances[1:]] == [meaning[label] for label in labels]
    assert numbers[found.utterances[0].id] == NO_TEXT
    assert said == ["transcripts: 17 of 18 clips have one, 3 texts were read now"]
    monkeypatch.setattr(transcripts.TextClassifier, "__call__", None)  # nothing is read again
    with (tmp_path / "plus" / "texts.jsonl").open("a") as stream:
        stream.write('["cut')  # as a process that was killed leaves it
    assert read_transcripts(plan, found, CLASSES, said.append) == numbers


def test_labels_that_are_no_classes_are_one_sentence(
    speech: Speech, model: Path, classifier: Path, tmp_path: Path
) -> None:
    assert classes_of(["ANGER", "joy", "Sad"], CLASSES, [], "m") == [0, NO_CLASS, 2]
    assert classes_of(["ANGER", "joy"], CLASSES, ["ANGER=", "joy=neutral"], "m") == [NO_CLASS, 1]
    with pytest.raises(ConfigError) as caught:
        classes_of(["LABEL_0", "LABEL_1"], CLASSES, [], "m")
    assert str(caught.value) == (
        "filters.text m has the labels LABEL_0, LABEL_1, none of which is a class (anger, neutral, sadness); expected "
        "filters.text_labels such as [LABEL_0=anger]"
    )
    with pytest.raises(ConfigError, match="text_labels has joy=bliss, mirth=anger, expected labels of m"):
        classes_of(["anger", "joy"], CLASSES, ["joy=bliss", "mirth=anger"], "m")
    plan = plan_of(speech, model, tmp_path / "plus", f"filters.text={model}")
    with pytest.raises(CheckpointError, match=r"filters.text .*small: cannot be loaded as a text classifier"):
        read_transcripts(plan, read_pool(plan).found, CLASSES, print)
    silent = tmp_path / "silent.csv"
    silent.write_text("file\n" + "\n".join(f"{speech.pool.parent / name}.wav" for name in speech.hidden) + "\n")
    plan = plan_of(speech, model, tmp_path / "plus", f"filters.text={classifier}", f"pool.sources={silent}")
    with pytest.raises(ConfigError, match="no clip of the pool has a text, expected lists with a column text"):
        iterate(plan, lambda text: None)
    assert not (tmp_path / "plus" / "round_0").exists()  # before anything is trained


def test_only_what_all_models_find_is_kept(speech: Speech, model: Path, classifier: Path, tmp_path: Path) -> None:
    """A second encoder, whose head is trained on human labels first, and a text model of made-up opinions."""
    other = write_model(tmp_path / "other", width=24, ffn_width=40)
    more = [f"filters.second={other}", f"filters.text={classifier}", "filters.quantile=0", "filters.lacking=human"]
    more += ["pool.compare=bytes"]
    folder, said = tmp_path / "plus", list[str]()
    plan = plan_of(speech, model, folder, *more, "filters.text_labels=[Angry=anger,grief=anger,love=anger,neutral=]")
    fault = ""
    try:
        iterate(plan, said.append)
    except ConfigError as error:  # weights are random, and whether they agree is the processor's
        fault = str(error)
    rows = parquet.read_table(folder / "round_1" / "labels.parquet").to_pylist()
    for row in rows:
        why = "second model differs" if row["second"] != row["label"] else None
        why = why or ("transcript differs" if row["text"] != row["label"] else None)
        assert row["reason"] == why
    assert len(Counter(row["reason"] for row in rows)) > 1
    assert ("keeps no clip" in fault) == (not any(row["kept"] for row in rows)) == bool(fault)
    assert (folder / "second" / "model" / "model.json").is_file()
    heads = [text for text in said if text.startswith("a second model, from")]
    assert len(heads) == 1


@pytest.mark.slow
def test_a_second_model_with_a_head_is_used_as_it_is(speech: Speech, model: Path, tmp_path: Path) -> None:
    iterate(plan_of(speech, model, tmp_path / "first", "rounds.count=0"), lambda text: None)
    plan = plan_of(
        speech,
        model,
        tmp_path / "plus",
        f"filters.second={tmp_path / 'first'}",
        "filters.quantile=0",
        "pool.compare=bytes",
    )
    iterate(plan, lambda text: None)
    rows = parquet.read_table(tmp_path / "plus" / "round_1" / "labels.parquet").to_pylist()
    assert all(row["second"] == row["label"] and row["kept"] for row in rows)  # the same model says the same
    assert not (tmp_path / "plus" / "second" / "model").exists() and not (tmp_path / "said").exists()
