"""What a labelling job writes, against the network itself, and that nobody's interruption changes it."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finetune.talkers import write_talkers

from emotion2vec.audio.samples import load_audio
from emotion2vec.checkpoint import load_model, save_model
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.executor import LocalExecutor
from emotion2vec.extraction.labelling import Labelling, Said, ScoringEncoder, label, read_said
from emotion2vec.extraction.options import ExecutorOptions
from emotion2vec.extraction.ray.worker import Assignment, DecodeItems, EncodeClips, pack_items, unpack_result
from emotion2vec.extraction.sources.decoding import Hearing
from emotion2vec.extraction.sources.named import read_sources, take_shard
from emotion2vec.model.config import Emotion2vecConfig, HeadConfig
from emotion2vec.model.heads import MeanLinear
from emotion2vec.model.known_heads import build_head
from emotion2vec.model.speech import SpeechEncoder

CLASSES = ["anger", "neutral", "sadness"]
WINDOW = 0.1


@pytest.fixture(scope="module")
def labeller(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small encoder with a random head whose scores differ much."""
    network = load_model(model)
    torch.manual_seed(1)
    head = build_head(HeadConfig(kind="mean", pooling="mean+std"), network.config.width, 1, ["unuse_0", *CLASSES])
    assert isinstance(head, MeanLinear)
    with torch.no_grad():
        head.weight.mul_(5)
    network.head = head
    return written(network, tmp_path_factory.mktemp("labeller"))


def written(network: SpeechEncoder, folder: Path) -> Path:
    assert network.head is not None and isinstance(network.config, Emotion2vecConfig)
    save_model(folder, network.config, network.state_dict(), labels=network.head.labels, head=network.head.config)
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talkers(tmp_path_factory.mktemp("clips"), speakers=3).parent


def labelled(clips: Path, model: Path, output: Path, *, stop_after: int = 0, shard: str | None = None) -> Said:
    found = read_sources(str(clips / "*.wav"))
    found = replace(found, utterances=take_shard(found.utterances, shard))
    asked = Labelling(classes=CLASSES, window=WINDOW, shard=shard, executor=ExecutorOptions(device="cpu"))

    def stop(progress: object) -> None:
        if stop_after and progress.done >= stop_after:  # type: ignore[attr-defined]
            raise RuntimeError("killed")

    label(found, model, output, asked, lambda total: nullcontext(stop))
    return read_said(output)


def test_scores_and_windows_are_those_of_the_network(clips: Path, labeller: Path, tmp_path: Path) -> None:
    said = labelled(clips, labeller, tmp_path / "said")
    assert said.agreeing is not None and len(said.ids) == 18
    network = load_model(labeller).eval()
    head = network.head
    assert head is not None
    some = False
    for name, seconds, scores, agreeing in zip(said.ids, said.seconds, said.scores, said.agreeing, strict=True):
        waveform = load_audio(clips / f"{Path(name).name}.wav")
        assert seconds == pytest.approx(waveform.size / 16_000)
        if network.config.normalizes:
            waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-5)
        with torch.inference_mode():
            frames = network(torch.from_numpy(waveform.astype(np.float32))[None]).layers[-1]  # (1, T, D)
            whole = head(frames)[0, 1:].softmax(dim=0).numpy()
            parts = [head(part)[0, 1:].argmax() for part in frames.split(5, dim=1)]  # 0.1 s are 5 frames
        assert np.allclose(scores, whole, atol=2e-5)
        assert agreeing == pytest.approx(np.mean([part == whole.argmax() for part in parts]))
        some |= agreeing < 1
    assert some


def test_an_interrupted_job_does_the_rest_and_shards_are_the_whole(clips: Path, labeller: Path, tmp_path: Path) -> None:
    whole = labelled(clips, labeller, tmp_path / "whole")
    with pytest.raises(RuntimeError):
        labelled(clips, labeller, tmp_path / "cut", stop_after=7)
    there = len(read_said(tmp_path / "cut").ids)
    assert 7 <= there < 18
    for output in ("cut", "shards"):
        for shard in [None] if output == "cut" else ["0/3", "1/3", "2/3"]:
            again = labelled(clips, labeller, tmp_path / output, shard=shard)
        assert sorted(again.ids) == sorted(whole.ids)
        order = [again.ids.index(name) for name in whole.ids]
        assert np.allclose(again.scores[order], whole.scores, atol=1e-5)
        assert again.agreeing is not None and np.allclose(again.agreeing[order], whole.agreeing)


def test_another_model_does_not_go_on_with_its_labels(clips: Path, labeller: Path, tmp_path: Path) -> None:
    labelled(clips, labeller, tmp_path / "said")
    other = load_model(labeller)
    assert isinstance(other.head, MeanLinear)
    with torch.no_grad():
        other.head.bias.add_(1)
    written(other, tmp_path / "other")
    with pytest.raises(ConfigError, match="model was "):
        labelled(clips, tmp_path / "other", tmp_path / "said")


def test_a_model_without_the_classes_is_refused(clips: Path, labeller: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no head for classes"):
        labelled(clips, model, tmp_path / "none")
    found = read_sources(str(clips))
    asked = Labelling(classes=["anger", "joy"], executor=ExecutorOptions(device="cpu"))
    with pytest.raises(ConfigError, match="lacks the classes joy; it has anger, neutral, sadness"):
        label(found, labeller, tmp_path / "other", asked, lambda total: nullcontext(None))


def test_processes_of_a_cluster_send_the_same_probabilities(clips: Path, labeller: Path, tmp_path: Path) -> None:
    """An actor without a cluster: what it sends is what a job of this machine writes."""
    said = labelled(clips, labeller, tmp_path / "said")
    network = load_model(labeller).eval()
    asked = Labelling(classes=CLASSES, window=WINDOW, executor=ExecutorOptions(device="cpu"))
    encoder = ScoringEncoder(copy.deepcopy(network), asked, LocalExecutor(network, "fp32", None))
    found = read_sources(str(clips / "*.wav"))
    actor = EncodeClips(Assignment(lambda: encoder, None, tmp_path, None, "cpu", "fp32", None))
    hearing = Hearing.of(network.config, encoder.chunking.samples)
    decoded = DecodeItems(hearing)(pack_items(dict(enumerate(found.utterances))))
    rows = [unpack_result(row, encoder.layout) for table in actor(decoded) for row in table.to_pylist()]
    assert len(rows) == 18
    for row in rows:
        place = said.ids.index(found.utterances[row.index].id)
        assert np.allclose(row.features["scores"].whole(), said.scores[place], atol=1e-5)  # type: ignore[union-attr]
        windows = row.features["windows"].whole()  # type: ignore[union-attr]
        assert said.agreeing is not None
        assert np.mean(windows.argmax(axis=1) == said.scores[place].argmax()) == pytest.approx(said.agreeing[place])
