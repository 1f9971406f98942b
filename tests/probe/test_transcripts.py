"""Features of what is said, where transformers is installed: against transformers itself with a tiny BERT."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probe.conversations import write_tone

from emotion2vec.checkpoint.text import TextEncoder, text_encoder
from emotion2vec.corpora.audit import audit_split
from emotion2vec.corpora.folds import Fold
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import CheckpointError, ConfigError, ManifestError
from emotion2vec.probe import probe
from emotion2vec.probe.dialogues import DialogueHead
from emotion2vec.probe.features.names import make_extractor
from emotion2vec.probe.features.table import extract_table

WORDS = ("good", "bad", "day", "night", "and")


def write_bert(folder: Path, *, lower: bool = True) -> Path:
    """A random BERT as it is published after pretraining: the weights of its pooling layer are not there."""
    transformers = pytest.importorskip("transformers")
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=lower, model_max_length=8)
    tokenizer.save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=5 + len(WORDS),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=16,
    )
    torch.manual_seed(0)
    transformers.BertForMaskedLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("models") / "bert")


def clip(text: str | None, path: Path = Path("a.wav")) -> Utterance:
    return Utterance(id=path.name, file=path.name, audio=path, label="x", text=text)


def states(bert: Path, text: str) -> Any:
    """All layers of transformers' own model, a list of (T, D)."""
    import transformers

    tokens = transformers.AutoTokenizer.from_pretrained(bert)(text, return_tensors="pt")
    with torch.inference_mode():
        found = transformers.AutoModel.from_pretrained(bert)(**tokens, output_hidden_states=True)
    return [state[0].numpy() for state in found.hidden_states[1:]]


def test_states_are_those_of_transformers(bert: Path) -> None:
    texts = ["good day", "Bad bad night", "good day"]
    found = make_extractor(f"text:{bert}").extract([clip(text) for text in texts])
    for text, item in zip(texts, found, strict=True):
        expected = states(bert, text)[-1]
        assert not isinstance(item, str) and item.frames is not None
        np.testing.assert_allclose(item.frames, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(item.vector, expected.mean(axis=0), rtol=1e-4, atol=1e-5)
    (joined,) = make_extractor(f"text:{bert}", layer="all").extract([clip("good day")])
    assert not isinstance(joined, str) and joined.layers == 3
    expected = np.concatenate([state.mean(axis=0) for state in states(bert, "good day")])
    np.testing.assert_allclose(joined.vector, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match=r"layer is 3, but text:.* has layers 0 to 2"):
        make_extractor(f"text:{bert}", layer=3).extract([clip("good")])


def test_long_texts_are_cut_and_unknown_words_are_known(bert: Path) -> None:
    long, cut, strange = make_extractor(f"text:{bert}").extract(
        [clip(" ".join(["good"] * 40)), clip(" ".join(["good"] * 6)), clip("żółw")]
    )
    assert not isinstance(long, str) and not isinstance(cut, str) and not isinstance(strange, str)
    np.testing.assert_array_equal(long.vector, cut.vector)  # six words, beginning and end
    assert strange.frames is not None and strange.frames.shape == (3, 32)


def test_texts_are_cut_where_the_network_has_no_more_positions(bert: Path, tmp_path: Path) -> None:
    """Tokenizers may know no limit; RoBERTa's positions begin behind that of its padding."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(bert, model_max_length=10**30)
    sizes = {"vocab_size": 10, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    kinds = {"Bert": (transformers.BertConfig, transformers.BertModel, 16)}
    kinds["Roberta"] = (transformers.RobertaConfig, transformers.RobertaModel, 14)
    for kind, (config, network, tokens) in kinds.items():
        folder = tmp_path / kind
        tokenizer.save_pretrained(folder)
        network(config(**sizes, intermediate_size=16, max_position_embeddings=16)).save_pretrained(folder)
        (long,) = make_extractor(f"text:{folder}").extract([clip(" ".join(["good"] * 40))])
        assert not isinstance(long, str) and long.frames is not None and len(long.frames) == tokens


def test_networks_that_read_no_text_are_refused(bert: Path, tmp_path: Path) -> None:
    import transformers

    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8,) * 7
    )
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(bert).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"text:.*: is a wav2vec2, which .*TypeError.*, expected a text encoder"):
        make_extractor(f"text:{tmp_path}")


def test_a_tokenizer_of_another_network_is_one_fault_and_not_one_per_clip(
    bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    transformers.BertModel(transformers.BertConfig(vocab_size=8, **sizes)).save_pretrained(tmp_path / "small")
    transformers.AutoTokenizer.from_pretrained(bert).save_pretrained(tmp_path / "small")
    told = r"the tokenizer is not this network's: 2 of its words, such as 'night' \(8\), 'and' \(9\), are beyond the 8"
    with pytest.raises(CheckpointError, match=told):
        make_extractor(f"text:{tmp_path / 'small'}")
    clips = tuple(replace(clip("good and bad"), file=f"{n}.wav", speaker=f"s{n}", label="xy"[n % 2]) for n in range(4))
    with pytest.raises(CheckpointError, match=told):  # before anything is extracted
        probe(clips=Corpus(name="made", root=tmp_path, utterances=clips), features=[f"text:{tmp_path / 'small'}"])
    assert not caplog.records

    transformers.BertModel(transformers.BertConfig(vocab_size=10, **sizes)).save_pretrained(tmp_path / "marks")
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[NEVER]"]})
    tokenizer.save_pretrained(tmp_path / "marks")
    well, mark = make_extractor(f"text:{tmp_path / 'marks'}").extract([clip("good and bad"), clip("good [NEVER]")])
    assert not isinstance(well, str) and isinstance(mark, str)  # a mark without embedding is the fault of who says it


def test_the_encoder_of_an_encoder_with_a_decoder(bert: Path, tmp_path: Path) -> None:
    import transformers

    config = transformers.T5Config(vocab_size=10, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    model = transformers.T5Model(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=transformers.AutoTokenizer.from_pretrained(bert).backend_tokenizer,
        unk_token="[UNK]",
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.save_pretrained(tmp_path)
    (found,) = make_extractor(f"text:{tmp_path}").extract([clip("good day")])
    ids = torch.tensor(tokenizer("good day").input_ids)[None]
    with torch.inference_mode():
        expected = model.encoder(input_ids=ids).last_hidden_state[0].numpy()
    assert not isinstance(found, str)
    np.testing.assert_allclose(found.frames, expected, rtol=1e-4, atol=1e-5)


def test_the_fingerprint_is_that_of_weights_and_tokenizer(bert: Path, tmp_path: Path) -> None:
    first = make_extractor(f"text:{bert}").fingerprint
    torch.manual_seed(7)  # the pooling layer's weights, which nobody uses, are the same every time
    assert make_extractor(f"text:{bert}").fingerprint == first
    assert make_extractor(f"text:{bert}", layer="mean").fingerprint != first
    assert make_extractor(f"text:{write_bert(tmp_path / 'cased', lower=False)}").fingerprint != first


def test_the_fingerprint_is_the_same_before_and_after_texts_were_cut(bert: Path) -> None:
    first, again = (text_encoder(str(bert), "cpu") for _ in range(2))
    again.encode("good " * 40)
    assert TextEncoder(again.network, again._tokenizer).fingerprint == again.fingerprint == first.fingerprint
    again._tokenizer.backend_tokenizer.enable_truncation(3)  # as published files may have it
    assert TextEncoder(again.network, again._tokenizer).fingerprint == first.fingerprint


def test_the_fingerprint_of_a_slow_tokenizer_is_that_of_its_files_wherever_they_lie(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    network = torch.nn.Linear(1, 1)
    network.config = transformers.BertConfig()  # type: ignore[assignment]

    def fingerprint(folder: Path, merge: str) -> str:
        folder.mkdir()
        (folder / "vocab.txt").write_text("good 1\nbad 1\n")
        (folder / "bpe.codes").write_text(f"#version: 0.2\n{merge} 5\n")
        tokenizer = transformers.BertweetTokenizer(str(folder / "vocab.txt"), str(folder / "bpe.codes"))
        tokenizer.save_pretrained(folder / "saved")
        return TextEncoder(network, transformers.BertweetTokenizer.from_pretrained(folder / "saved")).fingerprint

    first = fingerprint(tmp_path / "a", "g o")
    assert fingerprint(tmp_path / "elsewhere", "g o") == first
    assert fingerprint(tmp_path / "other", "o d") != first


def test_the_cache_knows_texts_and_audio(bert: Path, tmp_path: Path) -> None:
    """Two clips of one recording with unlike texts, and one of another recording with the first one's text."""
    random = np.random.default_rng(0)
    for name in ("a.wav", "b.wav"):
        write_tone(tmp_path / name, 1, random)
    clips = [clip("good", tmp_path / "a.wav"), clip("bad", tmp_path / "a.wav"), clip("good", tmp_path / "b.wav")]
    for name in (f"text:{bert}", f"logmel+text:{bert}"):
        extractor = make_extractor(name)
        alone = extract_table(clips, extractor, frames=False).vectors
        kept = [extract_table(clips, extractor, frames=False, cache=tmp_path / "cache").vectors for _ in range(2)]
        np.testing.assert_array_equal(kept, [alone, alone])
        assert (alone[0, -32:] == alone[2, -32:]).all() and not (alone[0, -32:] == alone[1, -32:]).any()
    assert (alone[0, :-32] == alone[1, :-32]).all() and (alone[0, :-32] != alone[2, :-32]).any()
    changed = [replace(clips[0], text="night"), *clips[1:]]
    again = extract_table(changed, extractor, frames=False, cache=tmp_path / "cache").vectors
    np.testing.assert_array_equal(again, extract_table(changed, extractor, frames=False).vectors)


def test_a_conversation_by_text_and_speech(bert: Path, tmp_path: Path) -> None:
    """The emotion is in what was said in the turn before; the tones are of no use."""
    random = np.random.default_rng(0)
    lines = ["file,emotion,speaker,session,dialogue,turn,text"]
    for dialogue in range(12):
        said = random.integers(0, 2, 10)
        for turn in range(10):
            write_tone(tmp_path / f"d{dialogue}t{turn}.wav", int(random.integers(0, 2)), random)
            emotion = ("", "ab"[said[turn - 1]])[turn > 0]
            place = f"{'AB'[turn % 2]}{dialogue % 4},{dialogue % 4},{dialogue},{turn}"
            lines.append(f"d{dialogue}t{turn}.wav,{emotion},{place},{WORDS[said[turn]]} and {WORDS[turn % 4]}")
    table = tmp_path / "talk.csv"
    table.write_text("\n".join(lines))
    quick = DialogueHead(hidden=16, lr=1e-2, batch=16, epochs=8)
    names = ["logmel", f"text:{bert}", f"logmel+text:{bert}"]
    result = probe(table=table, context=6, folds="session", features=names, heads=[quick])
    speech, text, both = (row["pooled"]["UA"] for row in result.results)
    assert speech < 65 and text > 80 and both > 80


def test_mistakes_are_named(bert: Path, tmp_path: Path) -> None:
    clips = (clip(None), clip("good"), replace(clip(None), file="b.wav"))
    with pytest.raises(ManifestError, match=r"text:.*: 2 of 3 clips have no text: a\.wav, b\.wav; expected one for"):
        probe(clips=Corpus(name="made", root=tmp_path, utterances=clips), features=["logmel", f"logmel+text:{bert}"])
    with pytest.raises(CheckpointError, match=r"text:.*none: cannot be loaded"):
        make_extractor(f"text:{tmp_path / 'none'}")
    with pytest.raises(ConfigError, match="feature is 'text:', expected text:NAME_OR_FOLDER"):
        make_extractor("text:")


def test_numbers_of_sentences_are_no_texts_and_are_shared_all_the_same(tmp_path: Path) -> None:
    clips = tuple(
        Utterance(
            id=f"{i}.wav",
            file=f"{i}.wav",
            audio=tmp_path / f"{i}.wav",
            label="ab"[i % 2],
            speaker=f"s{i // 2}",
            sentence="a01",
        )
        for i in range(4)
    )
    fold = Fold(name="x", train=np.array([0, 1]), test=np.array([2, 3]))
    told = audit_split(Corpus(name="made", root=tmp_path, utterances=clips), [fold]).warnings
    assert any("1 of 1 sentences of the tests are also said in training" in warning for warning in told)
